"""What the arguments were that policies have rules for; see capsule/_argcounts.pyx."""

from collections.abc import Container, Sequence

class ArgumentCounts:
    """Counts for each of `names` (by its number) that is in `watched`."""

    def __init__(self, names: Sequence[str | None], watched: Container[str]) -> None: ...
    def found(self) -> list[list[str | int]]:
        """Return `[name, text, count, line of the first]` of each value seen."""

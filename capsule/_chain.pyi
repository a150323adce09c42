"""The chain's hot loops (docs/log-format.md): wrapping bodies, checking records."""

from typing import Final

FAULTS: Final[dict[int, str]]
"""Scanner.fault → what is wrong with the record, to follow "record N"."""

MORE: Final[int]
CONTROL: Final[int]
BAD: Final[int]

def check_opened(opened: bytes) -> str | None:
    """What is wrong with a record's bytes up to `sig` or `prev`: a text of FAULTS, or None."""

class Appender:
    """The end of a chain that grows: the next seq, the head, and what has been counted."""

    seq: int
    head: bytes
    @property
    def actions(self) -> int: ...
    @property
    def count_sum(self) -> int: ...
    def __init__(self, seq: int, head: bytes) -> None: ...
    def wrap(self, batch: bytes, pos: int, limit: int) -> tuple[bytes, int, int]:
        """Chain up to `limit` bodies of `batch` from byte `pos` on, as action records.

        A body is one line, `{"kind":"…",…,"count":n,…}`. Returns the records' bytes, the
        position reached, and how many records that is. Stops before a body it cannot take
        (not JSON, a member twice, no count): then the position is short of the end though
        the limit was not reached.
        """

class Scanner:
    """Checks a chain record by record: shape, seq, prev, hash, JSON, type, cadence."""

    seq: int
    """The seq the next record must have."""
    head: bytes
    """The hash the next record must name, 64 hex digits."""
    limit: int
    """How many records may stand unsigned."""
    unsealed: int
    watch: int
    """`scan` stops with CONTROL at every record from this seq on."""
    actions: int
    count_sum: int
    @property
    def pos(self) -> int:
        """Where the current line begins in the buffer."""
    @property
    def line_end(self) -> int:
        """Where its newline is."""
    @property
    def kind(self) -> str:
        """Type of the record `scan` stopped at with CONTROL."""
    @property
    def fault(self) -> int:
        """Why `scan` returned BAD: a key of FAULTS."""
    def __init__(self, seq: int, head: bytes, limit: int) -> None: ...
    def copy(self) -> Scanner:
        """Another scanner in the same state."""

    def scan(self, buf: bytes, pos: int) -> int:
        """Check whole lines of `buf` from `pos` on.

        MORE: no whole line is left; `pos` is where the rest begins. CONTROL: the line at
        `pos` holds by itself but is no action, or is watched: judge it, go on at `line_end + 1`. BAD: the
        line at `pos` is wrong in the way `fault` says.
        """

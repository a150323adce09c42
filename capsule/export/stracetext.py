"""strace: the text that strace wrote, as it was, where the run kept it (`trace --keep-raw`).

Only what the log's last checkpoint or seal has signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from capsule import raw
from capsule.errors import CapsuleError
from capsule.export.options import Options
from capsule.export.runs import Run


def write(runs: Sequence[Run], options: Options) -> Iterator[bytes]:
    """Return the raw trace of each run. CapsuleError where it was not kept, or was altered."""
    del options
    for run in runs:
        path = raw.raw_path(run.path)
        found = raw.check(run.path)
        if found is None or found.state == "missing":
            raise CapsuleError(
                f"{path} is not there: strace's own text of {run.id} was not kept; "
                "trace with --keep-raw to have it"
            )
        if found.state == "altered" and not run.tampered:
            raise CapsuleError(f"{path} is TAMPERED: it is not what the log's last signature says")
        yield from raw.read_text(path, found.lines)

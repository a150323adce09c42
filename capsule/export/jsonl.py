"""jsonl: the log's own records, byte for byte, as one stream of lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from capsule.export.options import Options
from capsule.export.runs import Run

BATCH_LINES = 1024


def write(runs: Sequence[Run], options: Options) -> Iterator[bytes]:
    """Return every record of every run; a rotated log's files become one."""
    del options
    for run in runs:
        lines = run.lines()
        while batch := list(islice(lines, BATCH_LINES)):
            yield b"\n".join(batch) + b"\n"

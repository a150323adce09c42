"""Lines of JSON, an Action each: the shape of several formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from capsule.export.runs import Run

BATCH_BYTES = 1 << 18


def json_lines(
    runs: Sequence[Run], mapper_of: Callable[[Run], Callable[[Mapping[str, Any]], object]]
) -> Iterator[bytes]:
    """Return every Action, in the order of the logs, as the mapper of its run has it."""
    for run in runs:
        mapped = mapper_of(run)
        lines = bytearray()
        for action in run.actions():
            lines += orjson.dumps(mapped(action))
            lines += b"\n"
            if len(lines) >= BATCH_BYTES:
                yield bytes(lines)
                lines.clear()
        yield bytes(lines)

"""csv: one of the tables (RFC 4180, but LF alone ends a line).

Text is quoted, so that an empty field is what is not known and `""` an empty text, as for
PostgreSQL's COPY. Times are RFC 3339 in UTC with nanoseconds; lists and maps are JSON.

Python's csv module does not serve: its writer leaves a carriage return unquoted where lines end
with LF alone, and its own reader then takes that for the end of the row (3.11).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from capsule.export.options import Options
from capsule.export.runs import Run
from capsule.export.tables import TABLES, Type, batches
from capsule.export.times import rfc3339

BATCH_ROWS = 4096


def _integer(value: Any) -> str:
    return str(operator.index(value))  # TypeError for what is none, which could bring a comma


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _json(value: Any) -> str:
    return _quoted(orjson.dumps(value).decode())


_WRITTEN: Mapping[Type, Callable[[Any], str]] = {
    "integer": _integer,
    "text": _quoted,
    "texts": _json,
    "integers": _json,
    "counts": _json,
    "time": rfc3339,
}


def write(runs: Sequence[Run], options: Options) -> Iterator[bytes]:
    """Return the table as CSV, its names in the first line."""
    table = TABLES[options.table]
    yield ",".join(table.columns).encode() + b"\n"
    fields = [_WRITTEN[kind] for kind in table.columns.values()]
    for batch in batches(table.rows(runs), BATCH_ROWS):
        lines = [
            ",".join([
                "" if value is None else text(value)
                for text, value in zip(fields, row, strict=True)
            ])
            for row in batch
        ]  # fmt: skip
        yield "\n".join(lines).encode() + b"\n"

"""Reading a finished log in tests, as a user of the format would: lines of JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

Record = dict[str, Any]


def read_log(log_dir: Path) -> list[Record]:
    """The records of the newest log in `log_dir`."""
    return [orjson.loads(line) for line in (log_dir / "latest").read_bytes().splitlines()]


def actions(log_dir: Path, kind: str = "") -> list[Record]:
    """Its Actions, those whose kind begins with `kind`."""
    return [
        record
        for record in read_log(log_dir)
        if record["type"] == "action" and record["kind"].startswith(kind)
    ]


def end(log_dir: Path) -> Record:
    """Its seal."""
    record = read_log(log_dir)[-1]
    assert record["type"] == "end", f"no seal: {record}"
    return record

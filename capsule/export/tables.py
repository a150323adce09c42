"""The tables `actions` and `processes`, row by row, with the columns and types of `capsule query`.

`ACTIONS` and `PROCESSES` are the columns in order: name → one of the types below. What the log does
not say is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from capsule.export.runs import Run

Type = Literal["integer", "text", "texts", "integers", "counts", "time"]
"""`texts` and `integers` are lists, `counts` maps text to integers, `time` is nanoseconds since
the epoch."""
Row = list[Any]

ACTIONS: Mapping[str, Type] = {
    "run": "text", "seq": "integer", "time": "time", "kind": "text", "target": "text",
    "count": "integer", "bytes": "integer", "errors": "counts", "failed": "integer",
    "first_ns": "integer", "last_ns": "integer", "proc": "integer", "pid": "integer",
    "exe": "text", "uid": "integer", "lines": "integers", "access": "text", "path": "text",
    "to": "text", "argv": "texts", "cwd": "text", "parent": "integer", "child": "integer",
    "child_pid": "integer", "status": "integer", "signal": "text", "family": "text",
    "blake3": "text", "tags": "texts",
}  # fmt: skip

PROCESSES: Mapping[str, Type] = {
    "run": "text", "proc": "integer", "pid": "integer", "exe": "text", "argv": "texts",
    "parent": "integer", "started": "time", "last_seen": "time", "exit_status": "integer",
    "exit_signal": "text", "events": "integer",
}  # fmt: skip

_DETAILS = list(ACTIONS)[list(ACTIONS).index("first_ns") :]
"""Columns that hold a member of the same name as it is; what goes before is made of several."""


class Table(NamedTuple):
    columns: Mapping[str, Type]
    rows: Callable[[Iterable[Run]], Iterator[Row]]


def action_rows(runs: Iterable[Run]) -> Iterator[Row]:
    """Return one row an Action, in the order of the logs."""
    for run in runs:
        name = run.id
        for record in run.actions():
            get = record.get
            errors = get("errors")
            row = [
                name, get("seq"), get("first_ns"), get("kind"), get("target"), get("count"),
                get("bytes"), errors, sum(errors.values()) if errors else 0,
            ]  # fmt: skip
            row += map(get, _DETAILS)
            row[-1] = row[-1] or []
            yield row


def process_rows(runs: Iterable[Run]) -> Iterator[Row]:
    """Return one row a process, by number; each run's processes are held until its end."""
    for run in runs:
        found: dict[int, dict[str, Any]] = {}
        for record in run.actions():
            proc = record.get("proc")
            if proc is not None:
                account(found.setdefault(proc, {"events": 0}), record)
        for proc in sorted(found):
            facts = {"run": run.id, "proc": proc, **found[proc]}
            yield [facts.get(column) for column in PROCESSES]


def account(facts: dict[str, Any], record: Mapping[str, Any]) -> None:
    """Add an Action to what is known of its process: columns of PROCESSES; `events` is there."""
    kind = record["kind"]
    facts["events"] += record["count"]
    if "exe" in record:
        facts["exe"] = record["exe"]
    if "pid" in record:
        facts["pid"] = min(record["pid"], facts.get("pid", record["pid"]))
    if "first_ns" in record:
        facts["started"] = min(record["first_ns"], facts.get("started", record["first_ns"]))
    if "last_ns" in record:
        facts["last_seen"] = max(record["last_ns"], facts.get("last_seen", record["last_ns"]))
    if kind == "proc.exec":
        if "errors" not in record and "argv" in record:
            facts["argv"] = record["argv"]
        if "parent" in record:
            facts["parent"] = min(record["parent"], facts.get("parent", record["parent"]))
    elif kind == "proc.exit":
        facts["exit_status"] = record.get("status")
        facts["exit_signal"] = record.get("signal")


TABLES: Mapping[str, Table] = {
    "actions": Table(ACTIONS, action_rows),
    "processes": Table(PROCESSES, process_rows),
}


def batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    """Return the rows in lists of `size`, the last one shorter."""
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

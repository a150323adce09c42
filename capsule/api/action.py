"""One Action of a log, typed (docs/actions.md)."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from capsule.records import load

_OWN = frozenset(
    ("seq", "type", "kind", "target", "count", "bytes", "errors", "first_ns", "last_ns", "proc",
     "pid", "exe", "uid", "lines", "access", "tags", "prev", "hash")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Action:
    """What a process did: one system call, or several of one kind on one target.

    Times are nanoseconds since the epoch. None stands for what the trace did not show. Text that
    is not UTF-8 is escaped as in the log; `capsule.text.unescape` gives its bytes.
    """

    seq: int
    kind: str
    target: str | None
    count: int
    bytes: int
    errors: Mapping[str, int]
    """How many of the calls failed, by errno's name."""
    first_ns: int | None
    last_ns: int | None
    proc: int | None
    """Who: unlike a pid it survives exec and is never used again."""
    pid: int | None
    exe: str | None
    uid: int | None
    lines: tuple[int, int] | None
    access: str | None
    tags: tuple[str, ...]
    details: Mapping[str, Any]
    """What only some kinds have: `argv`, `to`, `child`, `status`, `signal`, …"""
    line: builtins.bytes = field(repr=False)
    """The record's exact bytes in the log, without the newline."""

    @property
    def failed(self) -> bool:
        """Whether none of the calls worked. A connection under way (EINPROGRESS) has not failed."""
        return sum(self.errors.values()) >= self.count and "EINPROGRESS" not in self.errors


def action(line: bytes) -> Action:
    """The Action of a record's line. CapsuleError if it is none."""
    record = load(line)
    lines = record.get("lines")
    return Action(
        seq=record["seq"],
        kind=record["kind"],
        target=record.get("target"),
        count=record.get("count", 0),
        bytes=record.get("bytes", 0),
        errors=record.get("errors", {}),
        first_ns=record.get("first_ns"),
        last_ns=record.get("last_ns"),
        proc=record.get("proc"),
        pid=record.get("pid"),
        exe=record.get("exe"),
        uid=record.get("uid"),
        lines=(lines[0], lines[1]) if lines else None,
        access=record.get("access"),
        tags=tuple(record.get("tags", ())),
        details={key: value for key, value in record.items() if key not in _OWN},
        line=line,
    )

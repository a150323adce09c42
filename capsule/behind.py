"""The raw lines behind an Action, found again in a kept trace.

An Action says its first and last line, its process and its kind; between those lines other
processes and other calls have theirs. What is left after process and kind, and where that is
too much after the target, are the Action's own lines.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from capsule import syscalls
from capsule._parse import Parser
from capsule.events import Event, EventKind, read_events
from capsule.raw import read_lines
from capsule.text import unescape

LOOK_AHEAD = 200_000
"""How many lines past the last one the end of an unfinished call is looked for."""

_PID = re.compile(rb"\s*(?:\[pid +)?(\d+)")

_BY_EVENT: Mapping[EventKind, tuple[str, ...]] = {
    EventKind.SIGNAL: ("proc.signal",),
    EventKind.STOPPED: ("proc.signal",),
    EventKind.EXIT: ("proc.exit", "thread.exit"),
    EventKind.KILLED: ("proc.exit", "thread.exit"),
    EventKind.SUPERSEDED: ("thread.exit", "proc.exit"),
    EventKind.NOTE: ("sys.note",),
    EventKind.UNPARSED: ("sys.unparsed",),
}

_BY_ARGUMENT = {
    "file.open": ("file.create",),
    "proc.spawn": ("thread.spawn",),
    "sys.exit": ("proc.exit", "thread.exit"),
}
"""A kind of the table → those its calls take by their flags, or fold into."""


class Behind(NamedTuple):
    """The lines found, and whether they are exactly the Action's `count` events."""

    lines: list[tuple[int, bytes]]
    exact: bool


def lines_behind(action: Mapping[str, Any], raw: Path, pids: Collection[int]) -> Behind:
    """The raw lines of `action`; `pids` are its process and the threads of that.

    An old trace of one process may carry no pids in its lines; then all lines are its own.
    """
    first, last = action["lines"]
    rows: list[tuple[int, bytes]] = []
    open_pids: set[int | None] = set()
    for number, line in read_lines(raw, first, last + LOOK_AHEAD):
        pid = _pid_of(line)
        if pid is not None and pid not in pids:
            continue
        if number > last and not open_pids:
            break
        if number <= last or (pid in open_pids and b"resumed>" in line):
            rows.append((number, line))
            open_pids.discard(pid)
            if line.endswith(b"<unfinished ...>"):
                open_pids.add(pid)
    found = [event for event in _events(rows) if action["kind"] in _kinds(event)]
    found = [event for event in found if rows[event.line - 1][0] <= last]
    if len(found) > action["count"] and "target" in action:
        # A path stands at the end of a string or, resolved by strace, of a descriptor's <…>.
        name = unescape(action["target"]).rsplit(b"/", 1)[-1]
        hints = (name + b'"', name + b">") if action["target"].startswith("/") else (name,)
        texts = [(event, b"".join(_lines_of(event, rows).values())) for event in found]
        named = [event for event, text in texts if any(hint in text for hint in hints)]
        found = named if len(named) >= action["count"] else found
    lines: dict[int, bytes] = {}
    for event in found:
        lines |= _lines_of(event, rows)
    return Behind(sorted(lines.items()), len(found) == action["count"])


def _events(rows: list[tuple[int, bytes]]) -> list[Event]:
    parser = Parser(syscalls.NAMES)
    batches = [parser.feed(b"".join(line + b"\n" for _, line in rows)), parser.finish()]
    return [event for batch in batches for event in read_events(batch)]


def _kinds(event: Event) -> tuple[str, ...]:
    """The kinds of Action that an event can be counted in."""
    if event.kind is not EventKind.SYSCALL:
        return _BY_EVENT[event.kind]
    row = syscalls.BY_NAME.get((event.name or b"").decode("ascii", "replace"))
    kind = row.kind if row else "sys.unknown"
    by_class = (to for (of, _), to in syscalls.BY_CLASS.items() if of == kind)
    return (kind, *by_class, *_BY_ARGUMENT.get(kind, ()))


def _lines_of(event: Event, rows: list[tuple[int, bytes]]) -> dict[int, bytes]:
    """The line that opened the event and, if it was cut, the one that resumed it."""
    index = event.line - 1
    number, line = rows[index]
    lines = {number: line}
    if line.endswith(b"<unfinished ...>"):
        pid = _pid_of(line)
        for number, line in rows[index + 1 :]:
            if _pid_of(line) == pid and b"resumed>" in line:
                lines[number] = line
                break
    return lines


def _pid_of(line: bytes) -> int | None:
    match = _PID.match(line)
    # Without -f there is no pid, and what is there is the stamp.
    return int(match[1]) if match and line[match.end() : match.end() + 1] in b" ]<" else None

"""A run as it goes on, on a terminal: one line an Action, repeated ones fold into one line.

Pure: records in, what to write out. A line that folds is written over in place, so no line may
wrap; each is cut to the terminal's width.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from capsule.commands._lines import TARGET_WIDTH, TREE_WIDTH, Lines

WINDOW = 12
"""How many lines back a repeated Action may be and still fold."""

BEFORE_TARGET = 54
BEHIND_TARGET = 22
"""Columns: of time, pid, program and kind; left for count, bytes and errors."""

_SGR = re.compile(r"\x1b\[[0-9;]*m")
_SPAWN = re.compile(rb'"kind":"proc\.spawn".*?"proc":(\d+),.*?"child":(\d+)')


def columns(char: str) -> int:
    """How many columns a printable character takes (Unicode Standard Annex 11)."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, with `…` where it was cut. Colours take no room."""
    room = width
    kept: list[str] = []
    coloured = False
    at = 0
    while at < len(text):
        sgr = _SGR.match(text, at)
        if sgr is not None:
            kept.append(sgr[0])
            coloured = sgr[0] != "\x1b[0m"
            at = sgr.end()
            continue
        room -= columns(text[at])
        # The last column is the mark's if anything visible is still to come.
        if room < 0 or (room < 1 and _SGR.sub("", text[at + 1 :])):
            kept.append("…")
            break
        kept.append(text[at])
        at += 1
    return "".join(kept) + ("\x1b[0m" if coloured and at < len(text) else "")


class Depths:
    """How deep in the tree of processes each one is, from the log's own words."""

    def __init__(self) -> None:
        self._depth: dict[int, int] = {}

    def learn(self, lines: Iterable[bytes]) -> None:
        """Take in records' lines; only those of births count."""
        for line in lines:
            found = _SPAWN.search(line)
            if found is not None:
                parent, child = int(found[1]), int(found[2])
                self._depth[child] = self._depth.get(parent, 0) + 1

    def of(self, record: Mapping[str, Any]) -> int:
        """The depth of who did it; 0 for the root and for who is not known."""
        proc = record.get("proc")
        return self._depth.get(proc, 0) if isinstance(proc, int) else 0


@dataclass(slots=True)
class _Shown:
    key: tuple[Any, ...] | None
    record: dict[str, Any]


class LiveView:
    """What to write for each record that comes. `size`: the terminal's columns and rows."""

    def __init__(
        self, size: tuple[int, int], depths: Depths | None = None, *, colour: bool = False
    ) -> None:
        self._width, rows = size
        left = BEFORE_TARGET if depths is None else BEFORE_TARGET + TREE_WIDTH - 12
        room = self._width - left - BEHIND_TARGET
        self._lines = Lines(colour=colour, target_width=max(0, min(TARGET_WIDTH, room)))
        self._depths = depths
        self._shown: deque[_Shown] = deque(maxlen=max(1, min(WINDOW, rows - 2)))

    def show(self, record: Mapping[str, Any]) -> str:
        """The text and control sequences that bring the record to the screen."""
        key = _key(record)
        for back, shown in enumerate(reversed(self._shown), 1):
            if key is not None and shown.key == key:
                _add(shown.record, record)
                # Up to its line, clear and rewrite it, and down again (ECMA-48 CPL, EL, CNL).
                return f"\x1b[{back}F\x1b[2K{self._line(shown.record)}\x1b[{back}E"
        self._shown.append(_Shown(key, dict(record)))
        return self._line(record) + "\n"

    def _line(self, record: Mapping[str, Any]) -> str:
        depth = None if self._depths is None else self._depths.of(record)
        return cut(self._lines.render(record, depth=depth), self._width)


def _key(record: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What is the same in records that fold; None for one that stands alone."""
    if record.get("type") != "action":
        return None
    errors = record.get("errors")
    failed = tuple(sorted(errors)) if isinstance(errors, Mapping) else ()
    return (record.get("proc"), record.get("pid"), record.get("kind"), str(record.get("target")),
            failed)  # fmt: skip


def _add(total: dict[str, Any], record: Mapping[str, Any]) -> None:
    for name in ("count", "bytes"):
        more = record.get(name)
        if isinstance(more, int):
            before = total.get(name)
            total[name] = (before if isinstance(before, int) else 0) + more
    errors = record.get("errors")
    if isinstance(errors, Mapping):
        sums = dict(total.get("errors") or {})
        for name, number in errors.items():
            sums[name] = sums.get(name, 0) + number
        total["errors"] = sums

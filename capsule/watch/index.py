"""Which records a log has, where, and which of them a filter lets pass. Pure.

A record costs some twenty bytes here; its text stays in the file and is read when it is shown
or searched.
"""

from __future__ import annotations

import fnmatch
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["all", "failed", "worked"]

FAILED = 1
TAGGED = 2
SLICE = 256
"""How many rows are filtered between two looks at the clock."""

_MAX_KINDS = 0xFFFF


class Index:
    """One row for each record that is shown: place, process, kind, outcome."""

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._kinds = array("H")
        self._marks = array("B")
        self._parts: list[int] = [0]  # the first row of each file
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, part: int, offset: int, kind: str, marks: int) -> int:
        """Add a record; returns its row. Records come in the order of the log."""
        row = len(self._offsets)
        while len(self._parts) <= part:
            self._parts.append(row)
        number = self._numbers.get(kind)
        if number is None:
            number = min(len(self.names), _MAX_KINDS)
            self._numbers[kind] = number
            if number == len(self.names):
                self.names.append(kind)
        self._offsets.append(offset)
        self._kinds.append(number)
        self._marks.append(marks)
        return row

    def place(self, row: int) -> tuple[int, int]:
        """The file (0, 1, … of a rotated log) and the offset in it."""
        return bisect_right(self._parts, row) - 1, self._offsets[row]

    def kind(self, row: int) -> int:
        """The number of its kind in `names`."""
        return self._kinds[row]

    def marks(self, row: int) -> int:
        """FAILED, TAGGED."""
        return self._marks[row]


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted. `tag`: "" is any tag. `words` are in lower case; all of them must occur."""

    kinds: tuple[str, ...] = ()
    outcome: Outcome = "all"
    tag: str | None = None
    words: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Filter:
        """`net failed tag:secret passwd`: kinds, outcomes, tags, and words to look for.

        A word is a kind if it is the first part of one (`net`), holds a `*`, or is written
        `kind:NAME`; `text:WORD` is never anything but text.
        """
        kinds: list[str] = []
        words: list[str] = []
        outcome: Outcome = "all"
        tag: str | None = None
        for word in text.split():
            head, colon, rest = word.partition(":")
            if colon and head == "kind":
                kinds.append(rest)
            elif colon and head == "tag":
                tag = rest
            elif colon and head == "text":
                words.append(rest.casefold())
            elif word in ("failed", "worked"):
                outcome = "failed" if word == "failed" else "worked"
            elif "*" in word or (word.partition(".")[0] in FAMILIES and "/" not in word):
                kinds.append(word)
            else:
                words.append(word.casefold())
        return cls(tuple(kind for kind in kinds if kind), outcome, tag,
                   tuple(word for word in words if word))  # fmt: skip

    def __str__(self) -> str:
        parts = [f"kind:{kind}" for kind in self.kinds]
        parts += [] if self.outcome == "all" else [self.outcome]
        parts += [] if self.tag is None else [f"tag:{self.tag}"]
        return " ".join([*parts, *(f"text:{word}" for word in self.words)])

    def wants_kind(self, kind: str) -> bool:
        """Whether the kind fits: `net` is all of net.*, `net.connect` and `net.*` are patterns."""
        return not self.kinds or any(
            fnmatch.fnmatchcase(kind, p if "." in p or "*" in p else f"{p}.*") or kind == p
            for p in self.kinds
        )

    @property
    def reads(self) -> bool:
        """Whether the records themselves have to be read."""
        return bool(self.words or self.tag)

    def wants(self, record: Mapping[str, Any]) -> bool:
        """Whether the record's tags and text fit."""
        if self.tag:
            tags = record.get("tags")
            if not isinstance(tags, Sequence) or self.tag not in tags:
                return False
        return not self.words or all(word in searched(record) for word in self.words)


FAMILIES = frozenset(("file", "dir", "net", "proc", "thread", "cred", "mem", "ipc", "dev", "sys",
                      "time", "gap", "start", "end"))  # fmt: skip


def searched(record: Mapping[str, Any]) -> str:
    """The text that words are looked for in: what a person sees of a record, in lower case."""
    found = []
    for name in ("kind", "type", "target", "to", "path", "exe", "pid", "why", "call"):
        value = record.get(name)
        if value is not None:
            found.append(str(value))
    for name in ("argv", "tags", "errors"):
        value = record.get(name)
        if isinstance(value, (Mapping, Sequence)):
            found += [str(item) for item in value]
    return "\n".join(found).casefold()


class View:
    """The rows of a log, or of one of its processes, that a filter lets pass; grows with them.

    `rows`: the log's Index's, or one process's. `read`: a row's line.
    """

    def __init__(
        self,
        index: Index,
        of: Sequence[int] | None,
        wanted: Filter,
        read: Callable[[int], Mapping[str, Any] | None],
    ) -> None:
        self.filter = wanted
        self._index = index
        self._of = of
        self._read = read
        self._through = 0  # how many of the rows have been looked at
        self._kinds: list[bool] = []
        self._filtered: array[int] | None = array("I") if wanted != Filter() else None

    @property
    def rows(self) -> Sequence[int]:
        """The rows that pass, in the order of the log."""
        if self._filtered is not None:
            return self._filtered
        return range(len(self._index)) if self._of is None else self._of

    @property
    def looked_at(self) -> tuple[int, int]:
        """How many rows have been looked at, and of how many."""
        total = len(self._index) if self._of is None else len(self._of)
        return (total if self._filtered is None else self._through), total

    def advance(self, limit_s: float) -> bool:
        """Look at further rows for about so long; whether all have been looked at."""
        if self._filtered is None:
            return True
        names = self._index.names
        self._kinds += [self.filter.wants_kind(name) for name in names[len(self._kinds) :]]
        deadline_s = time.monotonic() + limit_s
        total = self.looked_at[1]
        while self._through < total:
            stop = min(total, self._through + SLICE)
            for at in range(self._through, stop):
                row = at if self._of is None else self._of[at]
                if self._passes(row):
                    self._filtered.append(row)
            self._through = stop
            if time.monotonic() >= deadline_s:
                break
        return self._through >= total

    def _passes(self, row: int) -> bool:
        wanted, marks = self.filter, self._index.marks(row)
        if not self._kinds[self._index.kind(row)]:
            return False
        if wanted.outcome != "all" and bool(marks & FAILED) != (wanted.outcome == "failed"):
            return False
        if wanted.tag is not None and not marks & TAGGED:
            return False
        if not wanted.reads:
            return True
        record = self._read(row)
        return record is not None and wanted.wants(record)

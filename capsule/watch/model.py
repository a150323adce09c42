"""What a log says so far: its processes as a tree, its sums, and an index of its records. Pure.

Lines in, as they come; nothing here knows a terminal or a file. A log may be forged: whatever a
member holds, it must neither raise nor make a circle of the tree.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from capsule.watch.index import FAILED, TAGGED, Index

Record = Mapping[str, Any]

PROMPT = frozenset(("file.close", "file.stat", "file.access", "file.seek", "mem.map", "mem.unmap",
                    "mem.protect", "mem.brk", "proc.exit", "proc.info", "sys.signal"))  # fmt: skip
"""Kinds whose calls do not wait for anybody. A stamp is that of a call's begin."""


@dataclass(slots=True, eq=False)
class Process:
    """One process of the run, whatever programs it runs one after the other."""

    proc: int
    pid: int | None = None
    exe: str | None = None
    argv: Sequence[str] = ()
    parent: Process | None = None
    children: list[Process] = field(default_factory=list)
    end: str | None = None
    """How it ended: an exit status or a signal's name."""
    ended_badly: bool = False
    first_ns: int | None = None
    events: int = 0
    failures: int = 0
    tagged: int = 0
    rows: array[int] = field(default_factory=lambda: array("I"))
    """Its Actions, as rows of the index."""
    depth: int = 0
    """How far down in the tree; holds after `Run.tree`."""
    folded: bool = False

    @property
    def is_root(self) -> bool:
        """Whether nobody in the log has started it."""
        return self.parent is None

    def descends_from(self, other: Process) -> bool:
        """Whether `other` is this process, or one of those above it."""
        at: Process | None = self
        while at is not None and at is not other:
            at = at.parent
        return at is other


class Run:
    """A log's state, from the records that were fed."""

    def __init__(self) -> None:
        self.index = Index()
        self.processes: dict[int, Process] = {}
        self.roots: dict[int, Process] = {}
        self.living = 0
        self.start: Record | None = None
        self.end: Record | None = None
        self.records = 0
        self.actions = 0
        self.events = 0
        self.failures = 0
        self.gaps = 0
        self.lost = 0
        """What gap records say was lost; a number that is not known counts as one."""
        self.dropped = 0
        """What the end's counters say never became an Action: `refused` by the logger."""
        self.unreadable = 0
        self.tags: Counter[str] = Counter()
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.prompt_ns: int | None = None
        """As `last_ns`, of the calls alone that never wait: these ended as soon as they began."""
        self.head = ""
        self.seq = -1
        self.shape = 0
        """Changes whenever `tree` may give something else."""

    def feed(self, lines: Sequence[bytes], part: int = 0, offset: int = 0) -> None:
        """Take in whole lines that begin at `offset` of file `part`."""
        for line in lines:
            self.records += 1
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                record = None
            if isinstance(record, dict):
                self._take(record, part, offset)
            else:
                self.unreadable += 1
            offset += len(line) + 1
        if lines and lines[-1].endswith(b'"}'):
            self.head = lines[-1][-66:-2].decode("ascii", "replace")

    def _take(self, record: Record, part: int, offset: int) -> None:
        seq, kind = record.get("seq"), record.get("type")
        if isinstance(seq, int):
            self.seq = seq
        if kind == "action":
            self._act(record, part, offset)
            return
        if kind == "checkpoint":
            return
        if kind == "start" and self.start is None:
            self.start = record
        elif kind == "end":
            self.end = record
            stages = record.get("stages")
            logger = stages.get("logger") if isinstance(stages, dict) else None
            if isinstance(logger, dict):
                self.dropped = _whole(logger.get("refused"), 0)
        elif kind == "gap":
            self.gaps += 1
            self.lost += _whole(record.get("count"), 1)
        self.index.add(part, offset, str(kind), 0)

    def _act(self, record: Record, part: int, offset: int) -> None:
        kind = str(record.get("kind"))
        count, errors, tags = record.get("count"), record.get("errors"), record.get("tags")
        number = _whole(count, 0)
        marks = 0
        failures = 0
        if errors:
            marks = FAILED
            failures = _sum(errors)
        if tags and isinstance(tags, list):
            marks |= TAGGED
            self.tags.update(str(tag) for tag in tags)
        self.actions += 1
        self.events += number
        self.failures += failures
        last = record.get("last_ns")
        if isinstance(last, int):
            if self.first_ns is None:
                self.first_ns = last
            if self.last_ns is None or last > self.last_ns:
                self.last_ns = last
            if kind in PROMPT:
                self.prompt_ns = last
        row = self.index.add(part, offset, kind, marks)
        proc = record.get("proc")
        if not isinstance(proc, int):
            return
        process = self.processes.get(proc)
        if process is None:
            process = self._born(proc)
        if process.first_ns is None:
            first = record.get("first_ns")
            process.first_ns = first if isinstance(first, int) else None
        process.rows.append(row)
        process.events += number
        process.failures += failures
        process.tagged += marks >> 1
        if kind.startswith("proc.") or process.pid is None:
            self._life(process, kind, record)

    def _born(self, proc: int) -> Process:
        process = self.processes[proc] = self.roots[proc] = Process(proc)
        self.living += 1
        self.shape += 1
        return process

    def _life(self, process: Process, kind: str, record: Record) -> None:
        """A record that says who a process is, starts one or ends it."""
        pid, exe = record.get("pid"), record.get("exe")
        if process.pid is None and isinstance(pid, int):
            process.pid = pid
        if process.exe is None and isinstance(exe, str):
            process.exe = exe
        if kind == "proc.spawn":
            child = record.get("child")
            if isinstance(child, int):
                self._spawned(process, child, record)
        elif kind == "proc.exec" and not record.get("errors"):
            process.exe = exe if isinstance(exe, str) else process.exe
            argv = record.get("argv")
            process.argv = [str(word) for word in argv] if isinstance(argv, list) else ()
            parent = record.get("parent")
            if process.is_root and isinstance(parent, int) and parent in self.processes:
                self._attach(process, self.processes[parent])
        elif kind == "proc.exit" and process.end is None:
            signal, status = record.get("signal"), record.get("status")
            process.end = "?" if signal is None and status is None else str(signal or status)
            process.ended_badly = process.end not in ("0", "?")
            self.living -= 1
            self.shape += 1

    def _spawned(self, parent: Process, child: int, record: Record) -> None:
        process = self.processes.get(child)
        if process is None:
            process = self._born(child)
        pid = record.get("child_pid")
        if process.pid is None and isinstance(pid, int):
            process.pid = pid
        if process.exe is None:
            process.exe, process.argv = parent.exe, parent.argv
        if process.is_root:
            self._attach(process, parent)

    def _attach(self, process: Process, parent: Process) -> None:
        # Only who has children already can be above its parent; the walk up is for those alone.
        if process is parent or (process.children and parent.descends_from(process)):
            return
        del self.roots[process.proc]
        process.parent = parent
        parent.children.append(process)
        self.shape += 1

    def tree(self, *, living: bool = False) -> list[Process]:
        """The processes that are to be seen, depth first; a folded one hides those below it.

        `living`: only those that have not ended, and who is above them.
        """
        shown: set[Process] | None = None
        if living:
            shown = set()
            for process in self.processes.values():
                at: Process | None = process if process.end is None else None
                while at is not None and at not in shown:
                    shown.add(at)
                    at = at.parent
        found: list[Process] = []
        stack = list(reversed(self.roots.values()))
        for process in stack:
            process.depth = 0
        while stack:
            process = stack.pop()
            if shown is not None and process not in shown:
                continue
            found.append(process)
            if process.children and not process.folded:
                depth = process.depth + 1
                for child in reversed(process.children):
                    child.depth = depth
                    stack.append(child)
        return found


def _whole(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and value >= 0 else otherwise


def _sum(errors: object) -> int:
    return sum(_whole(n, 0) for n in errors.values()) if isinstance(errors, dict) else 0

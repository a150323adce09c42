"""Who an Action's process is: its program, words, directory and parent, carried forward.

A process is forgotten after its end, so that what is held grows with the processes that live at
the same time and not with the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]


@dataclass(slots=True)
class Process:
    """A process as far as the log has said. `proc` is the log's number, `parent` likewise.

    `age` grows with every change, so that what was made of a process can be kept until then.
    """

    proc: int
    pid: int | None = None
    exe: str | None = None
    argv: list[str] = field(default_factory=list)
    cwd: str | None = None
    uid: int | None = None
    parent: int | None = None
    ppid: int | None = None
    started_ns: int | None = None
    age: int = 0


class Lineage:
    """Feed it every Action in order; it returns the process that did it."""

    def __init__(self) -> None:
        self.living: dict[int, Process] = {}

    def see(self, action: Record) -> Process | None:
        """Return the Action's process, as it is after the Action. None where it has none."""
        proc = action.get("proc")
        if proc is None:
            return None
        process = self.living.get(proc)
        if process is None:
            process = self.living[proc] = Process(proc, started_ns=action.get("first_ns"))
        known = (process.pid, process.exe, process.uid)
        facts = tuple(map(action.get, ("pid", "exe", "uid"), known))
        if facts != known:
            process.pid, process.exe, process.uid = facts
            process.age += 1
        kind = action["kind"]
        if kind == "proc.exec" and "errors" not in action:
            process.age += 1
            process.argv = action.get("argv", [])
            process.cwd = action.get("cwd", process.cwd)
            process.parent = action.get("parent", process.parent)
            process.ppid = action.get("ppid", process.ppid)
            process.started_ns = action.get("started_ns", process.started_ns)
        elif kind == "proc.spawn" and "child" in action:
            self._born(process, action)
        elif kind == "dir.change" and "errors" not in action:
            process.age += 1
            process.cwd = action.get("target", process.cwd)
        elif kind == "proc.exit":
            del self.living[proc]
        return process

    def _born(self, parent: Process, spawn: Record) -> None:
        # The child's own records may have come before; then it knows more than we do.
        child = self.living.setdefault(spawn["child"], Process(spawn["child"]))
        child.age += 1
        child.pid = child.pid if child.pid is not None else spawn.get("child_pid")
        child.exe = child.exe or parent.exe
        child.argv = child.argv or parent.argv
        child.cwd = child.cwd or parent.cwd
        child.uid = child.uid if child.uid is not None else parent.uid
        child.parent = parent.proc if child.parent is None else child.parent
        child.ppid = parent.pid if child.ppid is None else child.ppid
        if child.started_ns is None:
            child.started_ns = spawn.get("first_ns")

"""Killing a whole tree of tracees: used when anything that watches them has died.

What strace traces dies with strace, in one step of the kernel's (`_tracer_guard.c`). The rounds
here are for the rest: what ran untraced, and a strace that does not take the guard.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class _Relative:
    """One process as /proc/<pid>/status has it (proc(5))."""

    parent: int
    tracer: int
    group: int
    state: str


def _relatives() -> dict[int, _Relative]:
    """Every process that /proc shows, by pid."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        parent = tracer = group = 0
        state = "X"
        with suppress(OSError):
            for line in Path("/proc", name, "status").read_bytes().split(b"\n", 20):
                if line.startswith(b"PPid:"):
                    parent = int(line[5:])
                elif line.startswith(b"TracerPid:"):
                    tracer = int(line[10:])
                elif line.startswith(b"NSpgid:"):
                    group = int(line[7:].split()[0])
                elif line.startswith(b"State:"):
                    state = line[6:].strip()[:1].decode()
            found[int(name)] = _Relative(parent, tracer, group, state)
    return found


def find_tree(roots: Collection[int], tracer: int | None, spare: Collection[int]) -> set[int]:
    """Every living process that descends from `roots` or is traced by `tracer`.

    `spare` and their descendants are left out, and so are the roots that are in it; zombies
    count as dead.
    """
    tree = _tree(_relatives(), roots, tracer, spare)
    return tree | _heirs(spare) if os.getpid() in roots else tree


def _tree(
    relatives: dict[int, _Relative],
    roots: Collection[int],
    tracer: int | None,
    spare: Collection[int],
) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, relative in relatives.items():
        children.setdefault(relative.parent, []).append(pid)
    frontier = [pid for pid, of in relatives.items() if tracer is not None and of.tracer == tracer]
    frontier += roots
    seen: set[int] = set()
    while frontier:
        pid = frontier.pop()
        if pid in seen:
            continue
        seen.add(pid)
        frontier += [child for child in children.get(pid, ()) if child not in spare]
    return {p for p in seen if p not in spare and p in relatives and relatives[p].state not in "ZX"}


def kill_tree(
    roots: Collection[int],
    tracer: int | None,
    spare: Collection[int],
    *,
    guarded: bool = False,
    reap: Callable[[], None] = lambda: None,
) -> bool:
    """SIGKILL the tree until nothing of it lives. Returns False if something outlived 10 s.

    A `guarded` tracer, a strace of ours, goes first and takes its tracees along. Each round then
    kills the groups that hold nobody else (which no fork can escape from, kill(2)), stops the
    rest so that a fork bomb cannot outrun the rounds, and kills it. `reap` is called between
    rounds to collect dead children.
    """
    deadline_s = time.monotonic() + DEADLINE_S
    pause_s = 0.0
    if guarded and tracer is not None:
        _send(tracer, signal.SIGKILL)
    while time.monotonic() < deadline_s:
        relatives = _relatives()
        tree = _tree(relatives, roots, tracer, spare)
        others = _others_groups(relatives, tree)
        for group in {relatives[pid].group for pid in tree} - others:
            _send(-group, signal.SIGKILL)
        for signo in (signal.SIGSTOP, signal.SIGKILL):
            for pid in tree:
                _send(pid, signo)
        if os.getpid() in roots:
            _chase(set(spare), others)
        reap()
        if not tree and not find_tree(roots, tracer, spare):
            return True
        time.sleep(pause_s)
        pause_s = min(pause_s + 0.0005, 0.005)
    return not find_tree(roots, tracer, spare)


def _send(pid: int, signo: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signo)


def _others_groups(relatives: dict[int, _Relative], tree: set[int]) -> set[int]:
    """The process groups in which somebody is who is not of the tree, and ours."""
    others = {of.group for pid, of in relatives.items() if pid not in tree and of.state not in "ZX"}
    return others | {0, 1, os.getpgrp()}


def children() -> set[int]:
    """Our own children, zombies too; none on a kernel without CONFIG_PROC_CHILDREN."""
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_bytes()
    except OSError:
        return set()
    return {int(pid) for pid in text.split()}


def _heirs(spare: Collection[int]) -> set[int]:
    """Our living children.

    A program that does nothing but fork and end is gone before a scan of /proc is over, but
    each heir of it becomes our child (PR_SET_CHILD_SUBREAPER), and those are listed at once.
    """
    now: set[int] = set()
    for _ in range(20):
        before, now = now, children() - set(spare)
        if alive := {pid for pid in now if _state_and_group(pid)[0] not in "ZX"}:
            return alive
        if now <= before:
            return set()
    return now


def _state_and_group(pid: int) -> tuple[str, int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", 0
    return fields[0], int(fields[2])


def _chase(spare: set[int], others: set[int], turns: int = 500) -> None:
    """Kill our children as they appear, with their whole groups: the dead ones' too.

    `others` are the groups in which somebody else is.
    """
    known = spare
    for _ in range(turns):
        fresh = children() - known
        if not fresh:
            return
        for pid in fresh:
            _send(pid, signal.SIGKILL)
        for group in {_state_and_group(pid)[1] for pid in fresh} - others:
            _send(-group, signal.SIGKILL)
        known = known | fresh

"""Killing a whole tree of tracees: used when anything that watches them has died.

strace fails open: when it dies, or when its reader does, the target would run on unseen.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

DEADLINE_S = 10.0


def _relatives() -> dict[int, tuple[int, int, str]]:
    """pid → (parent, tracer, state letter) of every process that /proc shows (proc(5))."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        parent = tracer = 0
        state = "X"
        with suppress(OSError):
            for line in Path(entry.path, "status").read_bytes().split(b"\n", 16):
                if line.startswith(b"PPid:"):
                    parent = int(line[5:])
                elif line.startswith(b"TracerPid:"):
                    tracer = int(line[10:])
                elif line.startswith(b"State:"):
                    state = line[6:].strip()[:1].decode()
            found[int(entry.name)] = (parent, tracer, state)
    return found


def find_tree(roots: Collection[int], tracer: int | None, spare: Collection[int]) -> set[int]:
    """Every living process that descends from `roots` or is traced by `tracer`.

    `spare` and their descendants are left out, and so are the roots that are in it; zombies
    count as dead.
    """
    relatives = _relatives()
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in relatives.items():
        children.setdefault(parent, []).append(pid)
    frontier = [pid for pid, (_, by, _) in relatives.items() if tracer is not None and by == tracer]
    frontier += roots
    seen: set[int] = set()
    while frontier:
        pid = frontier.pop()
        if pid in seen:
            continue
        seen.add(pid)
        frontier += [child for child in children.get(pid, ()) if child not in spare]
    return {p for p in seen if p not in spare and p in relatives and relatives[p][2] not in "ZX"}


def kill_tree(roots: Collection[int], tracer: int | None, spare: Collection[int]) -> bool:
    """SIGKILL the tree until nothing of it lives. Returns False if something outlived 10 s.

    Each round first stops what it found, so that a fork bomb cannot outrun the rounds.
    """
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        tree = find_tree(roots, tracer, spare)
        if not tree:
            return True
        for signo in (signal.SIGSTOP, signal.SIGKILL):
            for pid in tree:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signo)
        time.sleep(0.002)
    return not find_tree(roots, tracer, spare)

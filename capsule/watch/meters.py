"""Rates, latency and CPU: what is true of a moment and not of the log. Clocks are arguments."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from capsule.procstat import tracer_of
from capsule.watch.model import Process

WINDOW_S = 3.0


class Rates:
    """Actions and events per second over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()

    def feed(self, now_s: float, actions: int, events: int) -> None:
        """Say how many there have been in all."""
        seen = self._seen
        seen.append((now_s, actions, events))
        while len(seen) > 2 and seen[1][0] <= now_s - WINDOW_S:
            seen.popleft()

    def per_s(self) -> tuple[float, float]:
        """(Actions, events) per second; zeros before a time has passed."""
        if len(self._seen) < 2:
            return 0.0, 0.0
        (begin_s, actions, events), (end_s, actions_now, events_now) = self._seen[0], self._seen[-1]
        passed_s = end_s - begin_s
        if passed_s <= 0:
            return 0.0, 0.0
        return (actions_now - actions) / passed_s, (events_now - events) / passed_s


class Latency:
    """From an Action's last event to its being seen here: of the newest, and the worst lately."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def feed(self, now_s: float, latency_s: float) -> None:
        """Add what was measured at `now_s`."""
        self._seen.append((now_s, latency_s))
        self.forget(now_s)

    def forget(self, now_s: float) -> None:
        """Let go of what is older than the window."""
        while self._seen and self._seen[0][0] <= now_s - WINDOW_S:
            self._seen.popleft()

    def seconds(self) -> tuple[float, float] | None:
        """(newest, worst); None when nothing was measured lately."""
        if not self._seen:
            return None
        return self._seen[-1][1], max(latency for _, latency in self._seen)


def is_here(start: Mapping[str, Any] | None) -> bool:
    """Whether a run's start record is of this machine, since its last boot."""
    if start is None:
        return False
    with suppress(OSError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return bool(start.get("boot_id") == boot_id and start.get("host") == socket.gethostname())
    return False


class Cpu:
    """CPU of living processes of the run, from /proc: percent of one core since the last look.

    A pid in a log may be another process's by now, or of another pid namespace. So only what
    is traced, and began before the log first told of it, is taken for the process meant.
    """

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process | None] = {}

    def sample(self, processes: Iterable[Process]) -> dict[int, tuple[str, float]]:
        """By `proc`: (state, percent) of those that live, as /proc has it now."""
        found: dict[int, tuple[str, float]] = {}
        known: dict[int, psutil.Process | None] = {}
        for process in processes:
            if process.pid is None or process.end is not None:
                continue
            handle = self._known.get(process.proc) or self._find(process)
            known[process.proc] = handle
            if handle is None:
                continue
            with suppress(psutil.Error), handle.oneshot():
                found[process.proc] = (handle.status(), handle.cpu_percent())
        self._known = known
        return found

    @staticmethod
    def _find(process: Process) -> psutil.Process | None:
        assert process.pid is not None
        try:
            handle = psutil.Process(process.pid)
            began_ns = handle.create_time() * 1e9
        except (psutil.Error, ValueError, OverflowError):
            return None
        if process.pid == os.getpid() or not tracer_of(process.pid):
            return None
        return handle if process.first_ns is None or began_ns <= process.first_ns + 1e9 else None

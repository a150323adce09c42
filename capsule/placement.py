"""On which CPUs a run's processes are: our stages on one; strace and its target too, if asked for.

Stages on one CPU wake each other without an interrupt to another one, and take turns with strace
and its target less often. One CPU is enough for ten times the lines that an strace can write.

Each call that is traced hands the CPU from target to strace and back, twice. On one CPU that
is a switch; between two it is an interrupt and a wake-up, which costs more than strace itself
(docs/performance.md has figures). But all of the target's processes then share that CPU.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Placement:
    """CPUs of strace and its target, and of our stages; None: wherever the scheduler likes."""

    target: frozenset[int] | None = None
    stages: frozenset[int] | None = None


ANYWHERE = Placement()


def stages_on_one_cpu(available: Collection[int], number: int) -> Placement:
    """The stages on one of the `available` CPUs, of several runs not all on the same: `number`."""
    if len(available) < 2:
        return ANYWHERE
    return Placement(stages=frozenset((sorted(available)[number % len(available)],)))


def on_one_cpu(available: Collection[int]) -> Placement:
    """strace and its target on the last of the `available` CPUs, the stages on all others.

    With a single CPU there is nothing to choose.
    """
    if len(available) < 2:
        return ANYWHERE
    last = max(available)
    return Placement(frozenset((last,)), frozenset(available) - {last})


@contextmanager
def starting_on(cpus: frozenset[int] | None) -> Iterator[None]:
    """What is forked in here is on `cpus` (sched_setaffinity(2) is inherited); we go back."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move(pid: int, cpus: frozenset[int] | None) -> None:
    """Have a process of ours run on `cpus` from now on, all its threads (sched_setaffinity(2)).

    It is for speed alone: where the system says no, or the process has just died, nothing is.
    """
    if cpus is None:
        return
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cpus)

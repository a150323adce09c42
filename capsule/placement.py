"""On which CPUs a run's processes are: strace and its target together on one, if asked for.

Each call that is traced hands the CPU from target to strace and back, twice. On one CPU that
is a switch; between two it is an interrupt and a wake-up, which costs more than strace itself
(docs/performance.md has figures). But all of the target's processes then share that CPU.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """CPUs of strace and its target, and of our stages; None: wherever the scheduler likes."""

    target: frozenset[int] | None = None
    stages: frozenset[int] | None = None


ANYWHERE = Placement()


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

"""What container runtimes call themselves between a container's filter and its program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from capsule.policy import SIBLINGS


@dataclass(frozen=True, slots=True)
class Base:
    """One measurement (benchmarks/runtime_base.py). `needed` of `made` is what no container
    starts without; the rest is called, too, and what it does would be left undone."""

    runtime: str
    version: str
    no_new_privs: bool
    made: frozenset[str]
    needed: frozenset[str]


@cache
def bases() -> tuple[Base, ...]:
    """Return what was measured."""
    text = Path(__file__).with_name("runtimes.tsv").read_text("ascii")
    found = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        runtime, version, no_new_privs, calls = line.split("\t")
        words = calls.split()
        made = frozenset(word.rstrip("!") for word in words)
        needed = frozenset(word[:-1] for word in words if word.endswith("!"))
        found.append(Base(runtime, version, no_new_privs == "yes", made, needed))
    return tuple(found)


def base(runtimes: Iterable[str], *, no_new_privs: bool) -> set[str]:
    """Return the calls to allow for these runtimes, with those that other releases take instead.

    Without no_new_privs a filter is loaded while privileges are still there, and so earlier.
    """
    wanted = set(runtimes)
    made = {
        call
        for one in bases()
        if one.runtime in wanted and one.no_new_privs == no_new_privs
        for call in one.made
    }
    for family in SIBLINGS:
        made |= set(family) if made.intersection(family) else set()
    return made

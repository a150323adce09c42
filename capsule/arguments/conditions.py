"""A policy's rules on arguments, as a seccomp filter wants them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from capsule.arguments import INT, WATCHED, Comparison

Alternatives = list[tuple[Comparison, ...]]

WRITE, EXEC = 2, 4
"""PROT_WRITE, PROT_EXEC (mmap(2))."""

NOT_WRITABLE = (Comparison(2, WRITE, 0),)
NOT_EXECUTABLE = (Comparison(2, EXEC, 0),)

PAIR_OF_ITS_OWN = (Comparison(0, INT, 1),)
"""AF_UNIX: its two ends are the caller's own. No rule is about pairs (socketpair(2))."""

UNINSPECTABLE = {"clone3": "clone"}
"""Calls whose arguments lie in memory, where no filter reads, and what does the same with them in
registers: refused with ENOSYS a C library goes on with that."""


def of(
    rules: Iterable[tuple[str, str, tuple[Comparison, ...] | None]], arguments_known: bool
) -> dict[str, Alternatives]:
    """Return call → alternatives, each a tuple of comparisons that all have to hold.

    `rules` are kind, what, where. A call that is missing may have any arguments. No
    alternative is empty; where there are none, the call is never allowed.
    """
    calls, memory = set(), set()
    found: dict[str, Alternatives | None] = {}  # None: any arguments
    for kind, what, where in rules:
        if kind == "call":
            calls.add(what)
        elif kind == "memory":
            memory.add(what)
        elif kind == "argument":
            _add(found, what.partition(" ")[0], where)
        elif kind == "socket":
            _add(found, "socket", where)
    for call in calls & set(WATCHED) if arguments_known else ():
        found.setdefault(call, [])
    if "socket" in calls:
        found.setdefault("socket", [])
    found["socketpair"] = [PAIR_OF_ITS_OWN]
    found["mmap"] = _mmap(memory)
    found["mprotect"] = found["pkey_mprotect"] = _mprotect(memory, arguments_known)
    return {call: sorted(some) for call, some in sorted(found.items()) if some is not None}


def _add(
    found: dict[str, Alternatives | None], call: str, where: tuple[Comparison, ...] | None
) -> None:
    known = found.setdefault(call, [])
    if not where:
        found[call] = None
    elif known is not None and where not in known:
        known.append(where)


def _mmap(memory: set[str]) -> Alternatives | None:
    if "mmap PROT_WRITE|PROT_EXEC" in memory:
        return None
    return [NOT_WRITABLE, NOT_EXECUTABLE]


def _mprotect(memory: set[str], arguments_known: bool) -> Alternatives | None:
    if "mprotect PROT_WRITE|PROT_EXEC" in memory:
        return None
    if "mprotect PROT_EXEC" in memory or not arguments_known:
        return [NOT_WRITABLE, NOT_EXECUTABLE]
    return [NOT_EXECUTABLE]

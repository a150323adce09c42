"""A policy's rules about system calls → what a seccomp filter decides, and why. Pure."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace

from capsule import syscalls
from capsule.enforce.bpf import (
    ALLOW,
    ENOSYS,
    EPERM,
    NOTIFY,
    Check,
    Clause,
    Filter,
    Verdict,
    fail,
)
from capsule.policy import Policy

ALL_BITS = 0xFFFFFFFF

FALLBACKS = frozenset(
    (
        "cachestat", "clone3", "close_range", "copy_file_range", "epoll_pwait2", "faccessat2",
        "fchmodat2", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "getrandom",
        "io_uring_enter", "io_uring_register", "io_uring_setup", "landlock_create_ruleset",
        "membarrier", "memfd_secret", "mseal", "openat2", "pidfd_getfd", "pidfd_open",
        "pidfd_send_signal", "preadv2", "process_madvise", "process_mrelease", "pwritev2",
        "renameat2", "rseq", "statmount", "listmount", "statx",
    )
)  # fmt: skip
"""Calls that programs and C libraries do without where a kernel lacks them (ENOSYS). They take
any other error for the answer."""

HIDDEN_FLAGS = {"clone3": "its flags are in memory, where a filter cannot look"}
"""Calls that fail with ENOSYS whatever the policy says: the older call, which can be looked
into, takes their place."""

PROT_WRITE, PROT_EXEC, SHM_EXEC = 0x2, 0x4, 0x8000
CLONE_NEW = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (clone(2))."""
CLONE_UNTRACED = 0x00800000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
IPPROTO_TCP, MPTCP_HIDES = 6, (socket.AF_INET, socket.AF_INET6)
SOCK_TYPE_MASK = 0xF


@dataclass(frozen=True, slots=True)
class CallFilter:
    """The filter, how many calls it allows, how many of those by their arguments, and what of the
    policy it had to leave out."""

    filter: Filter
    allowed: int
    checked: int
    left_out: tuple[str, ...]


def numbers() -> dict[str, int]:
    """Return the number of each call of x86-64."""
    return {row.name: row.number for row in syscalls.table() if row.number is not None}


def make(policy: Policy, *, complain: bool = False) -> CallFilter:
    """Return the filter of a policy. With `complain`, what it denies is handed over, not denied."""
    known = numbers()
    wanted = {what for kind, what in policy.rules if kind == "call"}
    left_out = tuple(sorted(name for name in wanted if name not in known))
    limits = _limits(policy)
    deny = NOTIFY if complain else None
    calls: dict[int, Verdict] = {}
    allowed = checked = 0
    for name, number in known.items():
        refused = deny if deny is not None else fail(ENOSYS if name in FALLBACKS else EPERM)
        if name in HIDDEN_FLAGS:
            calls[number] = Verdict(fail(ENOSYS))
        elif name not in wanted:
            calls[number] = Verdict(refused)
        else:
            verdict = limits.get(name, Verdict(ALLOW))
            calls[number] = _denying_with(verdict, refused)
            allowed += 1
            checked += bool(verdict.clauses)
    if deny is None:
        return CallFilter(Filter(calls), allowed, checked, left_out)
    return CallFilter(Filter(calls, x32=deny, foreign=deny), allowed, checked, left_out)


_DENY = -1
"""Stands for the verdict that denies, until it is known which."""


def _denying_with(verdict: Verdict, refused: int) -> Verdict:
    clauses = tuple(
        replace(clause, verdict=refused) if clause.verdict == _DENY else clause
        for clause in verdict.clauses
    )
    return Verdict(refused if verdict.otherwise == _DENY else verdict.otherwise, clauses)


def _limits(policy: Policy) -> dict[str, Verdict]:
    """Return the verdicts of calls that are allowed with some arguments only."""
    found: dict[str, Verdict] = {}
    both = PROT_WRITE | PROT_EXEC
    memory = {what for kind, what in policy.rules if kind == "memory"}
    if "mmap PROT_WRITE|PROT_EXEC" not in memory:
        found["mmap"] = _unless(Check(2, both, both))
    if "mprotect PROT_WRITE|PROT_EXEC" not in memory:
        found["mprotect"] = found["pkey_mprotect"] = _unless(Check(2, both, both))
    found["shmat"] = _unless(Check(2, SHM_EXEC, SHM_EXEC))
    found["socket"] = Verdict(_DENY, tuple(_sockets(policy)))
    found["socketpair"] = Verdict(
        _DENY, (Clause((Check(0, ALL_BITS, int(socket.AF_UNIX)),), ALLOW),)
    )
    found["clone"] = Verdict(
        _DENY, (Clause((Check(0, CLONE_NEW | CLONE_UNTRACED, 0),), ALLOW),)
    )  # fmt: skip
    found["ioctl"] = _unless(Check(1, ALL_BITS, TIOCSTI), Check(1, ALL_BITS, TIOCLINUX))
    return found


def _unless(*checks: Check) -> Verdict:
    return Verdict(ALLOW, tuple(Clause((check,), _DENY) for check in checks))


def _sockets(policy: Policy) -> Iterator[Clause]:
    for kind, what in sorted(policy.rules):
        if kind != "socket":
            continue
        family, type_ = socket_numbers(what)
        if family is None or type_ is None:
            continue
        checks = (Check(0, ALL_BITS, family), Check(1, SOCK_TYPE_MASK, type_))
        if family in MPTCP_HIDES and type_ == socket.SOCK_STREAM:
            # Landlock holds TCP alone; a stream by MPTCP or SCTP would pass it by.
            for protocol in (0, IPPROTO_TCP):
                yield Clause((*checks, Check(2, ALL_BITS, protocol)), ALLOW)
        else:
            yield Clause(checks, ALLOW)


def socket_numbers(what: str) -> tuple[int | None, int | None]:
    """Return the family and type of `AF_INET SOCK_STREAM`; None for what is not known."""
    family, _, type_ = what.partition(" ")
    return _number(family), _number(type_)


def _number(name: str) -> int | None:
    value = getattr(socket, name, None) if name.startswith(("AF_", "SOCK_")) else None
    return int(value) if isinstance(value, int) else None

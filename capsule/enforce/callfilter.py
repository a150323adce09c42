"""A policy's rules about system calls → what a seccomp filter decides. Pure."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from capsule import syscalls
from capsule.arguments import INT, NAMESPACES, UNTRACED, Comparison, conditions
from capsule.enforce.bpf import ALLOW, ENOSYS, EPERM, NOTIFY, Clause, Filter, Verdict, fail
from capsule.policy import Policy

SHM_EXEC = 0x8000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
IPPROTO_TCP = 6

NEVER = {
    "shmat": (Comparison(2, SHM_EXEC, SHM_EXEC),),
    "ioctl": (Comparison(1, INT, TIOCSTI), Comparison(1, INT, TIOCLINUX)),
}
"""What no policy allows by saying nothing of a call's arguments: memory that is executable from
the start, and keys typed into the user's terminal. A rule that names the very value does."""


@dataclass(frozen=True, slots=True)
class CallFilter:
    """The filter; how many calls it allows, and how many of those by their arguments.

    `left_out`: calls that the policy allows and the filter cannot: they are not x86-64's.
    """

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
    limits = policy.conditions()
    calls: dict[int, Verdict] = {}
    allowed = checked = 0
    for name, number in known.items():
        denial = NOTIFY if complain else fail(ENOSYS if name in syscalls.FALLBACKS else EPERM)
        if name in conditions.UNINSPECTABLE:
            calls[number] = Verdict(
                fail(ENOSYS) if not complain
                # Where what C libraries do in its place may be made, nothing would go wrong.
                else ALLOW if wanted & {name, conditions.UNINSPECTABLE[name]} else NOTIFY
            )  # fmt: skip
        elif name not in wanted:
            calls[number] = Verdict(denial)
        else:
            calls[number] = _verdict(name, limits.get(name), denial)
            allowed += 1
            checked += bool(calls[number].clauses)
    left_out = tuple(sorted(name for name in wanted if name not in known))
    if complain:
        return CallFilter(Filter(calls, x32=NOTIFY, foreign=NOTIFY), allowed, checked, left_out)
    return CallFilter(Filter(calls), allowed, checked, left_out)


def _verdict(name: str, limits: conditions.Alternatives | None, denial: int) -> Verdict:
    if limits is None and name == "clone":  # which arguments were seen is not known
        limits = [(Comparison(0, NAMESPACES | UNTRACED, 0),)]
    if limits is None:
        return Verdict(ALLOW, tuple(Clause((one,), denial) for one in NEVER.get(name, ())))
    if name == "socket":
        limits = list(_seen_by_landlock(limits))
    return Verdict(denial, tuple(Clause(checks, ALLOW) for checks in limits))


def _seen_by_landlock(limits: conditions.Alternatives) -> Iterable[tuple[Comparison, ...]]:
    """Landlock holds TCP alone: a stream by MPTCP or SCTP would pass it by."""
    for checks in limits:
        values = {one.index: one.value for one in checks}
        if values.get(0) in (socket.AF_INET, socket.AF_INET6) and values.get(1) in (
            None,
            socket.SOCK_STREAM,
        ):
            for protocol in (0, IPPROTO_TCP):
                yield (*checks, Comparison(2, INT, protocol))
        else:
            yield checks

"""A policy's rules about system calls, as seccomp profiles put them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from capsule import syscalls
from capsule.arguments import Comparison
from capsule.arguments.conditions import UNINSPECTABLE
from capsule.errors import CapsuleError
from capsule.policy import Policy

ENOSYS = 38

FIRST_OF_5_1 = 424
"""The number of pidfd_send_signal: since then all architectures number calls alike."""

Alternatives = tuple[tuple[Comparison, ...], ...]


@dataclass(frozen=True, slots=True)
class Calls:
    """`allowed`: call → alternatives of which one has to hold; none: any arguments.

    `absent`: calls that fail with ENOSYS, so that a program does without; all others fail with
    EPERM. `unsaid`: calls of the policy that are none of x86-64.
    """

    allowed: dict[str, Alternatives]
    absent: tuple[str, ...]
    unsaid: tuple[str, ...]

    def plain(self) -> list[str]:
        """Return the calls that are allowed with any arguments."""
        return [name for name, some in self.allowed.items() if not some]

    def limited(self) -> dict[str, Alternatives]:
        """Return the calls that are allowed with some arguments only."""
        return {name: some for name, some in self.allowed.items() if some}

    def notes(self) -> list[str]:
        """Return what no seccomp profile for x86-64 allows of these."""
        return [f"denies {name}, which is no call of x86-64" for name in self.unsaid]


def of(policy: Policy) -> Calls:
    """Return what a seccomp profile has to say. CapsuleError if the calls are not known."""
    if not policy.calls_known:
        raise CapsuleError(
            "this policy has no rules for system calls, as its runs do not say which were made; "
            "draft it from runs that were traced anew"
        )
    numbers = {row.name: row.number for row in syscalls.table() if row.number is not None}
    wanted = {what for kind, what in policy.rules if kind == "call"}
    limits = policy.conditions()
    hidden = {one for one, older in UNINSPECTABLE.items() if older in limits}
    allowed: dict[str, Alternatives] = {
        name: tuple(limits.get(name, ()))
        for name in sorted(wanted & set(numbers) - hidden)
        if name not in limits or limits[name]  # not one of which no argument is allowed
    }
    absent = tuple(
        name
        for name, number in sorted(numbers.items())
        if name not in allowed and (number >= FIRST_OF_5_1 or name in syscalls.FALLBACKS)
    )
    return Calls(allowed, absent, tuple(sorted(wanted - set(numbers))))


def only_paths(policy: Policy) -> str:
    """Return the note of a dialect that has no words for calls."""
    kinds = ("call", "memory", "socket", "argument")
    number = sum(1 for kind, _ in policy.rules if kind in kinds)
    return f"cannot say which system calls and arguments: {number} rules are not in it"


def not_calls(policy: Policy, beyond: tuple[str, ...] = ()) -> list[str]:
    """Return the note on all rules that are not about calls; `beyond`: kinds that are said."""
    said = {"call", "memory", "socket", "argument", *beyond}
    number = sum(1 for kind, _ in policy.rules if kind not in said)
    return [f"cannot say which files, programs and addresses: {number} rules are not in it"]

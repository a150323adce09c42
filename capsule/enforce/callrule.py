"""Which rule would allow a call that a filter has denied. Pure."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import cache

from capsule import arguments, syscalls
from capsule.arguments.conditions import WRITE
from capsule.behaviour import Key
from capsule.enforce.bpf import AUDIT_ARCH_X86_64, X32_BIT

SOCK_TYPE_MASK = 0xF
_TYPES = {int(value): value.name for value in socket.SocketKind}
_FAMILIES = {int(value): value.name for value in socket.AddressFamily}


@cache
def _names() -> dict[int, str]:
    return {row.number: row.name for row in syscalls.table() if row.number is not None}


def rule_for(arch: int, number: int, args: Sequence[int], allowed: frozenset[str]) -> Key:
    """Return the rule (kind, what) that would allow a call; `allowed` are the calls that are."""
    if arch != AUDIT_ARCH_X86_64:
        return "call", f"#{number} of 32-bit code"
    if number & X32_BIT:
        return "call", f"{_names().get(number & ~X32_BIT, number & ~X32_BIT)}#64"
    name = _names().get(number, str(number))
    if name not in allowed:
        return "call", name
    return _by_arguments(name, [value & 0xFFFFFFFF for value in args])


def _by_arguments(name: str, args: Sequence[int]) -> Key:
    if name in ("mmap", "mprotect", "pkey_mprotect"):
        flags = "PROT_WRITE|PROT_EXEC" if args[2] & WRITE else "PROT_EXEC"
        return "memory", f"{'mmap' if name == 'mmap' else 'mprotect'} {flags}"
    if name in ("socket", "socketpair"):
        family, type_ = args[0], args[1] & SOCK_TYPE_MASK
        return "socket", f"{_FAMILIES.get(family, family)} {_TYPES.get(type_, type_)}"
    watched = arguments.WATCHED.get(name)
    if watched is None:
        return "call", f"{name} with these arguments"
    value = args[watched.index] & watched.mask
    return "argument", arguments.what(name, _written(watched, value))


def _written(watched: arguments.Watched, value: int) -> str:
    """A value as strace writes it: the name of it, else the number."""
    names = (
        name
        for (group, name), number in arguments.constants().items()
        if group == watched.group and number == value and watched.mask == arguments.INT
    )
    return next(names, f"{value:#x}")

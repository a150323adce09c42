"""Which rule would allow a call that a filter has denied. Pure."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import cache

from capsule import syscalls
from capsule.behaviour import Key
from capsule.enforce.bpf import AUDIT_ARCH_X86_64, X32_BIT
from capsule.enforce.callfilter import (
    CLONE_NEW,
    CLONE_UNTRACED,
    PROT_WRITE,
    SOCK_TYPE_MASK,
)

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
        flags = "PROT_WRITE|PROT_EXEC" if args[2] & PROT_WRITE else "PROT_EXEC"
        return "memory", f"{'mmap' if name == 'mmap' else 'mprotect'} {flags}"
    if name in ("socket", "socketpair"):
        type_ = args[1] & SOCK_TYPE_MASK
        return "socket", f"{_FAMILIES.get(args[0], args[0])} {_TYPES.get(type_, type_)}"
    if name == "clone" and args[0] & (CLONE_NEW | CLONE_UNTRACED):
        return "call", f"clone with flags {args[0] & (CLONE_NEW | CLONE_UNTRACED):#x}"
    if name == "ioctl":
        return "call", f"ioctl with request {args[1]:#x}"
    return "call", f"{name} with these arguments"

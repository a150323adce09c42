"""Run a command under a seccomp policy file of minijail: `minijailed.py FILE /PATH/OF/COMMAND…`.

A strict reader, and an installer of the filter, of their own: they import nothing of Capsule's.
Written from minijail0(5), section "SECCOMP_FILTER SYNTAX", and stricter than minijail0 itself: one
line a call, names that Debian 12's kernel headers have, no more than minijail0 has room for.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

HEADERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
ERRNO = {"EPERM": 1, "ENOSYS": 38}
WORD = (1 << 64) - 1
MOST_LABELS, MOST_INSTRUCTIONS = 512, 4096

_LINE = re.compile(r"([a-z_0-9]+): (?:(1)|return (\w+)|([^;]+); return (\w+))")
_ATOM = re.compile(r"arg([0-5]) (==|&|in) (~?)(0x[0-9a-f]+)")


@dataclass(frozen=True)
class Atom:
    index: int
    operator: str
    value: int

    def holds(self, args: tuple[int, ...]) -> bool:
        value = args[self.index]
        if self.operator == "==":
            return value == self.value
        return bool(value & self.value) if self.operator == "&" else not value & ~self.value & WORD


@dataclass(frozen=True)
class Line:
    """`any_of`: alternatives; None: allowed with any arguments. `errno`: if none holds."""

    any_of: tuple[tuple[Atom, ...], ...] | None
    errno: int = 0


def known() -> dict[str, int]:
    """The calls that a minijail0 built here knows: it takes them from this header."""
    found = re.findall(r"#define __NR_(\w+) (\d+)", HEADERS.read_text("ascii"))
    return {name: int(number) for name, number in found}


def read(text: str) -> dict[str, Line]:
    """Return the lines of a policy by call. AssertionError if minijail0 would refuse it."""
    assert text.endswith("\n") and text.isascii() and "\\" not in re.sub("(?m)^#.*", "", text)
    found: dict[str, Line] = {}
    labels = instructions = 0
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        parts = _LINE.fullmatch(line)
        assert parts, line
        name, allowed, refused, expression, otherwise = parts.groups()
        assert name not in found, f"{name} twice"
        if allowed:
            found[name] = Line(None)
            instructions += 2
        elif refused:
            found[name] = Line((), ERRNO[refused])
            labels, instructions = labels + 1, instructions + 4
        else:
            any_of = tuple(_all_of(some) for some in expression.split(" || "))
            found[name] = Line(any_of, ERRNO[otherwise])
            labels += 2 + len(any_of)
            instructions += 6 + sum(2 + 10 * len(some) for some in any_of)
    assert labels <= MOST_LABELS and instructions <= MOST_INSTRUCTIONS
    return found


def _all_of(text: str) -> tuple[Atom, ...]:
    atoms = []
    for one in text.split(" && "):
        parts = _ATOM.fullmatch(one)
        assert parts, one
        value = int(parts[4], 16)
        assert value <= WORD
        atoms.append(Atom(int(parts[1]), parts[2], value ^ WORD if parts[3] else value))
    return tuple(atoms)


def verdict(policy: dict[str, Line], name: str, *args: int) -> str | int:
    """What becomes of a call: "allow", an errno, or "kill"."""
    line = policy.get(name)
    if line is None:
        return "kill"
    whole = (*args, *[0] * (6 - len(args)))
    if line.any_of is None or any(all(a.holds(whole) for a in some) for some in line.any_of):
        return "allow"
    return line.errno


LD, JEQ, JSET, JA, RET = 0x20, 0x15, 0x45, 0x05, 0x06
ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000
X86_64 = 0xC000003E
LOW = (1 << 32) - 1
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, k of a struct sock_filter (linux/filter.h)."""


def compiled(policy: dict[str, Line]) -> list[Instruction]:
    """Return a filter's program."""
    numbers = known()
    program: list[Instruction] = [
        (LD, 0, 0, 4), (JEQ, 1, 0, X86_64), (RET, 0, 0, KILL), (LD, 0, 0, 0),
    ]  # fmt: skip
    for name, line in policy.items():
        body: list[Instruction] = []
        for some in ((),) if line.any_of is None else line.any_of:
            tail: list[Instruction] = [(RET, 0, 0, ALLOW)]
            for atom in reversed(some):
                tail = [*_check(atom, len(tail)), *tail]
            body += tail
        body.append((RET, 0, 0, FAIL | line.errno))
        program += [(JEQ, 1, 0, numbers[name]), (JA, 0, 0, len(body)), *body]
    return [*program, (RET, 0, 0, KILL)]


def _check(atom: Atom, rest: int) -> list[Instruction]:
    """Go on if an atom holds, else jump over the `rest` of its alternative."""
    low, high = (LD, 0, 0, 16 + 8 * atom.index), (LD, 0, 0, 20 + 8 * atom.index)
    if atom.operator == "&":
        set_low, set_high = atom.value & LOW, atom.value >> 32
        return [low, (JSET, 3, 0, set_low), high, (JSET, 1, 0, set_high), (JA, 0, 0, rest)]
    if atom.operator == "==":
        code, true, false, value = JEQ, 1, 0, atom.value
    else:
        code, true, false, value = JSET, 0, 1, atom.value ^ WORD
    return [
        low, (code, true, false, value & LOW), (JA, 0, 0, rest + 3),
        high, (code, true, false, value >> 32), (JA, 0, 0, rest),
    ]  # fmt: skip


def install(program: list[Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *one) for one in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("=H6xQ", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for words in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, FILTER, fprog, 0, 0)):
        if libc.prctl(*words):
            raise OSError(ctypes.get_errno(), f"prctl: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    install(compiled(read(Path(sys.argv[1]).read_text("ascii"))))
    os.execv(sys.argv[2], sys.argv[2:])

"""Decisions about system calls → a classic BPF program as seccomp(2) takes it. Pure.

A call whose verdict needs no argument is decided by its architecture and number alone: the
kernel runs the program for every number when it is set, and keeps those that are always allowed
in a bitmap (seccomp_cache_prepare in kernel/seccomp.c, since 5.11). Such a call never runs the
program at all.

Arguments are of 64 bits, and loaded by halves; of one that is an int to the kernel the rules'
masks leave the low half (capsule/arguments).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from capsule.arguments import Comparison

AUDIT_ARCH_X86_64 = 0xC000003E
X32_BIT = 0x40000000
MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
NOTIFY = 0x7FC00000
_ERRNO = 0x00050000
EPERM, ENOSYS = 1, 38

_LD, _AND = 0x20, 0x54  # BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_AND|BPF_K
_JA, _JEQ, _JGE = 0x05, 0x15, 0x35
_RET = 0x06
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data
_HALF = 0xFFFFFFFF


def fail(errno: int) -> int:
    """Return the verdict that makes a call fail with `errno`."""
    return _ERRNO | errno


@dataclass(frozen=True, slots=True)
class Clause:
    """A verdict for calls of which all `checks` hold."""

    checks: tuple[Comparison, ...]
    verdict: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one call: the first clause that is true decides, else `otherwise`."""

    otherwise: int
    clauses: tuple[Clause, ...] = ()

    def of(self, args: Sequence[int]) -> int:
        """Return the verdict for these arguments."""
        for clause in self.clauses:
            if all(args[one.index] & one.mask == one.value for one in clause.checks):
                return clause.verdict
        return self.otherwise


@dataclass(frozen=True, slots=True)
class Filter:
    """`calls`: verdicts by number. `unknown`: numbers that are not there. `x32`, `foreign`: calls
    of the x32 ABI, and of another architecture (32-bit code, `int 0x80`)."""

    calls: Mapping[int, Verdict]
    unknown: int = fail(ENOSYS)
    x32: int = fail(EPERM)
    foreign: int = KILL_PROCESS

    def decide(self, arch: int, number: int, args: Sequence[int]) -> int:
        """Return the verdict for one call; `number` as the kernel has it, 32 bits unsigned."""
        if arch != AUDIT_ARCH_X86_64:
            return self.foreign
        if number & X32_BIT and not number >> 31:
            return self.x32
        verdict = self.calls.get(number)
        return self.unknown if verdict is None else verdict.of(args)


Instruction = tuple[int, int, int, int]  # code, jt, jf, k


def compile_filter(wanted: Filter) -> list[Instruction]:
    """Return the program. ValueError when it would be too long for the kernel."""
    body = _search(_ranges(wanted))
    program = [
        (_LD, 0, 0, _ARCH),
        (_JEQ, 1, 0, AUDIT_ARCH_X86_64),
        _ret(wanted.foreign),
        (_LD, 0, 0, _NR),
        (_JGE, 0, 2, X32_BIT),
        (_JGE, 1, 0, 1 << 31),  # -1, which a tracer sets to skip a call, is of no ABI
        _ret(wanted.x32),
        *body,
    ]
    if len(program) > MOST_INSTRUCTIONS:
        raise ValueError(f"the filter has {len(program)} instructions, over {MOST_INSTRUCTIONS}")
    return program


def assemble(program: Sequence[Instruction]) -> bytes:
    """Return the program as an array of struct sock_filter."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _ranges(wanted: Filter) -> list[tuple[int, Verdict]]:
    """Return (first number, verdict) of each run of numbers with one verdict, from 0 on."""
    unknown = Verdict(wanted.unknown)
    found: list[tuple[int, Verdict]] = [(0, unknown)]
    last = max(wanted.calls, default=-1)
    for number in range(last + 2):
        verdict = wanted.calls.get(number, unknown)
        if number == 0:
            found[0] = (0, verdict)
        elif verdict != found[-1][1]:
            found.append((number, verdict))
    return found


def _search(ranges: Sequence[tuple[int, Verdict]]) -> list[Instruction]:
    """A binary search for the range that the number in the accumulator is in."""
    if len(ranges) == 1:
        return _leaf(ranges[0][1])
    middle = len(ranges) // 2
    below = _search(ranges[:middle])
    above = _search(ranges[middle:])
    pivot = ranges[middle][0]
    if len(below) < 256:
        return [(_JGE, len(below), 0, pivot), *below, *above]
    return [(_JGE, 0, 1, pivot), (_JA, 0, 0, len(below)), *below, *above]


def _leaf(verdict: Verdict) -> list[Instruction]:
    out: list[Instruction] = []
    for clause in verdict.clauses:
        code: list[Instruction] = [_ret(clause.verdict)]
        for check in reversed(clause.checks):
            for half in (32, 0):
                code = [*_test(check, half, len(code)), *code]
        if len(code) > 255:
            raise ValueError("a rule about one call has too many comparisons")
        out += code
    return [*out, _ret(verdict.otherwise)]


def _test(check: Comparison, half: int, otherwise: int) -> list[Instruction]:
    """Go on if half of an argument (32: the high one) is as it has to be, else skip so many."""
    mask, value = check.mask >> half & _HALF, check.value >> half & _HALF
    if not mask:
        return []
    test: list[Instruction] = [(_LD, 0, 0, _ARGS + 8 * check.index + half // 8)]
    if mask != _HALF:
        test.append((_AND, 0, 0, mask))
    return [*test, (_JEQ, 0, otherwise, value)]


def _ret(verdict: int) -> Instruction:
    return (_RET, 0, 0, verdict)

"""A classic BPF machine, as seccomp(2) runs it: the oracle of the filter's compiler.

Written from bpf(4) of the BSDs and the kernel's include/uapi/linux/bpf_common.h; it knows the
instructions that seccomp_check_filter lets pass and the compiler may use, and fails on others.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

U32 = 0xFFFFFFFF


def seccomp_data(arch: int, number: int, args: Sequence[int]) -> bytes:
    """Return a call as the kernel shows it to a filter (struct seccomp_data)."""
    return struct.pack("=IIQ6Q", number & U32, arch, 0x7F00DEAD, *args)


def run(program: bytes, data: bytes) -> tuple[int, bool]:
    """Return the verdict, and whether it was reached by architecture and number alone."""
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator, at, plain = 0, 0, True
    for _ in range(len(code) + 1):
        op, jt, jf, k = code[at]
        at += 1
        if op == 0x20:  # ld [k]
            assert k % 4 == 0 and k < len(data)
            plain &= k < 8
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif op == 0x54:  # and #k
            accumulator &= k
        elif op == 0x05:  # ja
            at += k
        elif op == 0x15:  # jeq
            at += jt if accumulator == k else jf
        elif op == 0x35:  # jge
            at += jt if accumulator >= k else jf
        elif op == 0x06:  # ret #k
            return k, plain
        else:
            raise AssertionError(f"instruction {op:#x} at {at - 1}")
    raise AssertionError("the program goes in a circle")

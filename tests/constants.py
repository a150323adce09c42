"""The kernel's names of system-call arguments, with their values, from its headers (UAPI).

    python -m tests.constants > capsule/arguments/constants.tsv

What the compiler says is taken: every macro of the headers that may be a name is asked for its
value. A header that does not compile by itself is left out.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

INCLUDE = Path("/usr/include")
FIRST = ("stdint.h", "stddef.h", "sys/types.h", "sys/socket.h", "sys/ioctl.h", "linux/types.h")
"""Included before each header of ioctls: many of them take these for granted."""

_IOCTL = re.compile(r"\b_IO[RW]{0,2}(?:_BAD)?\b|^0x(?:54|89)[0-9a-fA-F]{2}$|\b(?:DRM|SIOC)\w*\(")

GROUPS: dict[str, tuple[tuple[str, ...], str]] = {
    "ptrace": (("sys/ptrace.h", "linux/ptrace.h"), r"PTRACE_(?!O_|EVENT_|MODE_|SYSCALL_INFO_)\w+"),
    "fcntl": (("fcntl.h",), r"F_(?!RDLCK|WRLCK|UNLCK|EXLCK|SHLCK|OK|SEAL_|OWNER_)[A-Z]\w+"),
    "prctl": (("linux/prctl.h",), r"PR_(?:GET|SET|CAP|MCE|TASK|PAC|SVE|SME|SCHED|MPX)\w*"),
    "personality": (
        ("linux/personality.h",),
        r"PER_\w+|(?:ADDR|READ|WHOLE|SHORT|STICKY|MMAP|UNAME|FDPIC)[A-Z_0-9]+",
    ),
    "keyctl": (("linux/keyctl.h",), r"KEYCTL_(?!CAPS|SUPPORTS|MOVE_EXCL)\w+"),
    "bpf": (("linux/bpf.h",), r"BPF_(?:MAP|PROG|OBJ|RAW|BTF|TASK|LINK|ENABLE|ITER)_(?!TYPE)\w+"),
    "clone": (("linux/sched.h",), r"CLONE_\w+"),
    "level": (("sys/socket.h", "netinet/in.h", "netinet/tcp.h", "netinet/udp.h"), r"SOL_\w+"),
    "family": (("sys/socket.h",), r"AF_\w+"),
    "type": (("sys/socket.h",), r"SOCK_\w+"),
}  # fmt: skip
"""Name of a group → its headers, and what its names look like."""


def _cc(source: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["cc", "-w", "-x", "c", "-", "-fmax-errors=0", *words], input=source, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def _macros(source: str) -> dict[str, str]:
    """Return name → body of each macro without arguments that a source ends up with."""
    text = _cc(source, "-E", "-dM").stdout
    return dict(re.findall(r"^#define (\w+) (.+)$", text, re.MULTILINE))


def _preprocessed(source: str) -> str:
    return _cc(source, "-E", "-P").stdout


def _values(source: str, names: list[str]) -> dict[str, int]:
    """Return the values of the names that are whole numbers."""
    first = source.count("\n") + 1
    while names:
        rows = "".join(f"unsigned long long v_{n} = (unsigned long long)({n});\n" for n in names)
        done = _cc(source + rows, "-S", "-O0", "-o", "-")
        if done.returncode == 0:
            found = re.findall(r"^v_(\w+):\n\t\.(?:quad|zero)\t(-?\d+)", done.stdout, re.MULTILINE)
            zero = set(re.findall(r"^v_(\w+):\n\t\.zero", done.stdout, re.MULTILINE))
            values = {n: 0 if n in zero else int(value) % 2**64 for n, value in found}
            return {name: value for name, value in values.items() if value < 2**32}
        wrong = {int(n) - first for n in re.findall(r"^<stdin>:(\d+):", done.stderr, re.MULTILINE)}
        bad = {names[n] for n in wrong if 0 <= n < len(names)}
        if not bad:
            return {}  # the header itself does not compile
        names = [name for name in names if name not in bad]
    return {}


def group(name: str) -> dict[str, int]:
    """Return the names of one of GROUPS."""
    headers, shape = GROUPS[name]
    source = "#define _GNU_SOURCE\n" + "".join(f"#include <{header}>\n" for header in headers)
    words = [*_macros(source), *re.findall(r"\b[A-Z][A-Z0-9_]+\b", _preprocessed(source))]
    return _values(source, sorted({word for word in words if re.fullmatch(shape, word)}))


def ioctls() -> dict[str, int]:
    """Return the requests that the headers name."""
    found: dict[str, int] = {}
    first = "".join(f"#include <{header}>\n" for header in FIRST)
    folders = ("linux", "asm", "asm-generic", "drm", "sound", "mtd", "rdma", "misc", "scsi", "xen")
    for folder in folders:
        for base in (INCLUDE, INCLUDE / "x86_64-linux-gnu"):
            for path in sorted((base / folder).glob("**/*.h")):
                source = f"{first}#include <{path.relative_to(base)}>\n"
                names = [
                    word
                    for word, body in _macros(source).items()
                    if word not in found and _IOCTL.search(body) and not word.startswith("_")
                ]
                found |= _values(source, sorted(names))
    return found


def main() -> int:
    """Print the table: group, name, value."""
    print("# Names of arguments and their values, from the kernel's headers: tests/constants.py")
    groups = {"ioctl": ioctls(), **{name: group(name) for name in GROUPS}}
    for name, values in groups.items():
        for word, value in sorted(values.items()):
            print(f"{name}\t{word}\t{value:#x}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

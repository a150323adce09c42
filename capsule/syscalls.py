"""The table of system calls: every name strace can print on x86-64, and what it means to us.

`syscalls.tsv` holds one row a name: the x86-64 calls, the i386 calls that differ, strace's
`#64` names of the x32 ABI, and sub-calls that old strace releases print by name. Columns:

    kind     the Action kind (`KINDS`)
    target   which argument says what the call acts on; N counts from 0
             path:N       a path, relative to the working directory
             at:N         a directory descriptor, and the path in argument N+1
             openret:N    the file a successful call opened (-y), else the path at N
             openatret:N  the same for a directory descriptor and path at N, N+1
             execpath:N execat:N   the program of an execve
             fd:N         a descriptor: the file, pipe or socket behind it
             fdreq:N      a descriptor; the next argument is the request
             mapfd:N      a descriptor that may be -1 (anonymous memory)
             sock:N       a socket: its peer's address
             addr:N       a socket address; sendaddr:N one that may be absent (descriptor 0)
             accept:N     the address of the peer that was accepted
             sockret:N    a new socket: its address family
             pid:N        a process; pidret:0 the process the call returned
             arg:N        the argument as strace wrote it
    bytes    in:ret out:ret  the value counts bytes read or written; copy:ret bytes copied
             map:N unmap:N   argument N counts bytes of memory
    risk     none, watch, high: how much attention the call deserves by itself

A call that reads or writes a descriptor takes the kind of what is behind it (`BY_CLASS`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One system call. `number` is x86-64's; None for a name of another ABI."""

    name: str
    number: int | None
    kind: str
    target: str
    target_arg: int
    bytes: str
    bytes_arg: int
    risk: str


FALLBACKS = frozenset(
    (
        "cachestat", "clone3", "close_range", "copy_file_range", "epoll_pwait2", "faccessat2",
        "fchmodat2", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "getrandom",
        "io_uring_enter", "io_uring_register", "io_uring_setup", "landlock_create_ruleset",
        "listmount", "membarrier", "memfd_secret", "mseal", "openat2", "pidfd_getfd",
        "pidfd_open", "pidfd_send_signal", "preadv2", "process_madvise", "process_mrelease",
        "pwritev2", "renameat2", "rseq", "statmount", "statx",
    )
)  # fmt: skip
"""Calls that programs and C libraries do without where a kernel lacks them (ENOSYS). They take
any other error for the answer."""

IMMEDIATE = frozenset(
    (
        "proc.spawn",
        "proc.exec",
        "proc.exit",
        "proc.signal",
        "proc.kill",
        "proc.ptrace",
        "proc.memory",
        "proc.namespace",
        "thread.spawn",
        "thread.exit",
        "cred.change",
        "dir.root",
        "net.connect",
        "net.bind",
        "net.listen",
        "net.accept",
        "io.uring",
        "sys.module",
        "sys.bpf",
        "sys.perf",
        "sys.kexec",
        "sys.reboot",
        "sys.mount",
        "sys.swap",
        "sys.clock",
        "sys.ioport",
        "sys.key",
        "sys.sandbox",
        "sys.name",
        "sys.note",
        "sys.unparsed",
        "sys.unknown",
    )
)
"""Kinds whose Actions are written at once, one an event. The others collapse in a window."""

EXTRA_KINDS = (
    "proc.exit",  # the end of a process, with its status or signal
    "proc.signal",  # a signal was delivered, or stopped the process
    "thread.spawn",  # clone with CLONE_THREAD
    "thread.exit",  # the end of a thread whose process lives on
    "ipc.read",  # read(2) and write(2) on a pipe, eventfd and the like
    "ipc.write",
    "sys.unknown",  # a call that is not in the table
    "sys.note",  # strace speaking for itself
    "sys.unparsed",  # a line that could not be understood
)
"""Kinds that no row of the table names."""

BY_CLASS = {
    ("file.read", "pipe"): "ipc.read",
    ("file.write", "pipe"): "ipc.write",
    ("file.read", "socket"): "net.recv",
    ("file.write", "socket"): "net.send",
    ("file.copy", "socket"): "net.send",
}
"""Kinds that depend on what the descriptor is."""


def _arg(text: str) -> tuple[str, int]:
    rule, _, number = text.partition(":")
    return ("" if rule == "-" else rule, int(number) if number.isdecimal() else -1)


@cache
def table() -> tuple[Row, ...]:
    """Return every row, in the order of the file."""
    text = Path(__file__).with_name("syscalls.tsv").read_text("ascii")
    rows = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, number, kind, target, amount, risk = line.split("\t")
        rule, arg = _arg(target)
        how, bytes_arg = _arg(amount)
        rows.append(
            Row(name, None if number == "-" else int(number), kind, rule, arg, how, bytes_arg, risk)
        )
    return tuple(rows)


NAMES: tuple[str, ...] = tuple(row.name for row in table())
"""Names in the order that gives an event's `name_id` (1 + index)."""

BY_NAME: dict[str, Row] = {row.name: row for row in table()}

KINDS: tuple[str, ...] = tuple(dict.fromkeys([row.kind for row in table()] + list(EXTRA_KINDS)))
"""Every Action kind, once; a fact row's `kind` is an index into it."""

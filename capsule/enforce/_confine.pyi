"""Confinement between the launch gate and execve: Landlock and seccomp, set by the target itself."""

from collections.abc import Iterable
from typing import NoReturn

from _typeshed import WriteableBuffer

STEPS: tuple[str, ...]
"""What `confined_exec` may fail at, by the number in the page's first integer."""

CONFINED_SLOT: int
"""Which 32-bit integer of the page says that all was set."""

def landlock_abi() -> int:
    """Return the kernel's Landlock ABI; 0 when there is none (landlock(7))."""

def create_ruleset(fs: int, net: int, scoped: int) -> int:
    """Return the descriptor of a new ruleset that handles these rights. OSError."""

def add_path(ruleset: int, rights: int, fd: int) -> None:
    """Allow rights below what `fd` (O_PATH) is. OSError."""

def add_port(ruleset: int, rights: int, port: int) -> None:
    """Allow rights on a TCP port. OSError."""

def has_action(action: int) -> bool:
    """Say whether the kernel's seccomp knows a verdict (SECCOMP_GET_ACTION_AVAIL)."""

def confined_exec(
    gate: int,
    errors: int,
    path: bytes,
    argv: list[bytes],
    envp: list[bytes],
    mask: Iterable[int],
    script: bool,
    page_buffer: WriteableBuffer,
    parent: int,
    bpf: bytes,
    listen: bool,
    ruleset: int,
    limits: list[tuple[int, int, int]],
    keep: list[int],
) -> NoReturn:
    """In a forked child: wait at the gate, take on the confinement, become the target.

    The first seven are `gate_exec`'s. `page_buffer`: a page shared with the parent; on failure
    its first two 32-bit integers are the step (`STEPS`) and the errno, and the child ends with
    125, or with 127 when it was the execve. `parent`: the pid to die with, 0 for nobody.
    `bpf`: an array of struct sock_filter, empty for none. `listen`: wait until the parent has
    taken the filter's listener over (`take_listener`). `ruleset`: a Landlock ruleset, or -1.
    `limits`: (resource, soft, hard) of setrlimit(2). `keep`: descriptors above 2 that stay open.
    """

def take_listener(page_buffer: WriteableBuffer, pid: int) -> int:
    """Return our own descriptor of the listener of child `pid`; -1 when it has none yet."""

def next_call(listener: int) -> tuple[int, int, int, tuple[int, ...]] | None:
    """Return (pid, AUDIT_ARCH, number, arguments) of a call that waits, and let it go on.

    None when the call has gone meanwhile. To be called when the listener can be read.
    """

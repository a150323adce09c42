"""The few Linux calls that Python's standard library does not offer, and the launch gate."""

from collections.abc import Iterable
from typing import NoReturn

def set_child_subreaper() -> None:
    """Adopt orphaned descendants (PR_SET_CHILD_SUBREAPER, prctl(2)), so that none escapes a kill."""

def set_dumpable(on: bool) -> None:
    """Let (or not) other processes of the same user read our memory and descriptors (prctl(2))."""

def set_name(name: bytes) -> None:
    """Set this thread's comm, at most 15 bytes (prctl(2))."""

def signalfd(signals: Iterable[int]) -> int:
    """A non-blocking descriptor that is readable when one of `signals` (already blocked) is pending."""

def read_signals(fd: int) -> list[tuple[int, int, int]]:
    """All pending (signal number, si_code, sender's pid) of a signalfd; si_code > 0 is the kernel."""

def gate_exec(
    gate: int,
    errors: int,
    path: bytes,
    argv: list[bytes],
    envp: list[bytes],
    mask: Iterable[int],
    script: bool,
) -> NoReturn:
    """In a forked child: wait at the gate, then become the target. Never returns.

    Reads `gate` byte by byte: any byte but `G` is a knock that only serves to show the tracer
    a system call; `G` opens; end of file means that the supervisor is gone and exits with 125,
    so an untraced target never runs. Between the gate and execve(2) there is no other call but
    one prctl(2). `mask` is the signal mask the target starts with. With `script`, a file
    without a magic number is given to /bin/sh, as execvp(3) does. If execve fails, its errno is written to
    `errors` as a native 32-bit integer and the child exits with 127.
    """

"""Small facts of processes: ended or not, traced by whom, killed by what."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path


def has_ended(pid: int) -> bool:
    """Whether `pid` is gone, or a zombie that nobody has waited for (proc_pid_stat(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def tracer_of(pid: int) -> int:
    """Who traces `pid`; 0 when nobody does or it is gone (proc_pid_status(5))."""
    with suppress(OSError), open(f"/proc/{pid}/status", "rb") as status:
        for line in status:
            if line.startswith(b"TracerPid:"):
                return int(line[10:])
    return 0


def signal_name(signo: int) -> str:
    """SIGTERM, SIGRTMIN+6; the two that libc keeps for itself have a number only (signal(7))."""
    try:
        return signal.Signals(signo).name
    except ValueError:
        above = signo - signal.SIGRTMIN
        return f"SIGRTMIN+{above}" if above > 0 else f"SIG{signo}"


def signal_number(name: str) -> int:
    """The number of the signal that `signal_name` calls so. ValueError if it calls none so."""
    for signo in range(1, signal.SIGRTMAX + 1):
        if signal_name(signo) == name:
            return signo
    raise ValueError(f"no such signal: {name}")

"""strace's command line and life: what it is told, what it needs, and the stage that reads it.

The tracer stage turns strace's output (or an existing log) into chunks of raw bytes; it does
not look into them, except to drop what the launch gate itself did before the target's execve.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capsule.errors import TraceFailed

if TYPE_CHECKING:
    from capsule.raw import RawWriter

MINIMUM_STRACE = (5, 10)
"""Debian 11's. `-e quiet=` with its categories came in 5.7; 5.10 is the oldest one tested for."""

STRING_LIMIT = 1024
"""`-s`: bytes of a string, and elements of argv, that strace prints."""

GUARD = Path(__file__).with_name(f"_tracer_guard{sysconfig.get_config_var('EXT_SUFFIX')}")
"""The library that makes strace fail closed."""

_LIVES = "%process,chdir,fchdir,?fcntl,dup,?dup2,dup3,close"
"""Without these no process can be told from another, nor a descriptor from the next."""

SYSCALL_SETS = {
    "security": "%file,%process,%network,%creds,read,write,close,dup,?dup2,dup3,fchdir,fcntl,"
    "?pipe,pipe2,memfd_create,?pidfd_getfd,?io_uring_setup,?io_uring_enter,?io_uring_register,"
    "bpf,perf_event_open,userfaultfd,init_module,finit_module,delete_module,setns,ptrace,"
    "process_vm_readv,process_vm_writev,unshare,keyctl,seccomp,mmap,mprotect",
    "network": f"{_LIVES},%network,read,write",
    "file": f"{_LIVES},%file,%desc",
    "process": _LIVES,
}
"""What `--syscalls NAME` traces, in strace's words; `?` lets an strace pass over what it lacks."""

PIPE_BYTES = 1 << 20
"""What the trace pipe holds (F_SETPIPE_SZ), and the most one chunk can be."""


@dataclass(frozen=True, slots=True)
class Strace:
    """An strace that is here and new enough: its path and release, as in (6, 1)."""

    path: str
    version: tuple[int, ...]

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


def find_strace(search_path: str | None = None) -> Strace:
    """The strace on PATH. Raises TraceFailed when it is missing or older than MINIMUM_STRACE."""
    path = shutil.which("strace", path=search_path)
    if path is None:
        raise TraceFailed("strace is not installed; install it with: apt-get install strace")
    banner = subprocess.run([path, "-V"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version ([0-9]+(?:\.[0-9]+)*)", banner)
    if found is None:
        raise TraceFailed(
            f"{path} does not say its version (strace -V); install strace 5.10 or newer"
        )
    version = tuple(map(int, found[1].split(".")))
    if version < MINIMUM_STRACE:
        raise TraceFailed(f"{path} is release {found[1]}; Capsule needs strace 5.10 or newer")
    return Strace(path, version)


def strace_argv(
    strace: Strace, output: str, pids: Sequence[int], *, detachable: bool = False
) -> list[str]:
    """strace's command line to follow `pids` and all they start, writing to the path `output`.

    `detachable`: SIGTERM makes strace let go of every tracee (-I2); otherwise it ignores all
    but SIGKILL (-I3), so that nothing but its end or its death stops the trace.
    """
    argv = [strace.path, "-f", "-ttt", "-s", str(STRING_LIMIT), "-y"]
    # The default under -o hides the personality lines; naming what to hide brings them back.
    argv += ["-e", "quiet=attach,path-resolution", "-I2" if detachable else "-I3", "-o", output]
    for pid in pids:
        argv += ["-p", str(pid)]
    return argv


def filtered_argv(strace: Strace, output: str, syscalls: str, *, detached: bool) -> list[str]:
    """strace's command line to run what follows it, tracing only `syscalls`.

    `detached`: the target is strace's parent, and strace in a session of its own (-DDD).
    """
    wanted = SYSCALL_SETS.get(syscalls) or f"{_LIVES},{syscalls}"
    argv = [strace.path, "-f", "--seccomp-bpf", "-ttt", "-s", str(STRING_LIMIT), "-y"]
    argv += ["-DDD"] if detached else []
    return [*argv, "-e", "quiet=attach,path-resolution", "-e", f"trace={wanted}", "-o", output]


def strace_env(
    env: Mapping[str, str], guard: str | None = None, library: str = ""
) -> dict[str, str]:
    """strace's own environment: messages in English, and no time zone look-up per line.

    `guard`: what `_tracer_guard.c` is told, None for an strace without it; `library`: the path
    it is loaded from.
    """
    ours = {"LC_ALL": "C", "TZ": "UTC"}
    if guard is not None:
        preload = f"{env.get('LD_PRELOAD', '')} {library}".strip()  # a sanitizer has to be first
        ours |= {"LD_PRELOAD": preload, "CAPSULE_GUARD": guard}
    return {**env, **ours}


def open_trace_pipe() -> tuple[int, int]:
    """The pipe strace writes to, as large as the system allows up to 1 MiB (pipe(7))."""
    read, write = os.pipe()
    size = PIPE_BYTES
    while size > 1 << 16:
        try:
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, size)
            break
        except OSError:
            size //= 2
    return read, write


def resolve_command(command: bytes, search_path: bytes) -> bytes:
    """The file that `command` names, found along `search_path` as execvp(3) does.

    Raises OSError with ENOENT (nothing of that name) or EACCES (found, but not executable).
    """
    if not command:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "")
    if b"/" in command:
        candidates = [command]
    else:
        candidates = [os.path.join(part or b".", command) for part in search_path.split(b":")]
    denied = False
    for path in candidates:
        if not os.path.exists(path):
            continue
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
        denied = True
    if denied:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(command))
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(command))


def looks_like_text(path: bytes) -> bool:
    """Whether a file that the kernel cannot execute may be a shell script: no NUL at its head."""
    try:
        with open(path, "rb") as file:
            return b"\0" not in file.read(256)
    except OSError:
        return False  # executable but not readable: no shell could read it either


class GateFilter:
    """Drops the trace's first lines up to the target's execve: they are the launch gate's own.

    Nothing of the target has run by then, so nothing of the target can be dropped. Without an
    execve (the gate was killed) nothing is dropped.
    """

    MARK = b" execve("

    def __init__(self, active: bool) -> None:
        self._held: bytes | None = b"" if active else None

    def feed(self, data: bytes) -> bytes:
        if self._held is None:
            return data
        self._held += data
        mark = self._held.find(self.MARK)
        if mark < 0:
            return b""
        data = self._held[self._held.rfind(b"\n", 0, mark) + 1 :]
        self._held = None
        return data

    def finish(self) -> bytes:
        held, self._held = self._held, None
        return held or b""


class Tracer:
    """The first stage: raw bytes in, raw bytes out, counted, and kept where `raw` is given."""

    def __init__(self, *, gated: bool, raw: RawWriter | None = None) -> None:
        self._gate = GateFilter(gated)
        self._raw = raw
        self._bytes = 0
        self._lines = 0
        self._chunks = 0
        self._last = b"\n"

    def feed(self, batch: bytes | memoryview) -> bytes:
        return self._take(self._gate.feed(bytes(batch)))

    def finish(self) -> bytes:
        rest = self._take(self._gate.finish())
        if self._raw is not None:
            self._raw.close()
        return rest

    def tick(self, now_ns: int) -> bytes:
        if self._raw is not None:
            self._raw.tick(now_ns)
        return b""

    def next_tick_ns(self) -> int | None:
        return self._raw.next_tick_ns() if self._raw is not None else None

    def marks(self) -> list[dict[str, Any]]:
        """What the logger is to know of the raw trace (capsule/raw.py), since the last call."""
        return self._raw.marks() if self._raw is not None else []

    def _take(self, data: bytes) -> bytes:
        if data:
            self._bytes += len(data)
            self._lines += data.count(b"\n")
            self._chunks += 1
            self._last = data[-1:]
            if self._raw is not None:
                self._raw.feed(data)
        return data

    def counters(self) -> dict[str, int]:
        """`bytes`, `lines` (a last line without newline counts) and `chunks` passed on."""
        lines = self._lines + (self._last != b"\n")
        return {"bytes": self._bytes, "lines": lines, "chunks": self._chunks}

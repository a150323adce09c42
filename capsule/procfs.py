"""What only the running system knows about a process, read from /proc by psutil.

A process may end at any moment: then the answer is None, a value like any other, and it is
counted. Nothing here waits for anything; answers are cached, and the caches are bounded.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
CACHE_LIMIT = 4096
HASH_LIMIT = 512 << 20
"""Bytes of a program that `--hash-exe` reads at most; a larger one has no hash."""


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One process as /proc shows it. Ids in the tracer's own namespaces; None: not readable."""

    pid: int
    tgid: int
    ppid: int | None = None
    ns_pid: int | None = None  # the pid in its own pid namespace
    uid: int | None = None
    euid: int | None = None
    suid: int | None = None
    gid: int | None = None
    egid: int | None = None
    exe: bytes | None = None
    argv: tuple[bytes, ...] = ()
    comm: bytes | None = None
    cwd: bytes | None = None
    umask: int | None = None
    started_ns: int | None = None
    cgroup: bytes | None = None
    namespaces: tuple[bytes, ...] = ()  # "pid:[4026531836]" …, see namespaces(7)


@dataclass(frozen=True, slots=True)
class Program:
    """An executable file: the interpreter of its `#!` line, and its BLAKE3 if asked for.

    `setid`: it has the set-user-ID or set-group-ID bit, so that who runs it may change;
    `setuid_owner`: to whom, by the former.
    """

    interpreter: bytes | None = None
    hash: bytes | None = None
    setid: bool = False
    setuid_owner: int | None = None


class ProcReader(Protocol):
    """What the enricher asks of /proc."""

    def facts(self, pid: int) -> ProcessFacts | None:
        """Return what is known of a pid; None if it has gone."""

    def program(self, path: bytes) -> Program:
        """Return what the file at `path` is; an empty answer if it cannot be read now."""

    def counters(self) -> dict[str, int]:
        """Return how many answers were read, cached, gone."""


class PsutilReader:
    """A `ProcReader` on the running system. `hash_exe` reads each program once (BLAKE3)."""

    def __init__(self, hash_exe: bool = False) -> None:
        self._hash_exe = hash_exe
        self._programs: OrderedDict[tuple[int, int, int, int], Program] = OrderedDict()
        self._counts = {"proc_read": 0, "proc_gone": 0, "programs_read": 0, "programs_gone": 0}

    def facts(self, pid: int) -> ProcessFacts | None:
        """Return what is known of a pid; None if it has gone."""
        try:
            status = Path(f"/proc/{pid}/status").read_bytes()
            fields = dict(line.split(b":\t", 1) for line in status.splitlines() if b":\t" in line)
            uids = [int(word) for word in fields[b"Uid"].split()]
            gids = [int(word) for word in fields[b"Gid"].split()]
            process = psutil.Process(int(fields[b"Tgid"]))
            with process.oneshot():
                start = process.create_time()
        except (OSError, psutil.Error, KeyError, ValueError):
            self._counts["proc_gone"] += 1
            return None
        self._counts["proc_read"] += 1
        cmdline = _read(f"/proc/{pid}/cmdline")
        return ProcessFacts(
            pid=pid,
            tgid=int(fields[b"Tgid"]),
            ppid=int(fields[b"PPid"]),
            ns_pid=int(fields[b"NSpid"].split()[-1]) if b"NSpid" in fields else None,
            uid=uids[0], euid=uids[1], suid=uids[2], gid=gids[0], egid=gids[1],
            exe=_link(f"/proc/{pid}/exe"),
            argv=tuple(cmdline.rstrip(b"\0").split(b"\0")) if cmdline else (),
            comm=fields[b"Name"],
            cwd=_link(f"/proc/{pid}/cwd"),
            umask=int(fields[b"Umask"], 8) if b"Umask" in fields else None,
            started_ns=int(start * 1e9),
            cgroup=(_read(f"/proc/{pid}/cgroup") or b"").strip() or None,
            namespaces=tuple(
                link
                for name in NAMESPACES
                if (link := _link(f"/proc/{pid}/ns/{name}")) is not None
            ),
        )  # fmt: skip

    def program(self, path: bytes) -> Program:
        """Return what the program at `path` is; an empty answer if it cannot be read now."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            self._counts["programs_gone"] += 1
            return Program()
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                return Program()
            key = (info.st_dev, info.st_ino, info.st_ctime_ns, info.st_size)
            known = self._programs.get(key)
            if known is not None:
                self._programs.move_to_end(key)
                return known
            program = Program(
                _interpreter(os.pread(fd, 256, 0)),
                _hash(fd) if self._hash_exe and info.st_size <= HASH_LIMIT else None,
                info.st_mode & (stat.S_ISUID | stat.S_ISGID) != 0,
                info.st_uid if info.st_mode & stat.S_ISUID else None,
            )
        except OSError:
            self._counts["programs_gone"] += 1
            return Program()
        finally:
            os.close(fd)
        self._counts["programs_read"] += 1
        self._programs[key] = program
        if len(self._programs) > CACHE_LIMIT:
            self._programs.popitem(last=False)
        return program

    def counters(self) -> dict[str, int]:
        """Return how many answers were read, and how many had gone."""
        return dict(self._counts)


def _interpreter(head: bytes) -> bytes | None:
    """Return the interpreter and its argument of a `#!` line (execve(2))."""
    if not head.startswith(b"#!"):
        return None
    return head[2:].split(b"\n", 1)[0].strip(b" \t") or None


def _hash(fd: int) -> bytes:
    import blake3  # only for --hash-exe

    hasher = blake3.blake3()
    at = 0
    while chunk := os.pread(fd, 1 << 20, at):
        hasher.update(chunk)
        at += len(chunk)
    return hasher.hexdigest().encode()


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _link(path: str) -> bytes | None:
    try:
        return os.readlink(os.fsencode(path)).removesuffix(b" (deleted)")
    except OSError:
        return None

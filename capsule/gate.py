"""The launch gate: the target as a child that waits, with nothing of it run yet.

strace attaches while it waits; only then is it let through to its execve.
"""

from __future__ import annotations

import os
import pwd
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NoReturn

from capsule._linux import gate_exec
from capsule.errors import UsageError


@dataclass(frozen=True, slots=True)
class User:
    """Who the target runs as (passwd(5))."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: the resolved file, argv and environment as given, all raw bytes.

    `script`: it may be a shell's script without `#!`. `mask`: blocked signals to start with.
    `user`: whom to run as, None for ourselves. `enter`: what the child does at the gate.
    """

    path: bytes
    argv: list[bytes]
    env: list[bytes]
    script: bool
    mask: Collection[int] = ()
    user: User | None = None
    enter: Callable[..., NoReturn] = gate_exec


def find_user(text: str) -> User:
    """The user that `text` names, by name or number. Raises UsageError."""
    if os.geteuid() != 0:
        raise UsageError("only root can run the command as another user; leave out --log-user")
    try:
        entry = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
        user = User(entry.pw_name, entry.pw_uid, entry.pw_gid)
    except KeyError:
        if not text.isdecimal():
            raise UsageError(f"no such user: {text}") from None
        user = User("", int(text), int(text))
    except (OverflowError, ValueError):
        raise UsageError(f"no such user: {text}") from None
    if user.uid == 0:
        raise UsageError("--log-user must name another user than root, who can alter any log")
    return user


def become(user: User) -> None:
    """Take on the ids of `user`, all of them and for good (setresuid(2), initgroups(3))."""
    if user.name:
        os.initgroups(user.name, user.gid)
    else:
        os.setgroups([])
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def fork_gate(command: Command) -> tuple[int, int, int]:
    """Fork the target up to its gate: its pid, the end to knock at, and the end that tells errors.

    To be called while we are dumpable: only then can an strace without privileges attach.
    Write anything to knock (the child reads it, and nothing else happens), `G` to open.
    """
    gate_read, gate_write = os.pipe()
    errors_read, errors_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(gate_write)
            if command.user is not None:
                become(command.user)
            command.enter(
                gate_read,
                errors_write,
                command.path,
                command.argv,
                command.env,
                command.mask,
                command.script,
            )
        finally:
            os._exit(125)
    os.close(gate_read)
    os.close(errors_write)
    return pid, gate_write, errors_read


def read_errno(fd: int) -> int | None:
    """Why the target's execve failed (errno), or None; closes `fd`."""
    data = os.read(fd, 4)
    os.close(fd)
    return struct.unpack("=i", data)[0] if len(data) == 4 else None

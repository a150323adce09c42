"""What a call acts on: paths, descriptors and addresses as strace writes them → Targets.

The inner loop asks here when its memo has no answer. Text of a Target is bytes: an absolute
path, `pipe:[123]`, `127.0.0.1:80`, `unix:/run/x`, `pid:12`, or strace's own words.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from capsule import literals
from capsule._detail import pack_detail
from capsule._facts import Call, Target, Task
from capsule.events import DetailValue

Fields = list[tuple[str, DetailValue]]
Handler = Callable[[Call, Task], bool]

_PID = re.compile(rb"-?\d+")
_PID_HERE = re.compile(rb"/\* (\d+) in strace's PID NS \*/")
NOTHING = Target(None)
READ, WRITE, BOTH = 1, 2, 3


def pid_in(text: bytes) -> int | None:
    """Return the pid a text names, in strace's own namespace where strace says so."""
    match = _PID_HERE.search(text) or _PID.match(text)
    return int(match.group(match.lastindex or 0)) if match else None


def access_of(flags: bytes) -> int:
    """Return how an open's flags (strace's text) open the file: 0 is not at all (O_PATH)."""
    if b"O_PATH" in flags:
        return 0
    if b"O_RDWR" in flags:
        return BOTH
    if b"O_WRONLY" in flags:
        return WRITE
    return READ if b"O_" in flags else 0


def path_text(
    cwd: bytes | None, root: bytes | None, base: bytes | None, name: bytes
) -> tuple[bytes, bool]:
    """Return `name` as an absolute path, and whether it could be made one.

    `base` is the directory it is relative to where a descriptor says so. In a chroot an
    absolute name starts at `root`.
    """
    start = base if base is not None else cwd
    if not name:
        return (start, True) if start is not None else (b"", False)
    if root is not None and name.startswith(b"/"):
        inner = literals.absolute(b"/", name) or name
        return (root.rstrip(b"/") + inner).rstrip(b"/") or b"/", True
    full = literals.absolute(start, name)
    return (full, True) if full is not None else (name, False)


class Targets:
    """The questions the inner loop asks about arguments."""

    def path_target(
        self,
        task: Task,
        dirfd: bytes | None,
        path: bytes,
        flags: bytes | None,
        ret: bytes | None,
    ) -> Target:
        """Return the target of a path argument; `ret` is the value that names what was opened."""
        name = literals.unquote(path)
        if name is None:
            return NOTHING if path in (b"NULL", b"") else Target(path[:256])
        base = self.base_of(task, dirfd)
        opened = literals.decoration(ret) if ret is not None else None
        if opened is not None:
            text = opened
        else:
            text, _ = path_text(task.fs.cwd, task.fs.root, base, name[0])
        fields: list[tuple[str, DetailValue]] = []
        if not text.endswith(name[0].removeprefix(b"./")):
            fields.append(("path", name[0]))
        access = access_of(flags) if flags else 0
        create = flags is not None and b"O_CREAT" in flags
        cls = literals.classify(text) if opened is not None else literals.FILE
        return Target(text, cls, access, create, pack_detail(fields) if fields else b"")

    def base_of(self, task: Task, dirfd: bytes | None) -> bytes | None:
        """Return the directory a dirfd argument stands for; None is the cwd, or not known."""
        if dirfd is None:
            return None
        if b"<" in dirfd:
            return literals.decoration(dirfd)
        if dirfd.startswith(b"AT_FDCWD"):
            return None
        held = task.files.entries.get(pid_in(dirfd))
        return held.text if held is not None else None

    def fd_target(self, task: Task, text: bytes) -> Target:
        """Return what an undecorated descriptor stands for."""
        number = pid_in(text)
        found: Target | None = task.files.entries.get(number) if number is not None else None
        if found is not None:
            return found
        return Target(b"fd:%d" % number) if number is not None and number >= 0 else NOTHING

    def decoration_target(self, text: bytes) -> Target:
        """Return what a decoration such as `</etc/passwd>` says."""
        name = literals.decoration(text)
        if name is None:
            return NOTHING
        cls = literals.classify(name)
        if cls == literals.SOCKET and (peer := literals.peer(name)) is not None:
            return Target(peer, cls)
        return Target(name, cls)

    def address_target(self, text: bytes) -> Target:
        """Return the target of a socket address argument."""
        found = literals.sockaddr(text)
        if found is None:
            return NOTHING
        return Target(found[0], literals.SOCKET, 0, False, pack_detail([("family", found[1])]))

    def pid_text(self, text: bytes) -> bytes:
        """Return the number of a pid argument."""
        number = pid_in(text)
        return text if number is None else b"%d" % number

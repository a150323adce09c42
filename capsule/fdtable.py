"""Descriptor tables, for traces without `-y`: what each number stands for.

With `-y` strace names every descriptor itself and these tables stay empty. Rules: open(2),
dup(2), fcntl(2) F_DUPFD and FD_CLOEXEC, execve(2) "close-on-exec", unix(7) SCM_RIGHTS.
"""

from __future__ import annotations

from capsule._facts import Target


class FdTable:
    """What CLONE_FILES shares: descriptor → what is behind it."""

    __slots__ = ("cloexec", "entries")

    def __init__(self) -> None:
        self.entries: dict[int, Target] = {}
        self.cloexec: set[int] = set()

    def __len__(self) -> int:
        return len(self.entries)

    def copy(self) -> FdTable:
        """Return a table that changes by itself (fork)."""
        other = FdTable()
        if self.entries:
            other.entries = dict(self.entries)
            other.cloexec = set(self.cloexec)
        return other

    def set(self, fd: int, target: Target, cloexec: bool = False) -> None:
        """Let `fd` stand for `target`."""
        self.entries[fd] = target
        if cloexec:
            self.cloexec.add(fd)
        else:
            self.cloexec.discard(fd)

    def duplicate(self, old: int, new: int, cloexec: bool = False) -> None:
        """Let `new` stand for what `old` does; what is not known stays unknown."""
        target = self.entries.get(old)
        if target is None:
            self.close(new)
        elif old != new:
            self.set(new, target, cloexec)

    def close(self, fd: int) -> None:
        """Forget `fd`."""
        self.entries.pop(fd, None)
        self.cloexec.discard(fd)

    def close_range(self, first: int, last: int) -> None:
        """Forget every descriptor from `first` to `last`, both included."""
        for fd in [fd for fd in self.entries if first <= fd <= last]:
            self.close(fd)

    def close_on_exec(self) -> None:
        """Forget what does not survive an execve."""
        for fd in self.cloexec:
            self.entries.pop(fd, None)
        self.cloexec.clear()

"""The file under a log: written whole groups at a time, never cut, known to be alive.

A write that fails raises LogFailed and keeps what is left of its group; the next `write`
goes on at the very byte, so that a full disk which is given room costs nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import struct
from pathlib import Path
from stat import S_ISREG

from capsule import logdir
from capsule.errors import LogFailed

_TODO = {
    errno.ENOSPC: "free space, or name another place with --log-dir",
    errno.EDQUOT: "the quota is used up; name another place with --log-dir",
    errno.EFBIG: "the file may not grow further (ulimit -f)",
    errno.EPIPE: "the reader of the log's descriptor is gone",
}


class LogFile:
    """One file, or a given descriptor, that a log is appended to.

    `path` is None for a descriptor. `size_bytes` counts what was written to this file,
    `total_bytes` what was written to all files of a rotated log.
    """

    def __init__(self, target: int | Path) -> None:
        self.path = None if isinstance(target, int) else target
        self._owned = self.path is not None
        self.fd = target if isinstance(target, int) else logdir.create_log(target)
        self.total_bytes = 0
        self.flushes = 0
        self.syncs = 0
        self.closed = False
        self._rest = b""  # of a group whose write broke off
        self._group = b""
        self._adopt()

    def _adopt(self) -> None:
        status = os.fstat(self.fd)
        self._regular = S_ISREG(status.st_mode)
        self._base_bytes = status.st_size
        self.size_bytes = 0
        if self._regular:
            # Only liveness hangs on the lock, never the log.
            with contextlib.suppress(OSError):
                fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_WRLCK))

    @property
    def torn(self) -> bool:
        """Whether a group is only half written."""
        return bool(self._rest)

    def write(self, group: bytes) -> bytes:
        """Append `group`; return the groups that have now wholly reached the file.

        Raises LogFailed. The group is then kept, behind the rest of an earlier one, and must
        not be given again.
        """
        self._rest += group
        self._group += group
        while self._rest:
            try:
                n = os.write(self.fd, self._rest)
            except BlockingIOError:  # a descriptor given to us may be non-blocking
                select.select([], [self.fd], [])
                continue
            except OSError as error:
                raise self._failed("cannot write", error) from error
            self._rest = self._rest[n:]
            self.size_bytes += n
            self.total_bytes += n
        if self._group:
            self.flushes += 1
        written, self._group = self._group, b""
        return written

    def sync(self) -> None:
        """fdatasync(2), where the descriptor is a file."""
        if not self._regular:
            return
        try:
            os.fdatasync(self.fd)
        except OSError as error:
            raise self._failed("cannot sync", error) from error
        self.syncs += 1

    def check_in_place(self) -> None:
        """Raise LogFailed if the file was deleted, replaced, cut or added to under us."""
        if not self._regular:
            return
        mine = os.fstat(self.fd)
        what = None
        if self.path is not None:
            try:
                named = os.stat(self.path, follow_symlinks=False)
                if (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino):
                    what = "was replaced by another file"
            except OSError:
                what = "was deleted or moved away"
        if what is None and mine.st_size != self._base_bytes + self.size_bytes:
            what = "was changed by someone else while it was written"
        if what is not None:
            raise LogFailed(f"the log {self} {what}; it can no longer be relied on")

    def go_on_in(self, path: Path) -> None:
        """Close this file and append to a new one, `path`, from now on."""
        fd = logdir.create_log(path)
        os.close(self.fd)
        self.fd, self.path = fd, path
        self._adopt()

    def close(self) -> None:
        """Close the file, unless it is a descriptor that was given."""
        if self._owned and not self.closed:
            os.close(self.fd)
        self.closed = True

    def __str__(self) -> str:
        return str(self.path) if self.path else f"on descriptor {self.fd}"

    def _failed(self, what: str, error: OSError) -> LogFailed:
        todo = _TODO.get(error.errno or 0, "what was written before is intact")
        return LogFailed(f"{what} the log {self}: {error.strerror}; {todo}")


def _whole_file(kind: int) -> bytes:
    """struct flock of fcntl(2) on x86-64: from the first byte to wherever the end is."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


def is_live(fd: int) -> bool:
    """Whether a writer still has the file open. Asks for a lock (F_OFD_GETLK), takes none."""
    asked = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_RDLCK))
    return bool(struct.unpack_from("h", asked)[0] == fcntl.F_WRLCK)

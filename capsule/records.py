"""Reading a log's lines: forwards from a seq, backwards from the end, following a writer.

Nothing here checks the chain; `verify` does. A torn last line is never handed out.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from capsule import logdir
from capsule.errors import CapsuleError
from capsule.logfile import is_live

BLOCK = 1 << 16
_SEQ = re.compile(rb'\{"seq":(\d{1,20}),"type":"(\w+)"')


def seq_of(line: bytes) -> int:
    """A record's seq. CapsuleError for a line that is no record."""
    match = _SEQ.match(line)
    if match is None:
        raise CapsuleError("a line of the log is not a record; `capsule verify` says where")
    return int(match[1])


def type_of(line: bytes) -> str:
    """A record's type, or "" for a line that is none."""
    match = _SEQ.match(line)
    return match[2].decode() if match else ""


def load(line: bytes) -> dict[str, Any]:
    """A record's members. CapsuleError for a line that is none."""
    seq_of(line)
    try:
        record: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise CapsuleError(
            f"record {seq_of(line)} is not JSON ({error}); `capsule verify` says more"
        ) from None
    return record


def open_log(path: Path) -> int:
    """Open a log for reading. CapsuleError when that fails."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.pread(fd, 0, 0)
    except OSError as error:
        raise CapsuleError(f"cannot read {path}: {error.strerror}") from None
    return fd


def first_line(path: Path) -> bytes:
    """The first whole line, without its newline; empty when there is none."""
    return next(_lines(path, 0), b"")


def forwards(path: Path, seq: int = 0) -> Iterator[bytes]:
    """The lines of all files of the run that `path` begins, from record `seq` on."""
    files = logdir.parts(path)
    while len(files) > 1:
        head = first_line(files[1])
        if not head or seq_of(head) > seq:
            break
        files.pop(0)
    for file in files:
        offset = _find(file, seq) if seq else 0
        for line in _lines(file, offset):
            if not seq or seq_of(line) >= seq:
                yield line


def backwards(path: Path) -> Iterator[bytes]:
    """The whole lines of all files of the run, the last one first."""
    for file in reversed(logdir.parts(path)):
        fd = open_log(file)
        try:
            at, rest, torn = os.fstat(fd).st_size, b"", True
            while at > 0:
                size = min(BLOCK, at)
                at -= size
                lines = (os.pread(fd, size, at) + rest).split(b"\n")
                rest = lines[0]
                if len(lines) > 1:
                    whole = lines[1:-1] if torn else lines[1:]
                    torn = False
                    yield from reversed(whole)
            if rest and not torn:
                yield rest
        finally:
            os.close(fd)


def _lines(path: Path, offset: int) -> Iterator[bytes]:
    fd = open_log(path)
    try:
        os.lseek(fd, offset, os.SEEK_SET)
        rest = b""
        while block := os.read(fd, BLOCK):
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
    finally:
        os.close(fd)


def _find(path: Path, seq: int) -> int:
    """Offset of a line that begins at or before record `seq`: a bisection over the bytes."""
    fd = open_log(path)
    try:
        low, high = 0, os.fstat(fd).st_size
        while high - low > BLOCK:
            middle = (low + high) // 2
            begin = _next_line(fd, middle, high)
            if begin is None or seq_of(os.pread(fd, 64, begin)) > seq:
                high = middle
            else:
                low = begin
        return low
    finally:
        os.close(fd)


def _next_line(fd: int, offset: int, limit: int) -> int | None:
    while offset < limit:
        block = os.pread(fd, min(BLOCK, limit - offset), offset)
        found = block.find(b"\n")
        if found >= 0:
            begin = offset + found + 1
            return begin if begin < limit and os.pread(fd, 64, begin).count(b":") else None
        offset += len(block)
        if not block:
            break
    return None


class Wanted:
    """Which records pass: every one, or the Actions whose kind fits one of the patterns."""

    def __init__(self, patterns: Iterable[str]) -> None:
        # `net` means all of net.*, as a subscription's prefix does.
        self._patterns = [p if "." in p or "*" in p else f"{p}.*" for p in patterns]

    def __call__(self, line: bytes) -> bool:
        if not self._patterns:
            return True
        kind = load(line).get("kind") if type_of(line) == "action" else None
        return isinstance(kind, str) and any(fnmatch.fnmatchcase(kind, p) for p in self._patterns)

    def only(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The lines that pass."""
        return filter(self, lines)


class Follower:
    """The lines of a log that is being written, file after file, as they become whole."""

    def __init__(self, path: Path, part: int = 0, offset: int = 0) -> None:
        self._base = path
        self._part = part
        self._fd = open_log(self._file(part))
        os.lseek(self._fd, offset, os.SEEK_SET)
        self._rest = b""

    def _file(self, part: int) -> Path:
        run, _ = logdir.split_name(self._base)
        return logdir.log_path(self._base.parent, run, part) if part else self._base

    def read(self) -> list[bytes]:
        """What has become whole since the last call; empty when there is nothing new."""
        lines: list[bytes] = []
        while True:
            ended = self._file(self._part + 1).exists()  # asked before reading: this file is final
            while block := os.read(self._fd, BLOCK):
                *more, self._rest = (self._rest + block).split(b"\n")
                lines += more
                if len(lines) >= 4096:
                    return lines
            if not ended:
                return lines
            self._part += 1
            os.close(self._fd)
            self._fd = open_log(self._file(self._part))

    def writer_lives(self) -> bool:
        """Whether the log is still open for writing, in this file or the next one."""
        return is_live(self._fd) or self._file(self._part + 1).exists()

    @property
    def torn_bytes(self) -> int:
        """Bytes of an unfinished last line."""
        return len(self._rest)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

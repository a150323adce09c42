"""Follows one log's files: gives whole lines with their places, reads them again, verifies them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from capsule import logdir
from capsule.errors import CapsuleError
from capsule.records import Follower, open_log, type_of
from capsule.verify import Report, Unreadable, Verifier

BLOCK = 1 << 18

State = Literal["live", "ended", "cut off"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole lines, one after the other in one file, from `offset` on."""

    part: int
    offset: int
    lines: list[bytes]

    def __len__(self) -> int:
        return sum(map(len, self.lines)) + len(self.lines)


class LogSource:
    """A run's log, live or finished. Raises CapsuleError when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = logdir.parts(path)[0]
        self.state: State = "live"
        """"ended": the end record has been read. "cut off": there is none, and no writer."""
        self._follower = Follower(self.path)
        self._place = (0, 0)
        self._verifier = Verifier()
        self._refused = ""
        self._fds: dict[int, int] = {}
        self._block = (0, 0, b"")  # part, offset, bytes: what was read last

    # -- new lines ------------------------------------------------------------------------

    def read(self) -> list[Batch]:
        """What is new, some thousand lines at most; empty when there is nothing."""
        if self.state != "live":
            return []
        alive = self._follower.writer_lives()  # asked before reading: what it wrote is then there
        lines = self._follower.read()
        batches = list(self._placed(lines))
        for batch in batches:
            self._verify(batch)
        if lines and type_of(lines[-1]) == "end":
            self.state = "ended"
        elif not lines and not alive:
            self.state = "cut off"
        return batches

    def _placed(self, lines: list[bytes]) -> Iterator[Batch]:
        """The lines by file: each file begins with a start record (docs/log-format.md)."""
        begin = 0
        for at, line in enumerate(lines):
            if b',"type":"start",' in line[:48] and (at or self._place != (0, 0)):
                if begin < at:
                    yield self._batch(lines[begin:at])
                begin, self._place = at, (self._place[0] + 1, 0)
        if begin < len(lines):
            yield self._batch(lines[begin:])

    def _batch(self, lines: list[bytes]) -> Batch:
        batch = Batch(*self._place, lines)
        self._place = (batch.part, batch.offset + len(batch))
        return batch

    # -- the chain ------------------------------------------------------------------------

    def _verify(self, batch: Batch) -> None:
        if batch.offset == 0 and batch.part:
            self._verifier.next_part()
        try:
            self._verifier.feed(b"\n".join(batch.lines) + b"\n")
        except Unreadable as error:
            self._refused = str(error)

    def report(self) -> Report:
        """The verdict on what has been read; on all of the log once the state is not "live".

        Raises CapsuleError for a log of another format version.
        """
        if self._refused:
            raise CapsuleError(self._refused)
        # With whole lines alone and no pins `finish` changes nothing, so that more can follow.
        return self._verifier.finish()

    # -- lines again ----------------------------------------------------------------------

    def line(self, part: int, offset: int) -> bytes:
        """The line that begins there, without its newline. Raises CapsuleError."""
        had, begin, data = self._block
        if had == part and begin <= offset < begin + len(data):
            end = data.find(b"\n", offset - begin)
            if end >= 0:
                return data[offset - begin : end]
        size = BLOCK
        while True:
            data = os.pread(self._fd(part), size, offset)
            end = data.find(b"\n")
            if end >= 0:
                self._block = (part, offset, data)
                return data[:end]
            if len(data) < size:
                raise CapsuleError(f"{self.path}: the log was cut while it was being shown")
            size *= 4

    def _fd(self, part: int) -> int:
        if part not in self._fds:
            run, _ = logdir.split_name(self.path)
            path = logdir.log_path(self.path.parent, run, part) if part else self.path
            self._fds[part] = open_log(path)
        return self._fds[part]

    def close(self) -> None:
        """Close the files."""
        self._follower.close()
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

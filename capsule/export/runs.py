"""A run as an exporter reads it: its records, verified again while they are read.

The verdict is known before the first record is handed out, and what is handed out is checked
once more, so that no byte leaves that was put into the file between the two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsule import logdir
from capsule.errors import CapsuleError
from capsule.records import forwards, load, open_log
from capsule.verify import Report, Unreadable, Verdict, Verifier

CHUNK = 1 << 18


@dataclass(slots=True)
class Run:
    """A log, and what verification has found. `seq` is that of the record last handed out."""

    path: Path
    report: Report
    seq: int = -1
    unreadable: int = 0
    """Lines of a log that is tampered with that are no records, and were left out."""

    @property
    def id(self) -> str:
        """The run's id; its file's name where there is no start record."""
        return self.report.run or logdir.split_name(self.path)[0]

    @property
    def start(self) -> dict[str, Any]:
        """The start record; empty where there is none."""
        return self.report.start or {}

    @property
    def end(self) -> dict[str, Any]:
        """The seal; empty where there is none."""
        return self.report.end or {}

    @property
    def origin(self) -> dict[str, Any]:
        """What is known of the command and its machine: the start record, but of a text that was
        imported nothing, as that record tells of the import."""
        return {} if "imported" in self.start else self.start

    @property
    def time_ns(self) -> int:
        """When the log was begun: the time of what has no stamp."""
        return int(self.start.get("time_ns") or 0)

    @property
    def kernel(self) -> str:
        """The release of the kernel; the start record has `Linux 6.1.0 x86_64`."""
        words = str(self.origin.get("kernel", "")).split()
        return words[1] if len(words) > 1 else "".join(words)

    @property
    def tampered(self) -> bool:
        return self.report.verdict is Verdict.TAMPERED

    @property
    def incomplete(self) -> bool:
        return self.report.verdict is Verdict.INCOMPLETE

    def lines(self) -> Iterator[bytes]:
        """The records' lines, without their newlines, as far as the log went when it was verified.

        CapsuleError where the log has changed since. Of a log that is tampered with: all lines
        that there are.
        """
        return forwards(self.path) if self.tampered else self._verified()

    def records(self) -> Iterator[dict[str, Any]]:
        """The records; `seq` follows them."""
        for line in self.lines():
            try:
                record = load(line)
            except CapsuleError:
                if not self.tampered:
                    raise
                self.unreadable += 1
                continue
            self.seq = record["seq"]
            yield record

    def actions(self) -> Iterator[dict[str, Any]]:
        """The records that are Actions."""
        return (record for record in self.records() if record.get("type") == "action")

    def _verified(self) -> Iterator[bytes]:
        left = self.report.size_bytes - self.report.torn_bytes
        verifier = Verifier()
        for part, file in enumerate(logdir.parts(self.path)):
            if not left or (part and not verifier.next_part()):
                break
            fd = open_log(file)
            try:
                rest = b""
                while chunk := os.read(fd, min(CHUNK, left)):
                    left -= len(chunk)
                    if not self._holds(verifier, chunk):
                        raise self._changed()
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from lines
            finally:
                os.close(fd)
        if left or verifier.finish().head != self.report.head:
            raise self._changed()

    @staticmethod
    def _holds(verifier: Verifier, chunk: bytes) -> bool:
        try:
            return verifier.feed(chunk)
        except Unreadable:
            return False

    def _changed(self) -> CapsuleError:
        return CapsuleError(
            f"{self.path} changed while it was exported: what has been written is not all of it; "
            "`capsule verify` says more"
        )

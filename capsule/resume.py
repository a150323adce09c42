"""Going on after a crash: what a new log says of the torn one it continues.

A torn log is never cut and never written to again. The new one names its last record and hashes
what is torn, so that the new log's first checkpoint signs the old log as it was found
(docs/log-format.md, "Continuing after a crash").
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from blake3 import blake3

from capsule import logdir
from capsule.errors import CapsuleError
from capsule.logfile import is_live
from capsule.records import open_log
from capsule.verify import Report, Unreadable, Verdict, Verifier

CHUNK = 1 << 18


def resume_link(path: Path) -> dict[str, Any]:
    """The `resumes` member for a log that goes on from the one at `path`, which is verified.

    CapsuleError if that log is still written to, is complete, or was tampered with.
    """
    files = logdir.parts(path)
    fd = open_log(files[-1])
    try:
        if is_live(fd):
            raise CapsuleError(f"{path} is still being written; wait for it to end")
        report = _verify(files)
        if report.verdict is Verdict.INTACT:
            raise CapsuleError(f"{path} is complete: there is nothing to resume")
        if report.bad is not None:
            raise CapsuleError(f"{path} was tampered with: {report.bad.reason}")
        end = os.fstat(fd).st_size
        whole = end - report.torn_bytes
        torn = blake3()
        while chunk := os.pread(fd, min(CHUNK, end - whole), whole):
            torn.update(chunk)
            whole += len(chunk)
    finally:
        os.close(fd)
    return {
        "run": report.run,
        "seq": report.records - 1 if report.records else None,
        "head": report.head or None,
        "bytes": report.size_bytes - report.torn_bytes,
        "torn_bytes": report.torn_bytes,
        "torn_hash": torn.hexdigest(),
    }


def _verify(files: list[Path]) -> Report:
    verifier = Verifier()
    for part, file in enumerate(files):
        if part:
            verifier.next_part()
        fd = open_log(file)
        try:
            while chunk := os.read(fd, CHUNK):
                try:
                    verifier.feed(chunk)
                except Unreadable as error:
                    raise CapsuleError(str(error)) from None
        finally:
            os.close(fd)
    return verifier.finish()

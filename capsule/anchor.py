"""Anchors: each checkpoint handed out of this log's reach while the run goes on.

Whoever owns the log's file can rewrite it whole. What an anchor was given (another host's file,
the system's journal) cannot be rewritten with it, and pins it: `capsule verify --anchors FILE`.
An anchor that does not take a checkpoint fails the log, as a full disk would.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import orjson

from capsule.errors import LogFailed

PATIENCE_S = 20.0
SYSLOG = "/dev/log"
AUTHPRIV_NOTICE = 10 << 3 | 5
"""Facility and severity (RFC 5424, 6.2.1)."""

_HEX64 = re.compile(r"[0-9a-f]{64}")


class Anchor(Protocol):
    """Takes a checkpoint's exact line, newline included. Raises LogFailed."""

    def __call__(self, line: bytes) -> None: ...
    def close(self) -> None: ...


class CommandAnchor:
    """A shell command that gets every checkpoint's line on its stdin, from one process.

    CAPSULE_RUN names the run in its environment. Its output is nobody's; what it says on
    stderr is seen.
    """

    def __init__(self, command: str, run: str) -> None:
        self._command = command
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "CAPSULE_RUN": run},
            bufsize=0,
        )
        assert self._process.stdin is not None
        self._fd = self._process.stdin.fileno()
        os.set_blocking(self._fd, False)

    def __call__(self, line: bytes) -> None:
        left, until = line, time.monotonic() + PATIENCE_S
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                ready = select.select([], [self._fd], [], max(0.0, until - time.monotonic()))[1]
                if not ready:
                    raise self._failed(f"has read nothing for {PATIENCE_S:.0f} s") from None
            except OSError as error:
                raise self._failed(f"takes no checkpoint: {error.strerror}") from error

    def close(self) -> None:
        """Close its stdin and wait for it. LogFailed if it ends badly or not at all."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            status = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise self._failed(f"did not end within {PATIENCE_S:.0f} s of its input") from None
        if status:
            raise self._failed(f"ended with status {status}")

    def _failed(self, what: str) -> LogFailed:
        return LogFailed(f"the anchor command {self._command!r} {what}; see --anchor-cmd")


class SyslogAnchor:
    """Writes one short line for each checkpoint to the system's log, hence to the journal."""

    def __init__(self, run: str, path: str = SYSLOG) -> None:
        self._run = run
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise LogFailed(
                f"no system log at {path}: {error.strerror}; leave --anchor-syslog out, "
                "or use --anchor-cmd"
            ) from error

    def __call__(self, line: bytes) -> None:
        record = orjson.loads(line)
        text = (
            f"<{AUTHPRIV_NOTICE}>capsule[{os.getpid()}]: run={self._run} "
            f"type={record['type']} seq={record['seq']} hash={record['hash']}"
        )
        try:
            self._socket.send(text.encode())
        except OSError as error:
            raise LogFailed(f"the system log takes no checkpoint: {error.strerror}") from error

    def close(self) -> None:
        """Nothing waits in a datagram socket."""
        self._socket.close()


class Anchors:
    """Several anchors as one; each gets every line."""

    def __init__(self, anchors: Sequence[Anchor]) -> None:
        self._anchors = anchors

    def __call__(self, line: bytes) -> None:
        for anchor in self._anchors:
            anchor(line)

    def close(self) -> None:
        """Close all; the first failure is raised when all are closed."""
        failures = []
        for anchor in self._anchors:
            try:
                anchor.close()
            except LogFailed as error:
                failures.append(error)
        if failures:
            raise failures[0]


def open_anchors(run: str, commands: Sequence[str], *, syslog: bool) -> Anchors:
    """The anchors of a run. LogFailed if one cannot be had."""
    found: list[Anchor] = [SyslogAnchor(run)] if syslog else []
    try:
        found += [CommandAnchor(command, run) for command in commands]
    except OSError as error:
        with contextlib.suppress(LogFailed):
            Anchors(found).close()
        raise LogFailed(f"cannot start an anchor command: {error.strerror}") from error
    return Anchors(found)


def read_anchors(lines: Sequence[bytes], warn: Callable[[str], None]) -> list[tuple[int, str]]:
    """The (seq, hash) pairs of anchored lines: whole checkpoint lines, or a system log's.

    A line that is neither is reported to `warn` and passed over.
    """
    found = []
    for number, line in enumerate(lines, 1):
        pair = _anchored(line)
        if pair is not None:
            found.append(pair)
        elif line.strip():
            warn(f"line {number} is no anchored checkpoint")
    return found


def _anchored(line: bytes) -> tuple[int, str] | None:
    if match := re.search(rb"\bseq=(\d{1,19}) hash=([0-9a-f]{64})\b", line):
        return int(match[1]), match[2].decode()
    try:
        record = orjson.loads(line)
        seq, digest = record["seq"], record["hash"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None
    fits = isinstance(seq, int) and isinstance(digest, str) and _HEX64.fullmatch(digest)
    return (seq, digest) if fits else None

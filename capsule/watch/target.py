"""`capsule trace` of a command on a terminal of its own (pty(7)), and the log that it writes."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import psutil

from capsule import logdir
from capsule.errors import CapsuleError
from capsule.procstat import tracer_of
from capsule.records import first_line, load

HANG_UP_S = 2.0
KILL_S = 5.0


class Target:
    """The trace of a command, started at once. It has a session and a terminal of its own."""

    def __init__(
        self, words: Sequence[str], log_dir: Path, size: tuple[int, int], env: Mapping[str, str]
    ) -> None:
        self._directory = log_dir
        self._known = set(logdir.runs(log_dir))
        self.summary: dict[str, Any] | None = None
        """What the trace says at its end; None before, and when it said nothing."""
        self.fd, terminal = pty.openpty()
        # No file that would stay behind if we were killed.
        self._summary_fd = os.memfd_create("capsule-watch-summary")
        try:
            self.resize(*size)
            os.set_blocking(self.fd, False)
            summary = f"/proc/{os.getpid()}/fd/{self._summary_fd}"
            command = [sys.executable, "-m", "capsule", "trace", "-q", "--log-dir", str(log_dir),
                       "--summary", summary, "--", *words]  # fmt: skip
            self.process = subprocess.Popen(
                command,
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                env=env,
                start_new_session=True,
                preexec_fn=_take_terminal,
            )
        except BaseException:
            self._drop()
            raise
        finally:
            os.close(terminal)

    def resize(self, columns: int, lines: int) -> None:
        """Tell the terminal's size; the kernel tells its foreground processes (SIGWINCH)."""
        termios.tcsetwinsize(self.fd, (lines, columns))

    def write(self, data: bytes) -> None:
        """Type. What a full terminal does not take is lost, as with a real one."""
        with suppress(OSError):
            os.write(self.fd, data)

    def read(self, size: int) -> bytes | None:
        """What was written; empty when there is nothing now, None when the terminal is closed."""
        try:
            return os.read(self.fd, size) or None
        except BlockingIOError:
            return b""
        except OSError:  # EIO: nobody has it open any more
            return None

    def log(self) -> Path | None:
        """The log of this trace once there is one."""
        for path in logdir.runs(self._directory):
            if path in self._known:
                continue
            line = first_line(path)
            if not line:
                continue  # the start record is on its way
            self._known.add(path)
            with suppress(CapsuleError):
                if load(line).get("pid") == self.process.pid:
                    return path
        return None

    def poll(self) -> int | None:
        """The status that a shell would show (128 + N for a signal); None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        if self.summary is None:
            size = os.fstat(self._summary_fd).st_size
            if size:
                self.summary = orjson.loads(os.pread(self._summary_fd, size, 0))
        return code if code >= 0 else 128 - code

    def end(self) -> int:
        """End the tree if it still runs: hang up, and kill what does not go. Its status.

        The trace is let to finish its log. Only if even that takes too long is it killed, and
        the kernel with it all that it traces; then the log has no seal.
        """
        if self.poll() is None:
            with suppress(OSError):  # as the kernel does when a terminal is closed
                os.killpg(os.tcgetpgrp(self.fd), signal.SIGHUP)
            self._signal(signal.SIGHUP)
            self._signal(signal.SIGCONT)
            if not self._ends_within(HANG_UP_S):
                deadline_s = time.monotonic() + KILL_S
                while time.monotonic() < deadline_s:
                    for process in self._tracees():
                        with suppress(psutil.Error):
                            process.kill()
                    if self._ends_within(0.1):
                        break
                else:
                    self._signal(signal.SIGKILL)
        self.process.wait()
        status = self.poll()
        assert status is not None
        return status

    def _tracees(self) -> list[psutil.Process]:
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            return []
        return [process for process in below if tracer_of(process.pid)]

    def _signal(self, signo: int) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signo)

    def _ends_within(self, seconds: float) -> bool:
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            if self.process.poll() is not None:
                return True
            # What it still writes must go somewhere, or it waits for us.
            while self.read(1 << 16):
                pass
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
        return self.process.poll() is not None

    def close(self) -> None:
        """Close the terminal. The trace has to have ended."""
        self._drop()

    def _drop(self) -> None:
        os.close(self.fd)
        os.close(self._summary_fd)


def _take_terminal() -> None:
    """In the child, a session leader by now: make its standard input its controlling terminal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

"""`capsule.trace`, `capsule.attach`: start a trace, follow it, end it.

The trace is `capsule trace` in a process of its own: it outlives neither its program nor our
care, needs no thread here, and the log it writes is the one truth that is read back.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import orjson

from capsule import logdir
from capsule.api.run import POLL_S, Run
from capsule.errors import CapsuleError, TraceFailed
from capsule.procstat import has_ended, tracer_of
from capsule.records import Follower, first_line
from capsule.verify import Pins, Report
from capsule.verifyrun import verify_run

GRACE_S = 5.0
"""How long a program has to end after SIGTERM when the `with` block raised."""

_START = """\
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from capsule.cli import main
sys.exit(main())
"""

PR_SET_PTRACER = 0x59616D61
"""prctl(2)."""

_File = int | IO[Any] | None
"""As subprocess takes it: None (ours), a descriptor, a file, PIPE, DEVNULL; STDOUT for stderr."""


class TracedRun(Run):
    """A run that this process has started. Made by `trace` and `attach`.

    As a context manager it waits for the end of the run; when the block raises, the program is
    ended first (SIGTERM, and after 5 s SIGKILL, which leaves the log INCOMPLETE).
    """

    def __init__(self, popen: subprocess.Popen[Any], status: int) -> None:
        self._popen = popen
        self._status = status
        self._told = b""
        self._messages: list[str] = []
        self._summary: dict[str, Any] | None = None
        self._log: Path | None = None
        self._signals: tuple[int, ...] = ()
        self.stdin: IO[Any] | None = popen.stdin
        self.stdout: IO[Any] | None = popen.stdout
        self.stderr: IO[Any] | None = popen.stderr
        try:
            self._await_log()
        except BaseException:
            self.kill()
            raise

    def _await_log(self) -> None:
        while not self._log_is_there() and self._status >= 0:
            self._listen(POLL_S if self._log else None)
        if self._status < 0:
            self._finish()
        if self._log is None or not self._log_is_there():
            raise CapsuleError("the log has gone elsewhere; give no --log-fd among the options")
        super().__init__(self._log)

    def _log_is_there(self) -> bool:
        return self._log is not None and self._log.exists() and bool(first_line(self._log))

    # -- what the trace says of itself

    def _listen(self, timeout_s: float | None) -> bool:
        """Take in what is told within that time; False when there was nothing."""
        if self._status < 0:
            return False
        if not select.select([self._status], [], [], timeout_s)[0]:
            return False
        data = os.read(self._status, 1 << 16)
        if not data:
            os.close(self._status)
            self._status = -1
        *lines, self._told = (self._told + data).split(b"\n")
        for line in lines:
            facts: dict[str, Any] = orjson.loads(line)
            if "log" in facts:
                self._log = Path(facts["log"])
            if "message" in facts:
                self._messages.append(facts["message"])
            self._summary = facts.get("summary", self._summary)
        return True

    def _finish(self) -> None:
        """The trace has ended: raise TraceFailed unless it went well."""
        status = self._popen.wait()
        if self._messages:
            raise TraceFailed("; ".join(self._messages))
        if self._summary is None:
            end = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            where = f"; what it saw is in {self._log}" if self._log else ""
            raise TraceFailed(f"capsule trace did not get to its end ({end}){where}")

    # -- the run

    @property
    def pid(self) -> int:
        """The process that traces; signals sent to it reach the program."""
        return self._popen.pid

    def poll(self) -> int | None:
        """The program's exit status if the run is over, else None. Raises TraceFailed."""
        while self._listen(0):
            pass
        return None if self._status >= 0 else self.wait()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end of the run; the program's exit status (None after `attach`).

        Raises TraceFailed when Capsule failed, or the program could not be run; CapsuleError
        when the run is not over in that time (it goes on).
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while self._status >= 0:
            left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            if not self._listen(left_s) and left_s == 0.0:
                raise CapsuleError(f"the run is not over after {timeout_s:g} s")
        self._finish()
        return self.returncode

    def communicate(self, input: Any = None, timeout_s: float | None = None) -> tuple[Any, Any]:
        """Send `input`, read stdout and stderr to their ends, wait: as Popen.communicate."""
        try:
            output = self._popen.communicate(input, timeout_s)
        except subprocess.TimeoutExpired:
            raise CapsuleError(f"the run is not over after {timeout_s:g} s") from None
        self.wait()
        return (output[0], output[1])

    def send_signal(self, signo: int) -> None:
        """Send the program a signal; of `attach`, SIGINT lets go of it."""
        self._popen.send_signal(signo)

    def terminate(self) -> None:
        """End the program by SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the trace and all that it traces at once. The log stays without its seal."""
        self._popen.kill()
        self._popen.wait()
        if self._status >= 0:
            os.close(self._status)
            self._status = -1

    @property
    def head(self) -> str | None:
        """The last record's hash; once the run is over, as its writer told it, not the file."""
        return self._summary["head"] if self._summary is not None else super().head

    def verify(self) -> Report:
        """Check the log; once the run is over, against the head that its writer told."""
        if self._summary is None:
            return super().verify()
        return verify_run(self.log, Pins(heads=((None, self._summary["head"]),)))

    def _goes_on(self, follower: Follower) -> bool:
        # The trace may not have locked its log yet, and its logger may outlive it.
        return self._popen.poll() is None or super()._goes_on(follower)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        if kind is None:
            self._end_run()
            return
        try:
            self.terminate()
            self.wait(GRACE_S)
        except CapsuleError:
            self.kill()

    def _end_run(self) -> None:
        self.wait()


class AttachedRun(TracedRun):
    """Programs that were running before. Leaving the `with` block lets go of them."""

    def detach(self) -> None:
        """Let go of the programs; they run on, and the log gets its seal."""
        self.send_signal(signal.SIGINT)
        self.wait()

    def terminate(self) -> None:
        """Let go of the programs: they are not ours to end."""
        self.send_signal(signal.SIGINT)

    def _end_run(self) -> None:
        if self.poll() is None and self._status >= 0:
            self.detach()


def trace(
    argv: Sequence[str | bytes | os.PathLike[str]],
    *,
    stdin: _File = None,
    stdout: _File = None,
    stderr: _File = None,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    text: bool = False,
    log_dir: str | Path | None = None,
    options: Sequence[str] = (),
) -> TracedRun:
    """Run `argv` unaltered under `capsule trace`; returns when its log is there.

    `stdin`, `stdout`, `stderr`, `cwd`, `env`, `text`: as subprocess.Popen has them. `log_dir`:
    where the log goes (default: CAPSULE_LOG_DIR, /tmp/capsule-<uid>). `options`: more options of
    `capsule trace`, such as ["--keep-raw", "--syscalls", "network"].

    Raises CapsuleError: there is no such program, no strace, no leave to trace, no log directory.
    """
    if isinstance(argv, (str, bytes)) or not argv:
        raise CapsuleError("argv is the program and its arguments, as a list")
    words = [*options, "--", *map(os.fsdecode, argv)]
    popen, status = _start(
        words, log_dir, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env, text=text
    )
    return TracedRun(popen, status)


def attach(
    *pids: int, log_dir: str | Path | None = None, options: Sequence[str] = ()
) -> AttachedRun:
    """Trace the running processes `pids`, and what they start, until the `with` block ends.

    A process may name itself (os.getpid()). Returns when all of them are traced. Raises
    CapsuleError where that is not allowed (ptrace(2), /proc/sys/kernel/yama/ptrace_scope).
    """
    words = [*options, *(word for pid in pids for word in ("-p", str(pid)))]
    popen, status = _start(words, log_dir, stdin=subprocess.DEVNULL)
    if os.getpid() in pids:
        _allow_tracing_by(popen.pid)
    run = AttachedRun(popen, status)
    while not _are_traced(pids):
        if run._listen(0.001) and run._status < 0:
            run._finish()
            break
    return run


def _are_traced(pids: Sequence[int]) -> bool:
    """Whether those that still run are traced; where none does the trace itself ends."""
    alive = [pid for pid in pids if not has_ended(pid)]
    return bool(alive) and all(tracer_of(pid) for pid in alive)


def _allow_tracing_by(pid: int) -> None:
    """Let that process and its children trace us where Yama would not (ptrace_scope 1; ptrace(2)).

    Where there is no Yama the call fails, and nothing is needed.
    """
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(pid), 0, 0, 0)


def _start(
    words: Sequence[str], log_dir: str | Path | None, **standard: Any
) -> tuple[subprocess.Popen[Any], int]:
    """The running trace, and the descriptor on which it tells how it goes."""
    directory = logdir.log_dir(None if log_dir is None else str(log_dir)).absolute()
    # Python is started as we were, whatever the program's environment says to Python (-I).
    path = json.dumps([os.path.abspath(entry) for entry in sys.path])
    read, write = os.pipe()
    try:
        popen = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, path, "trace", "--quiet", "--status-fd",
             str(write), "--log-dir", str(directory), *words],
            pass_fds=[write], **standard,
        )  # fmt: skip
    except OSError as error:
        os.close(read)
        raise CapsuleError(f"cannot start capsule: {error.strerror}: {error.filename}") from None
    finally:
        os.close(write)
    return popen, read

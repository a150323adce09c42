"""A confined run without a trace: the target as our child, its status and terminal its own."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from dataclasses import dataclass, replace

from capsule._linux import read_signals, set_child_subreaper
from capsule.enforce.confinement import Confinement
from capsule.enforce.listener import Listener, take_over
from capsule.gate import Command, fork_gate
from capsule.job import Job
from capsule.killtree import children, kill_tree
from capsule.proclimit import ProcLimit
from capsule.supervise import FORWARDED, shell_status

JOB_STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: `status` is the command's, as a shell has it; `failure` is ours."""

    status: int
    failure: str | None = None
    exec_errno: int | None = None
    interrupted_by: int | None = None
    timed_out: bool = False


class UntracedRun:
    """One run of `command` under `confinement`; over when all that it started has ended.

    `detach_on_exit`: over when the command itself has. `timeout_s`: kill it all after so long.
    """

    def __init__(
        self,
        signals: int,
        command: Command,
        confinement: Confinement,
        *,
        proc_limit: ProcLimit,
        timeout_s: float | None = None,
        detach_on_exit: bool = False,
    ) -> None:
        self.signals = signals
        self.command = replace(command, enter=confinement.enter)
        self.confinement = confinement
        self.proc_limit = proc_limit
        self.timeout_s = timeout_s
        self.detach_on_exit = detach_on_exit
        self.listener: Listener | None = None
        self._target = 0
        self._status: int | None = None
        self._alone = False
        self._timed_out = False
        self._stopped = False
        self._job = Job(FORWARDED)
        self._before = children()

    def run(self) -> Ended:
        """Run it to its end. Raises TraceFailed when it could not be started."""
        set_child_subreaper()
        self.confinement.parent = 0 if self.detach_on_exit else os.getpid()
        self._target, gate, errors = fork_gate(self.command)
        os.close(errors)
        try:
            self.confinement.forked()
            self.proc_limit.hold(self._target)
            self._job.leave(0)
            self._release_output()
            os.write(gate, b"G")
            os.close(gate)
            if self.confinement.listens:
                self.listener = take_over(
                    self.confinement.page, self._target, self.confinement.calls, self._is_dead
                )
            self._watch()
        except BaseException:
            self._kill()
            raise
        finally:
            self._job.rejoin()
        return self._ended()

    def _release_output(self) -> None:
        """Let go of what the target was given, so that its pipes end when it closes them."""
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)

    def _watch(self) -> None:
        poller = select.poll()
        poller.register(self.signals, select.POLLIN)
        deadline_s = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        while not self._is_over():
            left_ms = None if deadline_s is None else (deadline_s - time.monotonic()) * 1000
            if left_ms is not None and left_ms <= 0:
                self._timed_out, deadline_s = True, None
                self._kill()
            elif poller.poll(left_ms):
                for signo, code, _ in read_signals(self.signals):
                    self._on_signal(signo, from_terminal=code > 0)
            self._reap()

    def _is_over(self) -> bool:
        return self._status is not None and (self._alone or self.detach_on_exit)

    def _is_dead(self) -> bool:
        self._reap()
        return self._status is not None

    def _on_signal(self, signo: int, *, from_terminal: bool) -> None:
        if signo == signal.SIGCHLD or (from_terminal and signo != signal.SIGHUP):
            return
        if self._status is None and (signo != signal.SIGCONT or self._stopped):
            os.kill(self._target, signo)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                self._alone = True
                return
            if pid == 0:
                self._alone = self._status is not None and children() <= self._before
                return
            if pid != self._target:
                continue
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                self._stopped = os.WIFSTOPPED(status)
                if self._stopped and os.WSTOPSIG(status) in JOB_STOPS:
                    self._job.stop(os.WSTOPSIG(status), 0)
            else:
                self._status = status

    def _kill(self) -> None:
        kill_tree([os.getpid()], None, {os.getpid(), *self._before}, reap=self._reap)

    def _ended(self) -> Ended:
        assert self._status is not None
        failure = self.confinement.failure()
        if failure is not None:
            return Ended(125, failure)
        code = self.confinement.exec_errno()
        if code is not None:
            return Ended(127 if code == errno.ENOENT else 126, exec_errno=code)
        signo = -os.waitstatus_to_exitcode(self._status)
        by_keys = signo in (signal.SIGINT, signal.SIGQUIT) and self._job.has_terminal()
        return Ended(
            shell_status(self._status),
            interrupted_by=signo if by_keys else None,
            timed_out=self._timed_out,
        )

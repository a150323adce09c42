"""The supervisor: watches the five stages, and ends a run in good order or in bad."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass, field
from typing import Any

from capsule._linux import read_signals, signalfd
from capsule.pipeline import Pipeline
from capsule.procstat import signal_name

FORWARDED = frozenset(
    {
        signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1,
        signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO,
        signal.SIGPWR, signal.SIGURG, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT,
        *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
    }
)  # fmt: skip
"""Signals that reach the target when somebody sends them to us."""

EXIT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    `status` is what `capsule` exits with. `failure` says in one line why the log is not
    complete, or is None. `exec_errno`: why the command could not be executed. `interrupted_by`:
    the terminal's SIGINT or SIGQUIT, if the target died of it in the foreground. `report` and
    `end` come from the logger; both are empty if it died.
    """

    status: int
    failure: str | None
    exec_errno: int | None = None
    interrupted_by: int | None = None
    report: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)


def shell_status(wait_status: int) -> int:
    """A wait status as a shell shows it: the exit code, or 128 + the signal's number."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def describe(wait_status: int) -> str:
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return f"exited with {code}"
    return f"was killed by {signal_name(-code)}"


def block_signals() -> tuple[int, frozenset[int]]:
    """Take over the forwarded signals and SIGCHLD: (signalfd, the mask as it was)."""
    taken = FORWARDED | {signal.SIGCHLD}
    # SIGCHLD may come ignored from our parent; then no child could be waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, taken)
    return signalfd(taken), frozenset(int(signo) for signo in before)


class Supervisor:
    """Watches a started pipeline until its logger has reported, or something has died.

    A run without a target (`capsule import`) is this class as it is; `capsule.target` adds
    strace and the target by overriding the four hooks.
    """

    def __init__(self, pipeline: Pipeline, signals: int) -> None:
        self.pipeline = pipeline
        self.signals = signals
        self.failure: str | None = None
        self._stage_status: dict[int, int] = {}

    # -- hooks

    def on_child(self, pid: int, status: int) -> None:
        """A child that is no stage has stopped, continued or ended (waitpid(2))."""

    def on_signal(self, signo: int, *, from_terminal: bool) -> None:
        """A signal for us, from a process or from the kernel (Ctrl-C, a closed terminal)."""
        if signo in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
            self.fail(f"interrupted by {signal_name(signo)}")

    def on_change(self) -> None:
        """Called after every change, to notice that the run is over."""

    def stop_target(self) -> None:
        """Something died: the target must not run on."""

    def others(self) -> set[int]:
        """Children besides the stages that have to end before the run is over."""
        return set()

    # -- the run

    def run(self) -> Outcome:
        """Run to the end. Raises TraceFailed when it could not start."""
        self.start()
        self.watch()
        self.wait_all()
        return self.outcome()

    def start(self) -> None:
        """Start the stages; when that fails all of them have ended."""
        try:
            self.pipeline.start()
        except BaseException:
            self.wait_all()
            raise

    def watch(self) -> None:
        """Return when the logger has reported, or after the first failure."""
        poller = select.poll()
        poller.register(self.signals, select.POLLIN)
        by_fd = {stage.control.fileno(): stage for stage in self.pipeline.stages}
        for fd in by_fd:
            poller.register(fd, select.POLLIN)
        while self.pipeline.end is None and self.failure is None:
            for fd, _ in poller.poll():
                if fd == self.signals:
                    self._handle_signals()
                    continue
                stage = by_fd[fd]
                if not self.pipeline.listen(stage):
                    poller.unregister(fd)
                if stage.error:
                    self.fail(stage.error)
            self._check_stages()
            self.on_change()

    def _handle_signals(self) -> None:
        for signo, code, sender in read_signals(self.signals):
            if signo == signal.SIGCHLD:
                self.reap()
            elif sender != os.getpid():  # else we have passed it on to the group that we are in
                # Up to 0: sent by a process (SI_USER, SI_QUEUE, SI_TKILL; sigaction(2)).
                self.on_signal(signo, from_terminal=code > 0)

    def reap(self) -> None:
        """Wait for every child that has changed: stages, strace, the target, adopted orphans."""
        stages = {stage.pid for stage in self.pipeline.stages}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid not in stages:
                self.on_child(pid, status)
            elif not os.WIFSTOPPED(status) and not os.WIFCONTINUED(status):
                self._stage_status[pid] = status

    def _check_stages(self) -> None:
        """Notice a stage that has died before the end; those it takes along exit with 0."""
        gone = [stage for stage in self.pipeline.stages if stage.pid in self._stage_status]
        culprits = [stage for stage in gone if self._stage_status[stage.pid] != 0]
        if len(gone) == len(self.pipeline.stages):
            culprits += gone
        if not culprits or self.pipeline.end is not None:
            return
        stage = culprits[0]
        while self.pipeline.listen(stage):
            pass  # its last words come before the news of its death
        if self.pipeline.end is None:
            died = f"the {stage.spec.name} stage {describe(self._stage_status[stage.pid])}"
            self.fail(stage.error or died)

    def fail(self, why: str) -> None:
        """The first failure: stop the target, then have what was accepted drained."""
        if self.failure is None:
            self.failure = why
            self.stop_target()
            self.pipeline.abort(why)

    def wait_all(self) -> None:
        """Wait for all processes of ours to end; what does not within 10 s is killed."""
        deadline_s = time.monotonic() + EXIT_TIMEOUT_S
        while True:
            self.reap()
            left = {stage.pid for stage in self.pipeline.stages} - self._stage_status.keys()
            left |= self.others()
            if not left:
                break
            if time.monotonic() > deadline_s:
                deadline_s += EXIT_TIMEOUT_S
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)
        for stage in self.pipeline.stages:
            while self.pipeline.end is None and self.pipeline.listen(stage):
                pass
        self.pipeline.tidy()

    def outcome(self) -> Outcome:
        end = self.pipeline.end or {}
        failure = self.failure or end.get("abort")
        return Outcome(
            0 if failure is None else 125,
            failure,
            report=end.get("report") or {},
            end=end.get("end") or {},
        )

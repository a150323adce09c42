"""A traced run: launches the target under strace, stands in for it, never lets it run unseen.

The target is our own child. It waits at a gate while strace attaches to it from outside
(`strace -p`), and passes only when strace has shown a first system call of it. So its exit
status, its stops and its terminal are its own and not strace's, strace's messages never reach
its stderr, and when strace cannot attach the target does not run: `strace -D`, which would
also keep the target our child, runs it untraced in that case (measured with 6.1).

While the target runs we are not in its process group (the shell's job) but in the last
stage's: what is sent to the group, by the terminal or by kill(1), reaches the target once and
us never; what is sent to our pid alone is forwarded. We return to the group only to stop with
the target, so that the shell sees its job stop and its fg wakes us too, and at the end.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from capsule._linux import set_child_subreaper, set_dumpable
from capsule.errors import TraceFailed
from capsule.gate import Command, fork_gate, read_errno
from capsule.job import Job
from capsule.killtree import children, find_tree, kill_tree
from capsule.pipeline import Pipeline, close_fds
from capsule.placement import ANYWHERE, Placement, move, starting_on
from capsule.proclimit import UNLIMITED, ProcLimit
from capsule.procstat import has_ended, signal_name, tracer_of
from capsule.supervise import FORWARDED, Outcome, Supervisor, describe, shell_status
from capsule.tracer import GUARD, Strace, strace_argv, strace_env

JOB_STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)

ATTACH_TIMEOUT_S = 30.0

GUARD_EXIT = 70
"""strace's exit status when its output has no reader any more (`_tracer_guard.c`)."""

STRACE_OUTPUT = 3
"""The descriptor of the trace pipe in strace. The target has no way to it: strace attaches, so
the target inherits nothing of it, and cannot look into it (`_tracer_guard.c`)."""

STRACE_GUARD = 4
"""The guard's library in strace: LD_PRELOAD takes no path with a blank or a colon."""


class TracedRun(Supervisor):
    """One run of `command`, or of the already running `pids`, under strace.

    `trace_pipe`: (read, write) ends of `open_trace_pipe`; the pipeline's tracer reads it.
    `detach_on_exit`: let go of what the command left behind as soon as it has ended itself.
    `placement`: which CPUs all this runs on. `proc_limit`: what the command is put under.
    `keep_fds`: descriptors of ours to keep open; the command does not get them.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        signals: int,
        strace: Strace,
        trace_pipe: tuple[int, int],
        *,
        command: Command | None = None,
        pids: Sequence[int] = (),
        detach_on_exit: bool = False,
        placement: Placement = ANYWHERE,
        proc_limit: ProcLimit = UNLIMITED,
        keep_fds: Collection[int] = (),
    ) -> None:
        super().__init__(pipeline, signals)
        self.keep_fds = keep_fds
        self.placement = placement
        self.proc_limit = proc_limit
        self.strace = strace
        self.command = command
        self.pids = pids
        self.detach_on_exit = detach_on_exit
        self._trace_read, self._trace_write = trace_pipe
        self._target: int | None = None
        self._target_status: int | None = None
        self._stopped = False
        self._exec_errors = -1
        self._exec_errno: int | None = None
        self._strace_pid: int | None = None
        self._strace_status: int | None = None
        self._strace_stderr = -1
        self._guarded = False
        self._let_go = False
        self._ended = False
        self._job = Job(FORWARDED)
        self._before = children()

    def run(self) -> Outcome:
        set_child_subreaper()
        self.start()
        for stage in self.pipeline.stages:  # not sooner: they start on all CPUs at once
            move(stage.pid, self.placement.stages)
        try:
            with starting_on(self.placement.target):
                self._launch()
            self.watch()
        except BaseException as error:
            self.fail(str(error))
            self.wait_all()
            self._job.rejoin()
            raise
        self.wait_all()
        self._job.rejoin()
        return self.outcome()

    # -- starting

    def _launch(self) -> None:
        gate = -1
        roots = list(self.pids)
        if self.command is not None:
            self._target, gate, self._exec_errors = fork_gate(self.command)
            self.proc_limit.hold(self._target)
            roots = [self._target]
            self._job.leave(self.pipeline.stages[-1].pid)
        # Who is of the same user cannot read, ptrace or borrow descriptors from us (prctl(2)).
        # The child was forked before: strace may attach to it at any moment from here on.
        set_dumpable(False)
        self._release_descriptors(gate)
        self._start_strace(roots)
        if self.command is not None and self.command.user is not None:
            self._await_tracing(gate)  # by now it has become that user
        self.pipeline.set_root(roots[0])
        self._await_tracing(gate)
        self._guarded = bool(fcntl.fcntl(self._trace_write, fcntl.F_GETFL) & os.O_APPEND)
        self._guarded &= self.command is None or not self.detach_on_exit
        self._close_trace_pipe()
        go = {
            "target": roots[0],
            "strace": self._strace_pid,
            "guarded": self._guarded,
            "kill": self.command is not None,
        }
        self.pipeline.tell("tracer", go=go)
        if gate >= 0:
            os.write(gate, b"G")
            os.close(gate)

    def _release_descriptors(self, gate: int) -> None:
        """Let go of what the target was given, so that its pipes end when it closes them."""
        keep = {gate, self._exec_errors, self.signals, self._trace_read, self._trace_write}
        close_fds(keep | self.pipeline.own_fds() | set(self.keep_fds))
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)

    def _start_strace(self, roots: Sequence[int]) -> None:
        detachable = self.command is None or self.detach_on_exit
        output = f"/proc/self/fd/{STRACE_OUTPUT}"
        # A child that strace has not met yet when it lets go would die of EXITKILL.
        guard = f"{'' if detachable else 'k'}{STRACE_OUTPUT}"
        self._strace_stderr = os.memfd_create("strace-stderr")
        self._strace_pid = os.posix_spawn(
            self.strace.path,
            strace_argv(self.strace, output, roots, detachable=detachable),
            strace_env(os.environ, guard, f"/proc/self/fd/{STRACE_GUARD}"),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, self._strace_stderr, 2),
                (os.POSIX_SPAWN_DUP2, self._trace_write, STRACE_OUTPUT),
                (os.POSIX_SPAWN_OPEN, STRACE_GUARD, str(GUARD), os.O_RDONLY, 0),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT),
        )

    def _await_tracing(self, gate: int) -> None:
        """Return when strace is attached: for a gated target, when it has shown a call of it."""
        poller = select.poll()
        poller.register(self._trace_read, select.POLLIN)
        deadline_s = time.monotonic() + ATTACH_TIMEOUT_S
        while not self._is_tracing(gate, poller):
            self.reap()
            if self._strace_status is not None or time.monotonic() > deadline_s:
                raise TraceFailed(self._why_no_attach())
            if self._target_status is not None:
                raise TraceFailed(f"the target {describe(self._target_status)} before it ran")

    def _is_tracing(self, gate: int, poller: select.poll) -> bool:
        if gate >= 0:
            # Each knock is one read(2) of the target; a traced one makes a line.
            with suppress(BrokenPipeError):
                os.write(gate, b".")
            return bool(poller.poll(1))
        # A line proves it too: of a program that has ended since, there is nothing else.
        return bool(poller.poll(1)) or all(tracer_of(p) == self._strace_pid for p in self.pids)

    def _why_no_attach(self) -> str:
        text = self._strace_text()
        ended = [str(pid) for pid in self.pids if has_ended(pid)]
        if ended:
            return f"no such process: {' '.join(ended)}"
        if "Operation not permitted" in text:
            return (
                "ptrace is not permitted: in a container add --cap-add SYS_PTRACE; what is "
                "already traced cannot be traced again; another user's process needs root "
                f"(strace said: {text.splitlines()[-1]})"
            )
        return f"strace could not attach: {text or 'it said nothing'}"

    def _strace_text(self) -> str:
        """What strace has written to its own stderr so far (up to 64 KiB)."""
        return os.pread(self._strace_stderr, 1 << 16, 0).decode(errors="replace").strip()

    def _close_trace_pipe(self) -> None:
        """Our own ends: from here on the tracer stage reads and strace writes."""
        for fd in (self._trace_read, self._trace_write):
            if fd >= 0:
                os.close(fd)
        self._trace_read = self._trace_write = -1

    # -- watching

    def on_signal(self, signo: int, *, from_terminal: bool) -> None:
        if self.command is None:
            if signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self._detach()
            return
        if from_terminal and signo != signal.SIGHUP:
            return  # as session leader we are still in the group it went to
        self.reap()
        if from_terminal:
            self._hang_up()
            return
        # A shell's fg wakes us with the whole group: then the target goes on already.
        if (
            self._target is not None
            and self._target_status is None
            and (signo != signal.SIGCONT or self._stopped)
        ):
            os.kill(self._target, signo)

    def _hang_up(self) -> None:
        """Tell the job that its terminal is gone: the kernel tells the session leader alone, us."""
        who = self._target if self._target_status is None else None
        with suppress(ProcessLookupError):
            os.killpg(os.getpgid(who or 0), signal.SIGHUP)

    def _detach(self) -> None:
        """Make strace let go of all tracees; they run on untraced, as was asked for."""
        self._let_go = True
        if self._strace_pid is not None and self._strace_status is None:
            os.kill(self._strace_pid, signal.SIGTERM)

    def on_child(self, pid: int, status: int) -> None:
        if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
            if pid == self._target:
                self._stopped = os.WIFSTOPPED(status)
                if self._stopped and os.WSTOPSIG(status) in JOB_STOPS:
                    self._job.stop(os.WSTOPSIG(status), self.pipeline.stages[-1].pid)
        elif pid == self._target:
            self._target_status = status
            self._exec_errno = read_errno(self._exec_errors)
            if self.detach_on_exit:
                self._detach()
        elif pid == self._strace_pid:
            self._strace_status = status

    def on_change(self) -> None:
        """strace has ended: was that the end of the trace, or its death?"""
        if self._strace_status is None or self._ended or self.failure is not None:
            return
        died = os.waitstatus_to_exitcode(self._strace_status) != 0 and not self._let_go
        if not died and self.command is not None:
            # strace ends after its last tracee: ours is dead by now, unless it was let go of.
            self._wait_target()
            died = self._target_status is None
        if died:
            self._await_readers_death()
            if self.failure is None:
                said = self._strace_text()
                self.fail(f"strace {describe(self._strace_status)}{said and ': '}{said}")
            return
        self._ended = True
        self.pipeline.tell("tracer", ended=self.ended())

    def _await_readers_death(self) -> None:
        """When the guard ended strace, the tracer stage has died, or is about to: name that."""
        assert self._strace_status is not None
        deadline_s = time.monotonic() + 0.5
        while (
            os.waitstatus_to_exitcode(self._strace_status) == GUARD_EXIT
            and self.failure is None
            and time.monotonic() < deadline_s
        ):
            self.reap()
            self._check_stages()
            time.sleep(0.001)

    def _wait_target(self) -> None:
        deadline_s = time.monotonic() + 0.5
        while self._target_status is None and time.monotonic() < deadline_s:
            self.reap()
            time.sleep(0.001)

    def ended(self) -> dict[str, Any]:
        """What the supervisor adds to the log's `end` record."""
        return {"exit": self._exit(), "gaps": self._kill_strays()}

    def _exit(self) -> dict[str, Any] | None:
        """The target's exit as the log's `end` record has it."""
        if self._target_status is None:
            return None
        code = os.waitstatus_to_exitcode(self._target_status)
        return {"code": code} if code >= 0 else {"signal": signal_name(-code)}

    def _kill_strays(self) -> list[dict[str, Any]]:
        """End the descendants that outlived strace's last tracee, and say so: nobody saw them."""
        self.reap()
        strays = find_tree([os.getpid()], None, self._spared())
        if self._let_go or self.command is None or not strays:
            return []
        dead = self._kill_tree(None)
        why = "processes ran untraced (CLONE_UNTRACED) and were killed when the trace ended"
        why += "" if dead else ", but not all of them could be"
        return [{"count": len(strays), "why": why}]

    # -- ending

    def _kill_tree(self, strace: int | None) -> bool:
        return kill_tree(
            [os.getpid()], strace, self._spared(), guarded=self._guarded, reap=self.reap
        )

    def _spared(self) -> set[int]:
        """Ours, and what was our child before the run: `exec capsule` keeps a shell's jobs."""
        ours = {os.getpid(), *(stage.pid for stage in self.pipeline.stages), *self.others()}
        return ours | self._before

    def others(self) -> set[int]:
        alive = self._strace_pid is not None and self._strace_status is None
        return {self._strace_pid} if alive and self._strace_pid is not None else set()

    def stop_target(self) -> None:
        """Kill the target's tree; a program that was only attached to is let go of."""
        if self.command is None:
            self._detach()
        else:
            self._kill_tree(self._strace_pid)
        self._close_trace_pipe()

    def outcome(self) -> Outcome:
        outcome = replace(super().outcome(), exec_errno=self._exec_errno)
        if outcome.failure is not None and not outcome.report.get("continued"):
            return outcome
        if self._exec_errno is not None:
            return replace(outcome, status=127 if self._exec_errno == errno.ENOENT else 126)
        if self._target_status is None:
            return outcome
        status = shell_status(self._target_status)
        return replace(outcome, status=status, interrupted_by=self._interrupted_by())

    def _interrupted_by(self) -> int | None:
        """The keyboard's signal that the target died of, if the terminal is our job's."""
        assert self._target_status is not None
        signo = -os.waitstatus_to_exitcode(self._target_status)
        by_keys = signo in (signal.SIGINT, signal.SIGQUIT) and self._job.has_terminal()
        return signo if by_keys else None

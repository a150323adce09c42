"""A run of which only some system calls are traced, through strace's own seccomp filter.

The filter makes the other calls free of cost, but strace installs it only in a program that it
starts itself (not with -p). So here the child at the gate becomes `strace -DDD`, which forks
the tracer off and then becomes the target: it stays our child, and its terminal its own.

Two things are weaker than in a whole trace. `-D` fails open when strace cannot attach; the
same filter is therefore tried on a program of ours first, and a target that is not being
traced by then is killed. And strace before 6.2 sets no_new_privs: setuid programs run without
their privilege. When strace dies, what is left of the target gets ENOSYS from every traced
call until it is killed, a moment later.
"""

from __future__ import annotations

import errno
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from capsule._linux import set_dumpable
from capsule.errors import TraceFailed, UsageError
from capsule.gate import Command, fork_gate
from capsule.procstat import has_ended, tracer_of
from capsule.supervise import Outcome
from capsule.target import ATTACH_TIMEOUT_S, TracedRun
from capsule.tracer import Strace, filtered_argv

NO_NEW_PRIVS_BEFORE = (6, 2)


def check_filter(strace: Strace, syscalls: str) -> None:
    """Try the filter on /bin/true. Raises UsageError for an unknown call, else TraceFailed."""
    argv = filtered_argv(strace, os.devnull, syscalls, detached=False)
    done = subprocess.run(
        [*argv, "/bin/true"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    said = done.stderr.strip()
    if "invalid system call" in said:
        raise UsageError(f"--syscalls {syscalls}: {said.splitlines()[0].partition(': ')[2]}")
    if done.returncode != 0 or said:
        raise TraceFailed(
            "strace cannot filter system calls here; leave out --syscalls "
            f"(strace said: {said.splitlines()[-1] if said else 'nothing'})"
        )


class FilteredRun(TracedRun):
    """As TracedRun, for a command; `syscalls` is a name in SYSCALL_SETS (tracer.py), or a list."""

    def __init__(self, *args: Any, syscalls: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.syscalls = syscalls

    def _launch(self) -> None:
        assert self.command is not None
        # strace opens our end of the pipe through /proc, which needs us to be dumpable.
        set_dumpable(True)
        output = f"/proc/{os.getpid()}/fd/{self._trace_write}"
        wrapper = filtered_argv(self.strace, output, self.syscalls, detached=True)
        argv = [os.fsencode(word) for word in [*wrapper, "--"]] + _words(self.command)
        starter = replace(self.command, path=os.fsencode(self.strace.path), argv=argv, script=False)
        self._target, gate, self._exec_errors = fork_gate(starter)
        self._job.leave(self.pipeline.stages[-1].pid)
        self._release_descriptors(gate)
        self._strace_stderr = os.memfd_create("strace-stderr")
        self.pipeline.set_root(self._target)
        os.write(gate, b"G")
        os.close(gate)
        self._strace_pid = self._await_tracer(self._target)
        set_dumpable(False)
        self._close_trace_pipe()
        go = {"target": self._target, "strace": self._strace_pid, "guarded": False, "kill": True}
        self.pipeline.tell("tracer", go=go)

    def outcome(self) -> Outcome:
        """strace's execve of the target can fail too; then the log knows why."""
        outcome = super().outcome()
        name = (outcome.end.get("summary") or {}).get("root_exec_errno")
        code = getattr(errno, name or "", None)
        if code is None or outcome.failure is not None:
            return outcome
        status = 127 if code == errno.ENOENT else 126
        return replace(outcome, exec_errno=code, status=status)

    def _await_tracer(self, target: int) -> int:
        """The tracer's pid, once it has written something. Nothing is waited for (reaped) here."""
        poller = select.poll()
        poller.register(self._trace_read, select.POLLIN)
        deadline_s = time.monotonic() + ATTACH_TIMEOUT_S
        strace = 0
        while time.monotonic() < deadline_s:
            over = has_ended(target)
            strace = strace or tracer_of(target) or next(self._straces(target), 0)
            if strace and poller.poll(1):
                return strace
            if over:
                break
            time.sleep(0.001)
        raise TraceFailed("strace did not attach to the target, which was killed")

    def _straces(self, target: int) -> Iterator[int]:
        """Our children that are an strace in a session of its own: what -DDD has left us."""
        with suppress(OSError):
            for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                stat = Path(f"/proc/{child}/stat").read_text()
                name, _, rest = stat.partition("(")[2].rpartition(")")
                if name == "strace" and rest.split()[3] == child != str(target):
                    yield int(child)


def _words(command: Command) -> list[bytes]:
    """The command's argv; strace starts no script without `#!`, so that sh has to be named."""
    with suppress(OSError), open(command.path, "rb") as file:
        if command.script and file.read(2) != b"#!":
            return [b"/bin/sh", command.path, *command.argv[1:]]
    return command.argv

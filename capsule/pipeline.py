"""The processes that the topology runs in. The only file that starts stages.

Stages are forked, not spawned: the supervisor has one thread and no ZeroMQ context, each
stage makes its own, and five forks take 10 ms where five fresh interpreters take 225 ms.
"""

from __future__ import annotations

import gc
import itertools
import os
import select
import shutil
import signal
import socket
import tempfile
import traceback
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from capsule import wire
from capsule._linux import set_dumpable, set_name
from capsule.control import Control, control_pair
from capsule.endpoints import prepare_socket_path
from capsule.errors import CapsuleError, TraceFailed, UsageError
from capsule.procstat import signal_name
from capsule.topology import TOPOLOGY, Plan, StageSpec


@dataclass(slots=True)
class StageProcess:
    """The supervisor's view of one running stage."""

    spec: StageSpec
    pid: int
    control: Control
    ready: bool = False
    rooted: bool = False
    error: str | None = None


class Pipeline:
    """Five stage processes and the lines to them."""

    def __init__(self, plan: Plan, topology: Sequence[StageSpec] = TOPOLOGY) -> None:
        self.plan = plan
        self.topology = topology
        self.stages: list[StageProcess] = []
        self.end: dict[str, Any] | None = None
        self._stderr = os.memfd_create("capsule-stages")

    def start(self) -> None:
        """Fork every stage and return when all are joined. Raises TraceFailed with the reason."""
        private = _private_dir(self.plan.log_path.parent)
        try:
            self._fork_stages(private)
            self._await_joined()
        except OSError as error:
            self._give_up()
            raise TraceFailed(
                f"cannot start the stages: {error.strerror}; look at the limits "
                "of open files and processes (ulimit -n, ulimit -u)"
            ) from error
        except BaseException:
            self._give_up()
            raise
        finally:
            # Everybody is connected: without the socket files nobody else can be.
            shutil.rmtree(private, ignore_errors=True)

    def _fork_stages(self, private: str) -> None:
        pipes: list[tuple[int, int]] = []
        taps = _taps() if self.plan.publish is not None else {}
        try:
            # The last one's life is `done`: see wire.py.
            for _ in self.topology:
                pipes.append(os.pipe())
            done = pipes[-1][0]
            gc.freeze()
            gc.disable()  # until a stage has all it imports: Shell.join
            for index, spec in enumerate(self.topology):
                ours, theirs = control_pair()
                last = index == len(self.topology) - 1
                seat = wire.Seat(
                    index=index,
                    name=spec.name,
                    control=theirs,
                    done=done,
                    inlet=f"{private}/{index}" if index else None,
                    outlet=None if last else f"{private}/{index + 1}",
                    upstream_pid=self.stages[-1].pid if index else None,
                    before=pipes[index - 1][0] if index else -1,
                    after=-1 if last else pipes[index + 1][0],
                    tap=taps.get(spec.name),
                )
                pid = os.fork()
                if pid == 0:
                    keep = {done, seat.before, seat.after, theirs.fileno(), self._stderr}
                    keep |= {pipes[index][1]}
                    if self.plan.log_fd is not None and spec is self.topology[-1]:
                        keep.add(self.plan.log_fd)
                    keep |= {self.plan.source} if index == 0 else set()
                    keep |= {seat.tap.fileno()} if seat.tap is not None else set()
                    _stage_main(spec, seat, self.plan, keep, self._stderr)
                theirs.close()
                self.stages.append(StageProcess(spec, pid, ours))
        finally:
            gc.unfreeze()
            gc.enable()
            for fd in itertools.chain.from_iterable(pipes):
                os.close(fd)
            for tap in taps.values():
                tap.close()

    def _await_joined(self) -> None:
        """Return when every stage is joined. A stage that dies takes the others along."""
        poller = select.poll()
        waiting = {stage.control.fileno(): stage for stage in self.stages}
        for fd in waiting:
            poller.register(fd, select.POLLIN)
        while waiting:
            for fd, _ in poller.poll():
                stage = waiting[fd]
                if not self.listen(stage) or stage.error:
                    raise TraceFailed(self._why_not_joined())
                if stage.ready:
                    poller.unregister(fd)
                    del waiting[fd]

    def _why_not_joined(self) -> str:
        """End all and say why: what a stage said, or what killed it; the others only follow."""
        for stage in self.stages:
            stage.control.hang_up()
        for stage in self.stages:
            while self.listen(stage):
                pass
        died = ""
        for stage in self.stages:
            status = os.waitstatus_to_exitcode(os.waitpid(stage.pid, 0)[1])
            if status and not died:
                how = signal_name(-status) if status < 0 else f"exit status {status}"
                said = self.stderr_text().strip().splitlines()
                died = f"the {stage.spec.name} stage did not start ({how}){_after_colon(said[-1:])}"
                if "temporarily unavailable" in died:
                    died += "; allow more processes (ulimit -u)"
        errors = [stage.error for stage in self.stages if stage.error]
        self.stages = []
        return errors[0] if errors else died or "the stages did not start"

    def _give_up(self) -> None:
        """Nothing has run yet: end every stage at once."""
        for stage in self.stages:
            stage.control.close()
            os.kill(stage.pid, signal.SIGKILL)
            os.waitpid(stage.pid, 0)
        self.stages = []

    def listen(self, stage: StageProcess) -> bool:
        """Take in one message of `stage`, waiting for it; False when there will be none."""
        message = stage.control.receive()
        if message is None:
            return False
        stage.ready = stage.ready or bool(message.get("ready"))
        stage.rooted = stage.rooted or bool(message.get("rooted"))
        stage.error = message.get("error") or stage.error
        if "end" in message:
            self.end = message
        return True

    def tidy(self) -> None:
        """Remove the socket files of subscribers that a killed logger has left."""
        for endpoint in self.plan.publish.endpoints if self.plan.publish is not None else ():
            if endpoint.path is not None:
                with suppress(UsageError):  # another run is published there by now
                    prepare_socket_path(endpoint.path)

    def own_fds(self) -> set[int]:
        """The descriptors that must stay open here for the run's length."""
        return {self._stderr, *(stage.control.fileno() for stage in self.stages)}

    def set_root(self, pid: int) -> None:
        """Have the enricher look at the root process; the target may run when this returns."""
        stage = next(stage for stage in self.stages if stage.spec.name == "enricher")
        stage.control.send(root=pid)
        while not stage.rooted and self.listen(stage):
            pass
        if stage.error:
            raise TraceFailed(stage.error)

    def tell(self, name: str, **message: Any) -> None:
        next(stage for stage in self.stages if stage.spec.name == name).control.send(**message)

    def abort(self, why: str) -> None:
        """Make every stage pass on what it has and end the log without a seal."""
        for stage in self.stages:
            stage.control.send(abort=why)

    def stderr_text(self) -> str:
        """What the stages wrote to their stderr: nothing, unless one crashed."""
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, size, 0).decode(errors="replace")


def _after_colon(words: Sequence[str]) -> str:
    return "".join(f": {word}" for word in words)


def _taps() -> dict[str, socket.socket]:
    """What joins the parser and the logger of a published run, by the stage's name."""
    from capsule.tap import tap_pair

    return dict(zip(("parser", "logger"), tap_pair(), strict=True))


def _private_dir(fallback: Path) -> str:
    """A fresh 0700 directory whose socket paths fit into the 107 bytes that unix(7) allows."""
    for parent in (tempfile.gettempdir(), "/tmp", str(fallback)):
        if len(parent) > 80:
            continue
        try:
            return tempfile.mkdtemp(prefix="capsule-", dir=parent)
        except OSError:
            continue
    raise TraceFailed("no directory for the stages' sockets: set TMPDIR to a short, writable path")


def _stage_main(
    spec: StageSpec, seat: wire.Seat, plan: Plan, keep: Collection[int], stderr: int
) -> NoReturn:
    """The whole life of a stage's process."""
    status = 1
    try:
        os.dup2(stderr, 2)
        set_dumpable(False)
        close_fds({0, 1, *keep})
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)
        _leave_terminal()
        set_name(f"capsule-{spec.name}"[:15].encode())
        shell = wire.Shell(seat)
        try:
            spec.run(shell, plan)
            if seat.outlet is not None:
                shell.await_release()
        except wire.Released:
            pass
        if seat.outlet is None:
            shell.leave()
        # The others close nothing: the last stage has ended, and with them goes all they hold.
        status = 0
    except CapsuleError as error:
        seat.control.send(error=str(error))
    except BaseException as error:
        seat.control.send(error=f"the {spec.name} stage failed: {error!r}")
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _leave_terminal() -> None:
    """A process group of its own: the terminal's signals and job control pass the stage by."""
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signo, signal.SIG_IGN)


def close_fds(keep: Collection[int]) -> None:
    """Close every descriptor but 0, 1, 2 and `keep`."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in keep:
            with suppress(OSError):  # the listing's own descriptor is gone by now
                os.close(fd)

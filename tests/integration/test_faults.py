"""kill -9 of strace, of every stage and of the supervisor: nothing runs on untraced."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import RunCapsule

STAGES = ("tracer", "parser", "enricher", "aggregator", "logger")

# A tree of three: a shell, its child in another session, and an orphaned grandchild.
TREE = """
setsid sh -c 'while :; do echo . >/dev/null; done' &
(sh -c 'while :; do sleep 0.01; done' &)
echo up >{fifo}
while :; do cat /etc/hostname >/dev/null; done
"""


@contextmanager
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`capsule trace` of TREE once all of it is up, and the file its stderr goes to."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    stderr = tmp_path / "stderr"
    with stderr.open("wb") as file:
        traced = subprocess.Popen(
            [sys.executable, "-m", "capsule", "trace", "--", "sh", "-c", TREE.format(fifo=fifo)],
            stderr=file,
        )
    try:
        await_line(fifo, traced)
        yield traced, stderr
    finally:
        traced.kill()
        traced.wait()


def await_line(fifo: Path, writer: subprocess.Popen[bytes]) -> bytes:
    """The first line that comes through `fifo`; fails when `writer` has ended without one."""
    with open(os.open(fifo, os.O_RDWR), "rb", buffering=0) as file:
        while not select.select([file], [], [], 0.2)[0]:
            assert writer.poll() is None, f"ended with {writer.returncode}"
        return file.readline()


def stage_pid(supervisor: int, name: str) -> int:
    comm = f"capsule-{name}"[:15]
    [found] = [p.pid for p in psutil.Process(supervisor).children() if p.name() == comm]
    return found


def tracees(supervisor: int) -> list[psutil.Process]:
    """The target's tree: everything below the supervisor but strace and the stages."""
    below = psutil.Process(supervisor).children(recursive=True)
    return [p for p in below if not p.name().startswith("capsule-") and p.name() != "strace"]


def tracer_pid(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("TracerPid"))[10:])


def assert_dead_within_a_second(tree: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(tree, timeout=1.0)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def assert_incomplete(capsule: RunCapsule) -> None:
    done = capsule("verify")
    assert done.returncode == 3, done.stdout + done.stderr
    assert b"INCOMPLETE" in done.stdout + done.stderr


@pytest.mark.parametrize("name", STAGES)
def test_a_killed_stage_ends_the_target_and_is_named(
    name: str, capsule: RunCapsule, tmp_path: Path
) -> None:
    with running(tmp_path) as (traced, stderr):
        tree = tracees(traced.pid)
        assert len(tree) >= 3
        os.kill(stage_pid(traced.pid, name), signal.SIGKILL)
        assert_dead_within_a_second(tree)
        assert traced.wait(30) == 125
    assert f"the {name} stage was killed by SIGKILL" in stderr.read_text()
    assert_incomplete(capsule)


def test_a_killed_strace_ends_the_target_and_is_named(capsule: RunCapsule, tmp_path: Path) -> None:
    with running(tmp_path) as (traced, stderr):
        tree = tracees(traced.pid)
        os.kill(tracer_pid(tree[0].pid), signal.SIGKILL)
        assert_dead_within_a_second(tree)
        assert traced.wait(30) == 125
    assert "strace was killed by SIGKILL" in stderr.read_text()
    assert_incomplete(capsule)


def test_a_killed_supervisor_ends_the_target_and_every_stage(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    with running(tmp_path) as (traced, _):
        tree = tracees(traced.pid)
        everyone = psutil.Process(traced.pid).children(recursive=True)
        traced.kill()
        assert_dead_within_a_second(tree)
        assert traced.wait(30) == -signal.SIGKILL
        _, alive = psutil.wait_procs(everyone, timeout=10)
        assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    assert_incomplete(capsule)

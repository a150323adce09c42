"""Following what was running before, what is left running, and what is none of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import RunCapsule
from tests.logs import actions, end, read_log

PYTHON = sys.executable


def test_children_from_before_are_left_alone(tmp_path: Path, log_dir: Path) -> None:
    """`exec capsule` in a shell that has started something: that is none of the target."""
    told = tmp_path / "pid"
    for words in ("-- true", "-p $before"):
        script = (
            f"sleep 100 & echo $! >{told}; sleep 0.3 & before=$!; "
            f"exec {PYTHON} -m capsule trace -q {words}"
        )
        assert subprocess.run(["bash", "-c", script], timeout=30, check=False).returncode == 0
        assert not [r for r in read_log(log_dir) if r["type"] == "gap"]
        os.kill(int(told.read_text()), signal.SIGKILL)


def test_a_daemon_left_behind_is_followed_to_its_end(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    script = f"(setsid sh -c 'sleep 0.3; echo late >{mark}' >/dev/null 2>&1 &)"
    done = capsule("trace", "-q", "--", "sh", "-c", script)
    assert done.returncode == 0
    assert mark.read_text() == "late\n"
    assert any(a["target"] == str(mark) for a in actions(log_dir, "file."))


def test_detach_on_exit_leaves_the_daemon_running(log_dir: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"setsid sh -c 'read line <{fifo}; echo $line >{tmp_path}/told' >/dev/null 2>&1 &"
    command = [PYTHON, "-m", "capsule", "trace", "-q", "--detach-on-exit", "sh", "-c", script]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0
    assert end(log_dir)["complete"] is True
    fifo.write_text("go\n")


def test_attach_follows_a_running_program(log_dir: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = subprocess.Popen(["sh", "-c", f"read line <{fifo}; /bin/true $line; exit 5"])
    traced = subprocess.Popen([PYTHON, "-m", "capsule", "trace", "-q", "-p", str(running.pid)])
    while b"TracerPid:\t0\n" in Path(f"/proc/{running.pid}/status").read_bytes():
        assert traced.poll() is None
    fifo.write_text("go\n")
    assert running.wait(30) == 5
    assert traced.wait(30) == 0
    assert end(log_dir)["complete"] is True
    assert [a["argv"] for a in actions(log_dir, "proc.exec")] == [["/bin/true", "go"]]


def test_attach_lets_go_on_interrupt_and_the_program_lives(log_dir: Path) -> None:
    running = subprocess.Popen(["sleep", "100"])
    traced = subprocess.Popen([PYTHON, "-m", "capsule", "trace", "-q", "-p", str(running.pid)])
    while b"TracerPid:\t0\n" in Path(f"/proc/{running.pid}/status").read_bytes():
        assert traced.poll() is None
    # The log's first record is there before the tracer is told to read.
    traced.send_signal(signal.SIGINT)
    assert traced.wait(30) == 0
    assert running.poll() is None
    assert end(log_dir)["complete"] is True
    running.kill()
    running.wait()


def test_a_program_that_ends_as_soon_as_it_is_attached_to_is_traced(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    """Its tracer has ended too before anybody can look for it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = subprocess.Popen(["sh", "-c", f"read line <{fifo}"])
    # strace takes a moment to attach; the program ends in the middle of that.
    slow = tmp_path / "strace"
    slow.write_text(f'#!/bin/sh\n[ "$1" = -V ] || echo go >{fifo} &\nexec /usr/bin/strace "$@"\n')
    slow.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = capsule("trace", "-q", "-p", str(running.pid), env=env)
    running.wait(30)
    assert done.returncode in (0, 125)
    if done.returncode == 125:
        assert b"no such process" in done.stderr

"""A fork bomb under `--max-procs N` stays small, is wholly logged, and leaves no group behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from capsule.errors import TraceFailed
from capsule.proclimit import GroupLimit, UserLimit, limit_processes

BOMB = """
import errno, os, sys
failed = 0
for _ in range(7):          # 128 processes, were there room
    try:
        os.fork()
    except BlockingIOError:
        failed = 1
children = 0
while True:
    try:
        _, status = os.wait()
        failed |= os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        break
sys.exit(failed)            # 1 when any fork of any of them has failed
"""


def _capsule(*words):
    whole = [sys.executable, "-m", "capsule", *map(str, words)]
    return subprocess.run(whole, capture_output=True, text=True, check=False)


def _can_limit():
    try:
        limit = limit_processes(f"probe-{os.getpid()}", 5, user=os.getuid())
    except TraceFailed:
        return False
    limit.close()
    return True


needs_limit = pytest.mark.skipif(not _can_limit(), reason="root without a pids control group")


@needs_limit
def test_a_fork_bomb_is_held_and_its_log_is_complete(tmp_path):
    traced = _capsule("trace", "--log-dir", tmp_path, "--max-procs", 20, sys.executable, "-c", BOMB)
    assert traced.returncode == 1, traced.stderr
    assert "note: --max-procs is held by " in traced.stderr
    assert "EAGAIN" in traced.stderr
    verified = _capsule("verify", *(p for p in tmp_path.glob("*.jsonl") if not p.is_symlink()))
    assert verified.returncode == 0, verified.stdout
    assert not [p for p in Path("/sys/fs/cgroup").glob("**/capsule-2*") if p.is_dir()]


@needs_limit
def test_a_limit_with_room_changes_nothing(tmp_path):
    words = ("trace", "-q", "--log-dir", tmp_path, "--max-procs", 200)
    traced = _capsule(*words, sys.executable, "-c", BOMB)
    assert (traced.returncode, traced.stderr) == (0, "")


def test_the_user_limit_counts_from_the_processes_there_are():
    child = subprocess.Popen(["sleep", "60"])
    try:
        UserLimit(17).hold(child.pid)
        limits = Path(f"/proc/{child.pid}/limits").read_text()
    finally:
        child.kill()
        child.wait()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max processes"))
    assert line.split()[2:4] == ["17", "17"]


def test_a_directory_that_is_no_control_group_is_refused_and_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", lambda *_: (_ for _ in ()).throw(OSError()))
    with pytest.raises(OSError):
        GroupLimit(tmp_path, "run", 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-procs", "0", "true"], "argument --max-procs: invalid"),
        (["--max-procs", "3", "-p", "1"], "--max-procs goes with neither -p nor --syscalls"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(words, said):
    done = _capsule("trace", *words)
    assert done.returncode == 125
    assert said in done.stderr

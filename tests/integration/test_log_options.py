"""Where the log goes: a descriptor, many files, an anchor; and what it goes on from. Real runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunCapsule

MANY = "for n in 1 2 3 4 5 6 7 8; do ls -R /etc/apt /etc/init.d; sleep 0.01; done"


def test_log_fd_takes_the_log_and_the_target_cannot_see_it(
    tmp_path: Path, log_dir: Path, capsule: RunCapsule
) -> None:
    path = tmp_path / "elsewhere"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "capsule", "trace", "-q", "--log-fd", str(fd), "--",
             "readlink", f"/proc/self/fd/{fd}"],
            pass_fds=[fd], capture_output=True, check=False, timeout=60,
        )  # fmt: skip
    finally:
        os.close(fd)
    assert done.stdout == b""
    assert done.returncode == 1  # readlink found no such descriptor
    assert b"capsule" not in done.stderr
    assert not list(log_dir.glob("*.jsonl"))
    found = json.loads(capsule("verify", "--json", path).stdout)
    assert found["verdict"] == "intact"


def test_a_log_through_a_pipe_is_whole(capsule: RunCapsule) -> None:
    """As in `capsule trace --log-fd 9 … 9> >(ssh host 'cat > log')`."""
    read, write = os.pipe()
    verify = subprocess.Popen(
        [sys.executable, "-m", "capsule", "verify", "--json", "-"], stdin=read, stdout=-1
    )
    os.close(read)
    command = ["-m", "capsule", "trace", "-q", "--log-fd", str(write), "--", "true"]
    try:
        subprocess.run([sys.executable, *command], pass_fds=[write], check=True, timeout=60)
    finally:
        os.close(write)
    out, _ = verify.communicate(timeout=60)
    assert json.loads(out)["verdict"] == "intact"


def test_rotated_runs_verify_and_show_as_one(log_dir: Path, capsule: RunCapsule) -> None:
    assert capsule("trace", "-q", "--rotate-size", "64K", "--", "sh", "-c", MANY).returncode == 0
    files = list(log_dir.glob("*.jsonl"))
    assert len(files) > 2
    found = json.loads(capsule("verify", "--json").stdout)
    assert found["verdict"] == "intact"
    assert found["bytes"] == sum(path.stat().st_size for path in files)
    (entry,) = map(json.loads, capsule("runs", "--json").stdout.splitlines())
    assert entry["records"] == found["records"]
    seqs = [
        json.loads(line)["seq"]
        for line in capsule("tail", "--json", "--from", "0").stdout.splitlines()
    ]
    assert seqs == list(range(found["records"]))


def test_anchored_checkpoints_pin_the_run(
    tmp_path: Path, log_dir: Path, capsule: RunCapsule
) -> None:
    out = tmp_path / "anchored"
    done = capsule("trace", "-q", "--anchor-cmd", f"cat > {out}", "--", "sh", "-c", "true & ls /")
    assert done.returncode == 0
    kept = out.read_bytes().splitlines()
    assert json.loads(kept[-1])["type"] == "end"
    assert capsule("verify", "--anchors", out, "--require-pin", "-q").returncode == 0
    (log,) = log_dir.glob("*.jsonl")
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    assert capsule("verify").returncode == 3
    assert capsule("verify", "--anchors", out).returncode == 1


def test_an_anchor_that_fails_fails_the_run(capsule: RunCapsule) -> None:
    done = capsule("trace", "--anchor-cmd", "exit 3", "--", "sleep", "1000", timeout=60)
    assert done.returncode == 125
    assert b"the anchor command 'exit 3'" in done.stderr


def test_a_cut_run_is_resumed_in_a_new_log(log_dir: Path, capsule: RunCapsule) -> None:
    assert capsule("trace", "-q", "--", "true").returncode == 0
    (old,) = log_dir.glob("*.jsonl")
    torn = old.read_bytes()[:-50]
    old.write_bytes(torn)
    assert capsule("trace", "-q", "--resume", old.stem, "--", "true").returncode == 0
    start = json.loads(capsule("show", "latest", "0", "--json").stdout)
    assert start["resumes"]["run"] == old.stem
    assert start["resumes"]["bytes"] + start["resumes"]["torn_bytes"] == len(torn)
    assert old.read_bytes() == torn
    again = capsule("trace", "--resume", start["run"], "--", "true")
    assert again.returncode == 125
    assert b"is complete: there is nothing to resume" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--log-fd", "77"], "--log-fd 77: Bad file descriptor; open it as in"),
        (["--log-fd", "1"], "--log-fd 1: not a descriptor above 2"),
        (["--rotate-size", "x"], "--rotate-size x: give a size such as 64M"),
        (["--rotate-size", "0"], "give a size such as 64M"),
        (["--rotate-size", "1M", "--log-fd", "3"], "cannot rotate"),
        (["--resume", "nothing"], "no run nothing in"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_runs(
    tmp_path: Path, log_dir: Path, capsule: RunCapsule, words: list[str], said: str
) -> None:
    done = capsule("trace", *words, "--", "touch", tmp_path / "ran")
    assert done.returncode == 125
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "ran").exists()

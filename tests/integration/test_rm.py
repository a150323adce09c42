"""`capsule rm`: all files of a run, never one that still goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import RunCapsule


def runs_in(log_dir: Path) -> list[str]:
    return sorted(path.stem for path in log_dir.glob("*.jsonl"))


@pytest.fixture
def three(capsule: RunCapsule, log_dir: Path) -> list[str]:
    """Three runs, oldest first; the oldest is ten days old and kept its raw trace."""
    for words in (["--keep-raw"], [], []):
        capsule("trace", "-q", *words, "--", "true")
    names = runs_in(log_dir)
    ten_days_ago = time.time() - 10 * 86_400
    os.utime(log_dir / f"{names[0]}.jsonl", (ten_days_ago, ten_days_ago))
    return names


def test_a_run_goes_with_all_its_files(
    three: list[str], capsule: RunCapsule, log_dir: Path
) -> None:
    assert (log_dir / f"{three[0]}.raw.zst").exists()
    done = capsule("rm", three[0])
    assert (done.returncode, done.stdout.decode()) == (0, f"removed {three[0]}\n")
    assert runs_in(log_dir) == three[1:]
    assert not list(log_dir.glob("*.zst"))


def test_latest_then_leads_to_the_newest_that_is_left(
    three: list[str], capsule: RunCapsule, log_dir: Path
) -> None:
    capsule("rm", three[2])
    assert (log_dir / "latest").resolve().stem == three[1]
    capsule("rm", *three[:2])
    assert not (log_dir / "latest").is_symlink()


def test_keep_removes_what_is_older(three: list[str], capsule: RunCapsule, log_dir: Path) -> None:
    assert capsule("rm", "--keep", "30").stdout == b""
    assert capsule("rm", "-n", "--keep", "3").stdout.decode() == f"would remove {three[0]}\n"
    assert runs_in(log_dir) == three
    assert capsule("rm", "--keep", "3").stdout.decode() == f"removed {three[0]}\n"
    assert runs_in(log_dir) == three[1:]


def test_a_run_that_goes_on_is_kept(capsule: RunCapsule, log_dir: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "capsule", "trace", "-q", "--", "sh", "-c", f"read x <{fifo}"]
    traced = subprocess.Popen(command)
    with fifo.open("w"):
        [name] = runs_in(log_dir)
        done = capsule("rm", name)
        assert done.returncode == 2
        assert b"still goes on" in done.stderr
        assert capsule("rm", "--keep", "0").stdout == b""
    traced.wait(30)
    assert capsule("rm", name).returncode == 0


@pytest.mark.parametrize("words", [[], ["--keep", "1", "x"], ["--keep", "-1"], ["nosuchrun"]])
def test_what_cannot_be_meant_is_refused(words: list[str], capsule: RunCapsule) -> None:
    capsule("trace", "-q", "--", "true")
    done = capsule("rm", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"capsule: ")

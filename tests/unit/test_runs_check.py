"""capsule runs --check: the state of each run is what `capsule verify` finds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from capsule.cli import main
from tests.unit.chainlogs import make_log

Run = Callable[..., tuple[int, str, str]]
OLD, NEW = "20251124T160000Z-0123456789ab", "20251125T160000Z-0123456789ab"


@pytest.fixture
def capsule_main(log_dir: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*args: object) -> tuple[int, str, str]:
        status = main([str(arg) for arg in args])
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture
def logs(log_dir: Path) -> Path:
    make_log(log_dir / f"{OLD}.jsonl", run=OLD, rotate_bytes=3000)
    make_log(log_dir / f"{NEW}.jsonl", run=NEW)
    return log_dir


def test_runs_can_be_checked(capsule_main: Run, logs: Path) -> None:
    broken = logs / f"{NEW}.jsonl"
    broken.write_bytes(broken.read_bytes().replace(b'"pid":4242', b'"pid":4243', 1))
    status, out, _ = capsule_main("runs", "--check", "--json")
    states = {entry["run"]: entry["state"] for entry in map(json.loads, out.splitlines())}
    assert (status, states) == (0, {OLD: "intact", NEW: "TAMPERED"})


def test_a_run_that_was_cut_off_is_incomplete(capsule_main: Run, log_dir: Path) -> None:
    make_log(log_dir / f"{NEW}.jsonl", run=NEW, seal=False)
    _, out, _ = capsule_main("runs", "--check", "--json")
    assert json.loads(out)["state"] == "incomplete"

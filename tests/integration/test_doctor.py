"""`capsule doctor` on this very machine, and on one where something is missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import orjson

from tests.conftest import RunCapsule


def states(out: bytes) -> dict[str, str]:
    return {finding["name"]: finding["state"] for finding in orjson.loads(out)}


def test_a_machine_that_passes_these_tests_can_trace(capsule: RunCapsule) -> None:
    done = capsule("doctor", "--json")
    assert done.returncode == 0, done.stdout
    found = states(done.stdout)
    assert found["strace"] == found["ptrace"] == found["kernel"] == "ok"
    text = capsule("doctor")
    assert text.returncode == 0
    assert text.stdout.count(b"\n") >= len(found)


def test_without_strace_it_says_how_to_get_it(capsule: RunCapsule, tmp_path: Path) -> None:
    done = capsule("doctor", env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == 1
    assert b"apt-get install strace" in done.stdout


def test_under_a_tracer_it_says_that_ptrace_is_missing(capsule: RunCapsule) -> None:
    inner = [sys.executable, "-m", "capsule", "doctor", "--json"]
    done = capsule("trace", "-q", "--", *inner)
    assert done.returncode == 1
    assert states(done.stdout)["ptrace"] == "missing"

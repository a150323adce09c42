"""`capsule parse` as a user runs it, and the parser on what the strace of this machine prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from capsule.events import EventFlag, EventKind
from tests.conftest import RunCapsule
from tests.data.parse.record import SAMPLES, build, record
from tests.parsing import parse
from tests.reference import parse as reference

LOG = b'7 read(3, "a", 8) = 2\nhello\n7 +++ exited with 0 +++\n'


def test_parse_prints_a_file_as_json_lines(capsule: RunCapsule, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(LOG)
    done = capsule("parse", tmp_path / "text")
    assert done.returncode == 0
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == [
        "syscall", "unparsed", "exit",
    ]  # fmt: skip
    assert done.stderr.decode() == (
        f"capsule: {tmp_path}/text: 1 line is not understood and kept as unparsed\n"
    )


def test_parse_reads_standard_input(capsule: RunCapsule, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(LOG)
    assert capsule("parse", "-", input=LOG).stdout == capsule("parse", tmp_path / "text").stdout


def test_parse_of_an_empty_file_is_empty(capsule: RunCapsule) -> None:
    done = capsule("parse", "/dev/null")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file or directory"), (".", "Is a directory")]
)
def test_parse_says_what_it_cannot_read(
    capsule: RunCapsule, tmp_path: Path, name: str, reason: str
) -> None:
    done = capsule("parse", name, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.returncode == 2
    assert done.stderr.decode() == f"capsule: cannot read {name}: {reason}\n"


def test_parse_ends_quietly_when_its_reader_does(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(LOG * 100_000)
    with subprocess.Popen(
        [sys.executable, "-m", "capsule", "parse", tmp_path / "text"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as done:
        assert done.stdout is not None and done.stderr is not None
        assert json.loads(done.stdout.readline())["line"] == 1
        done.stdout.close()
        assert done.stderr.read() == b""


def test_a_live_trace_can_be_followed(tmp_path: Path) -> None:
    """Events come while strace runs: the tracee waits for us, and we for its call."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = subprocess.Popen(
        [sys.executable, "-m", "capsule", "parse", fifo], stdout=subprocess.PIPE
    )
    target = subprocess.Popen(
        ["strace", "-f", "-ttt", "-o", fifo, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert reader.stdout is not None and target.stdin is not None and target.stdout is not None
    target.stdin.write(b"mark")
    target.stdin.flush()
    assert target.stdout.read(4) == b"mark"
    # cat now blocks in read(0): what it did before is printed, and that it reads is known.
    for line in reader.stdout:
        event = json.loads(line)
        if event.get("name") == "write" and event["args"][1] == '"mark"':
            break
    else:
        pytest.fail("the write never came")
    assert target.poll() is None
    target.stdin.close()
    rest = [json.loads(line) for line in reader.stdout]
    assert rest[-1]["kind"] == "exit"
    assert (target.wait(), reader.wait()) == (0, 0)
    target.stdout.close()
    reader.stdout.close()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("programs")
    build(where)
    return where


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.root if name == "pid-namespace" else ())
        for name in SAMPLES
    ],
)
def test_what_strace_prints_here_is_understood(name: str, programs: Path, tmp_path: Path) -> None:
    record(name, programs, tmp_path / "text")
    log = (tmp_path / "text").read_bytes()
    assert log
    events = parse(log)
    assert events == reference(log)
    assert not [event.raw for event in events if event.kind is EventKind.UNPARSED]
    assert not [event for event in events if EventFlag.ORPHAN in event.flags]

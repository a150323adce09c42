"""What `capsule run` bounds besides calls and files: time, limits, descriptors, directories."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from capsule.enforce import _confine
from tests.conftest import RunCapsule
from tests.logs import end

pytestmark = pytest.mark.skipif(
    _confine.landlock_abi() < 6, reason="this kernel's Landlock is older than ABI 6"
)
HOW = pytest.mark.parametrize("how", [(), ("--no-trace",)])
PROGRAM = """
import os, resource, sys, time
what, *rest = sys.argv[1:]
if what == "wait":
    if os.fork() == 0:
        time.sleep(600)
    print(os.getpid(), flush=True)
    time.sleep(600)
elif what == "limit":
    print(resource.getrlimit(resource.RLIMIT_NOFILE))
elif what == "read":
    try:
        print(os.read(int(rest[0]), 4).decode())
    except OSError as error:
        print(error.errno)
elif what == "write":
    open(rest[0], "w").write("x")
"""


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    """The words of a program that does what its first argument says."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    return ["--", "/usr/bin/python3", "-I", str(file)]


def policy(capsule: RunCapsule, log_dir: Path, tmp_path: Path, words: list[str]) -> str:
    """A draft of one run of it."""
    assert capsule("trace", "-q", *words).returncode == 0
    file = str(tmp_path / "policy.json")
    logs = [str(path) for path in log_dir.glob("2*.jsonl")]
    assert capsule("profile", "-q", "-o", file, *logs).returncode == 0
    return file


def plus(file: str, *rules: str) -> None:
    """Allow what no run to draft from could show: it would not end. Rules as `kind what`."""
    held = json.loads(Path(file).read_text())
    held["rules"] += [
        dict(zip(("kind", "what"), rule.split(" ", 1), strict=True)) for rule in rules
    ]
    Path(file).write_text(json.dumps(held))


@HOW
def test_the_time_is_up_for_all_that_was_started(
    how: tuple[str, ...], capsule: RunCapsule, log_dir: Path, tmp_path: Path, program: list[str]
) -> None:
    file = policy(capsule, log_dir, tmp_path, [*program, "limit"])
    plus(file, "call clone", "argument clone 0", "call getpid", "call clock_nanosleep")
    done = capsule("run", "--policy", file, "--timeout", "2", *how, *program, "wait")
    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    # The fixture sees what outlives it.
    if not how:
        assert capsule("verify", "latest").returncode == 0
        assert end(log_dir)["exit"] == {"signal": "SIGKILL"}


@HOW
def test_limits_are_set(
    how: tuple[str, ...], capsule: RunCapsule, log_dir: Path, tmp_path: Path, program: list[str]
) -> None:
    file = policy(capsule, log_dir, tmp_path, [*program, "limit"])
    done = capsule(
        "run", "-q", "--policy", file, "--rlimit", "nofile=33:44", *how, *program, "limit"
    )
    assert (done.returncode, done.stdout) == (0, b"(33, 44)\n"), done.stderr


@pytest.mark.parametrize("wrong", ["nofile", "files=3", "nofile=many", "nofile=-1"])
def test_a_limit_that_is_none_is_refused(wrong: str, capsule: RunCapsule) -> None:
    done = capsule("run", "--policy", "none", "--rlimit", wrong, "--", "true")
    assert done.returncode == 125 and b"--rlimit" in done.stderr


@HOW
def test_descriptors_are_closed_unless_named(
    how: tuple[str, ...], capsule: RunCapsule, log_dir: Path, tmp_path: Path, program: list[str]
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("seen")
    with secret.open() as opened:
        fd = opened.fileno()
        words = [*program, "read", str(fd)]
        file = policy(capsule, log_dir, tmp_path, words)
        closed = capsule("run", "-q", "--policy", file, *how, *words, pass_fds=[fd])
        kept = capsule(
            "run", "-q", "--policy", file, "--keep-fd", str(fd), *how, *words, pass_fds=[fd]
        )
    assert closed.stdout == b"9\n", closed.stderr  # EBADF
    assert kept.stdout == b"seen\n", kept.stderr


@HOW
def test_a_closed_directory_is_opened_only_if_asked(  # noqa: PLR0917 - fixtures
    how: tuple[str, ...], capsule: RunCapsule, log_dir: Path, tmp_path: Path, program: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    new = home / "new"
    words = [*program, "write", str(new)]
    file = policy(capsule, log_dir, tmp_path, words)
    new.unlink()
    refused = capsule("run", "--policy", file, *how, *words)
    assert refused.returncode == 125 and not new.exists()
    assert f"--allow-wide {home}".encode() in refused.stderr
    done = capsule("run", "--policy", file, "--allow-wide", str(home), *how, *words)
    assert done.returncode == 0 and new.read_text() == "x", done.stderr
    assert f"wider than the policy, as Landlock holds directories: {home}".encode() in done.stderr
    new.unlink()
    new.write_text("old")  # what is there can be opened by itself
    assert capsule("run", "-q", "--policy", file, *how, *words).returncode == 0
    assert new.read_text() == "x"


def test_a_complaint_names_what_a_filter_would_deny(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path, program: list[str]
) -> None:
    file = policy(capsule, log_dir, tmp_path, [*program, "limit"])
    other = tmp_path / "program.py"
    other.write_text("import os\nfor _ in range(3): os.umask(18)\nos.kill(os.getpid(), 0)\n")
    summary = tmp_path / "summary.json"
    done = capsule("run", "--policy", file, "--complain", "--no-trace", "--summary", str(summary),
                   *program)  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(summary.read_text())["enforced"]
    assert ["call", "umask", 3] in told["complaints"] and ["call", "kill", 1] in told["complaints"]
    assert told["set"] is True and os.path.samefile(told["policy"]["path"], file)
    assert b"would be denied: call umask, 3 x: no call rule allows it" in done.stderr
    enforced = capsule("run", "--policy", file, "--no-trace", *program)
    assert b"os.umask(18)" in enforced.stderr and enforced.returncode == 1

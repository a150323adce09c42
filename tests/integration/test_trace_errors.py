"""What cannot be traced: one clear line, the right exit status, and nothing has run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunCapsule
from tests.logs import end

PYTHON = sys.executable


def test_a_command_that_is_not_there_is_127(capsule: RunCapsule, log_dir: Path) -> None:
    done = capsule("trace", "--", "no-such-command-here")
    assert done.returncode == 127
    assert done.stderr == b"capsule: no-such-command-here: command not found\n"
    assert not log_dir.exists() or not list(log_dir.iterdir())


def test_an_empty_name_is_127(capsule: RunCapsule) -> None:
    assert capsule("trace", "--", "").returncode == 127


def test_a_script_whose_interpreter_is_missing_says_so(capsule: RunCapsule, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    for words in ([], ["--syscalls", "security"]):
        done = capsule("trace", "-q", *words, "--", script)
        assert done.returncode == 127
        assert b"the interpreter that its first line names is missing" in done.stderr


def test_where_stderr_is_full_the_status_is_still_the_commands(capsule: RunCapsule) -> None:
    with open("/dev/full", "wb") as full:
        done = capsule("trace", "--", "sh", "-c", "exit 5", stdout=subprocess.PIPE, stderr=full)
    assert done.returncode == 5


def test_a_summary_that_cannot_be_written_stops_the_run_before_it_starts(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    done = capsule("trace", "--summary", "/no/such/file", "--", "touch", tmp_path / "ran")
    assert done.returncode == 125
    assert b"cannot write the summary to /no/such/file: No such file or directory" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("pid", ["0", "-1", "99999999999999999999"])
def test_a_pid_that_cannot_be_is_named(pid: str, capsule: RunCapsule) -> None:
    done = capsule("trace", f"--pid={pid}")
    assert done.returncode == 125
    assert f"no such process: {pid}".encode() in done.stderr


def test_a_file_that_is_not_executable_is_126(capsule: RunCapsule, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    done = capsule("trace", "--", plain)
    assert done.returncode == 126
    assert done.stderr == f"capsule: {plain}: cannot execute: Permission denied\n".encode()


def test_a_broken_executable_is_126_and_logged(
    capsule: RunCapsule, tmp_path: Path, log_dir: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF" + b"\0" * 60)
    broken.chmod(0o755)
    done = capsule("trace", "--", broken)
    assert done.returncode == 126
    assert b"cannot execute: Exec format error" in done.stderr
    assert end(log_dir)["complete"] is True


def test_usage_errors_are_125_so_that_they_are_not_the_commands(capsule: RunCapsule) -> None:
    for words in ([], ["--no-such-option", "true"], ["-p", "1", "true"], ["-p", "x"]):
        done = capsule("trace", *words)
        assert done.returncode == 125, words
        assert done.stderr.splitlines()[-1].startswith(b"capsule"), words


def test_attach_to_nobody_says_so(capsule: RunCapsule) -> None:
    done = capsule("trace", "-p", "4194304")
    assert done.returncode == 125
    assert b"no such process: 4194304" in done.stderr


def test_a_traced_capsule_cannot_trace_and_does_not_run_the_target(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    """strace inside strace fails; then the target must not run at all."""
    mark = tmp_path / "ran"
    inner = [PYTHON, "-m", "capsule", "trace", "--", "touch", str(mark)]
    done = capsule("trace", "-q", "--", *inner)
    assert done.returncode == 125
    assert b"ptrace is not permitted" in done.stderr
    assert not mark.exists()


def test_strace_missing_says_how_to_get_it(capsule: RunCapsule, tmp_path: Path) -> None:
    env = {**os.environ, "PATH": str(tmp_path)}
    done = capsule("trace", "--", "/bin/true", env=env)
    assert done.returncode == 125
    message = b"capsule: strace is not installed; install it with: apt-get install strace\n"
    assert done.stderr == message


def test_an_old_strace_is_refused(capsule: RunCapsule, tmp_path: Path) -> None:
    old = tmp_path / "strace"
    old.write_text("#!/bin/sh\necho 'strace -- version 4.26'\n")
    old.chmod(0o755)
    done = capsule("trace", "--", "/bin/true", env={**os.environ, "PATH": f"{tmp_path}:/bin"})
    assert done.returncode == 125
    assert b"is release 4.26; Capsule needs strace 5.10 or newer" in done.stderr


def test_a_log_directory_that_is_a_link_is_refused(capsule: RunCapsule, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(real)
    done = capsule("trace", "--log-dir", link, "--", "/bin/true")
    assert done.returncode == 125
    assert done.stderr.count(b"\n") == 1
    assert b"link" in done.stderr
    assert not list(real.iterdir())


def test_import_of_what_is_not_there_is_a_clear_error(capsule: RunCapsule, tmp_path: Path) -> None:
    done = capsule("import", tmp_path / "nothing")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"No such file or directory" in done.stderr

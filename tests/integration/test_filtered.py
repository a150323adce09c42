"""`--syscalls SET`: a partial, cheaper trace through strace's seccomp filter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from capsule.tracer import SYSCALL_SETS
from tests.conftest import RunCapsule
from tests.logs import actions, end, read_log


@pytest.mark.parametrize("name", SYSCALL_SETS)
def test_a_set_traces_and_leaves_the_target_unaltered(
    name: str, capsule: RunCapsule, log_dir: Path
) -> None:
    done = capsule("trace", "-q", "--syscalls", name, "--", "sh", "-c", "/bin/echo out; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"")
    assert read_log(log_dir)[0]["syscalls"] == name
    assert end(log_dir)["exit"] == {"code": 3}
    assert [a["argv"] for a in actions(log_dir, "proc.exec")] == [
        ["sh", "-c", "/bin/echo out; exit 3"],
        ["/bin/echo", "out"],
    ]


def test_security_shows_files_and_leaves_out_what_is_harmless(
    capsule: RunCapsule, log_dir: Path
) -> None:
    capsule("trace", "-q", "--syscalls", "security", "--", "cat", "/etc/hostname")
    kinds = {a["kind"] for a in actions(log_dir)}
    assert {"file.open", "file.read", "proc.exec", "proc.exit"} <= kinds
    assert not kinds & {"mem.brk", "time.sleep", "thread.setup"}


def test_a_list_of_calls_is_traced_beside_what_tells_processes_apart(
    capsule: RunCapsule, log_dir: Path
) -> None:
    done = capsule("trace", "-q", "--syscalls", "getcwd", "--", "sh", "-c", "cd /; exec /bin/pwd")
    assert done.stdout == b"/\n"
    assert {a["kind"].partition(".")[0] for a in actions(log_dir)} >= {"dir", "proc"}
    assert not actions(log_dir, "file.read")


def test_an_unknown_call_is_named(capsule: RunCapsule) -> None:
    done = capsule("trace", "--syscalls", "no_such_call", "--", "true")
    assert done.returncode == 125
    assert b"invalid system call 'no_such_call'" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("words", [["-p", "1"], ["--detach-on-exit", "true"]])
def test_what_a_filter_cannot_do_is_refused(words: list[str], capsule: RunCapsule) -> None:
    done = capsule("trace", "--syscalls", "security", *words)
    assert done.returncode == 125
    assert b"--syscalls goes with none of" in done.stderr


def test_where_strace_cannot_attach_the_target_does_not_run(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    """strace -D by itself would run it untraced."""
    mark = tmp_path / "ran"
    inner = [sys.executable, "-m", "capsule", "trace", "--syscalls", "file", "--", "touch", mark]
    done = capsule("trace", "-q", "--", *inner)
    assert done.returncode == 125
    assert b"strace cannot filter system calls here" in done.stderr
    assert not mark.exists()


def test_a_killed_strace_ends_the_target(log_dir: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"echo up >{fifo}; while :; do cat /etc/hostname >/dev/null; done"
    traced = subprocess.Popen(
        [sys.executable, "-m", "capsule", "trace", "-q", "--syscalls", "file", "sh", "-c", script],
        stderr=subprocess.PIPE,
    )
    assert fifo.read_text() == "up\n"
    below = psutil.Process(traced.pid).children(recursive=True)
    [strace] = [p for p in below if p.name() == "strace"]
    tree = [p for p in below if not p.name().startswith("capsule-") and p != strace]
    strace.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(tree, timeout=1.0)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    _, said = traced.communicate(timeout=30)
    assert traced.returncode == 125
    assert b"strace was killed by SIGKILL" in said


def test_a_script_without_shebang_runs_as_in_a_whole_trace(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text('echo "script $1"\n')
    script.chmod(0o755)
    done = capsule("trace", "-q", "--syscalls", "process", script, "one")
    assert (done.returncode, done.stdout) == (0, b"script one\n")

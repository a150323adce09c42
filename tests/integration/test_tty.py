"""On a terminal: job control, Ctrl-C and the window's size work as without Capsule."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import psutil
import pytest

from tests.logs import end

CAPSULE = f"{sys.executable} -m capsule"


@pytest.fixture
def shell() -> Iterator[pexpect.spawn]:
    """An interactive bash with a prompt that nothing else prints."""
    bash = pexpect.spawn("bash", ["--norc", "--noprofile", "-i"], timeout=30, dimensions=(24, 200))
    bash.setecho(False)
    bash.sendline("PS1='READY''> '; bind 'set enable-bracketed-paste off'; stty -echo")
    bash.expect_exact("READY> ")
    bash.expect_exact("READY> ") if bash.before == b"" else None
    yield bash
    bash.close(force=True)


def prompt(shell: pexpect.spawn) -> str:
    """What has been printed since, once the prompt is back."""
    shell.expect_exact("READY> ")
    return str(shell.before.decode())


def test_ctrl_c_ends_at_once_with_130_and_a_complete_log(
    shell: pexpect.spawn, log_dir: Path
) -> None:
    shell.sendline(f"{CAPSULE} trace -- sh -c 'echo up; exec sleep 100'")
    shell.expect_exact("up")
    shell.sendintr()
    assert "chain head" in prompt(shell)
    shell.sendline("echo rc=$?")
    assert "rc=130" in prompt(shell)
    assert end(log_dir)["exit"] == {"signal": "SIGINT"}


def test_a_target_that_handles_ctrl_c_goes_on(shell: pexpect.spawn, log_dir: Path) -> None:
    shell.sendline(
        f"""{CAPSULE} trace -q -- sh -c 'trap "echo caught; exit 9" INT; echo up; read x'"""
    )
    shell.expect_exact("up")
    shell.sendintr()
    shell.expect_exact("caught")
    prompt(shell)
    shell.sendline("echo rc=$?")
    assert "rc=9" in prompt(shell)


def test_ctrl_z_stops_the_job_and_fg_goes_on(shell: pexpect.spawn, log_dir: Path) -> None:
    shell.sendline(f"{CAPSULE} trace -q -- sh -c 'echo up; read x; echo got $x'")
    shell.expect_exact("up")
    shell.sendcontrol("z")
    assert "Stopped" in prompt(shell)
    [sh] = [p for p in psutil.Process(shell.pid).children(recursive=True) if p.name() == "sh"]
    assert sh.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    shell.sendline("fg")
    shell.expect_exact("got $x")
    shell.sendline("word")
    shell.expect_exact("got word")
    prompt(shell)
    assert end(log_dir)["exit"] == {"code": 0}


def test_kill_of_the_job_reaches_the_target_once(shell: pexpect.spawn, log_dir: Path) -> None:
    """`kill %1` goes to the whole process group: the target must not see it twice."""
    script = 'n=0; trap "n=\\$((n+1))" USR1; echo up; while [ $n -lt 1 ]; do sleep 0.1; done'
    script += "; sleep 0.5; echo times=$n"
    shell.sendline(f"{CAPSULE} trace -q -- sh -c '{script}' &")
    shell.expect_exact("up")
    shell.sendline("kill -USR1 %1; wait")
    shell.expect_exact("times=1")
    prompt(shell)


def test_the_terminal_is_the_targets(shell: pexpect.spawn, log_dir: Path) -> None:
    shell.sendline(f"{CAPSULE} trace -q -- sh -c 'tty -s; echo tty=$?; stty size'")
    out = prompt(shell)
    assert "tty=0" in out
    assert "24 200" in out


def test_a_resized_window_is_told_to_the_target(shell: pexpect.spawn, log_dir: Path) -> None:
    script = 'trap "stty size; exit" WINCH; echo up; while :; do sleep 0.05; done'
    shell.sendline(f"{CAPSULE} trace -q -- sh -c '{script}'")
    shell.expect_exact("up")
    shell.setwinsize(40, 100)
    shell.expect_exact("40 100")
    prompt(shell)


def test_ctrl_c_ends_the_script_around_it_too(
    shell: pexpect.spawn, log_dir: Path, tmp_path: Path
) -> None:
    """bash goes on when a child has only exited with 130: it has to die of the signal."""
    script = tmp_path / "script"
    script.write_text(f"{CAPSULE} trace -q -- sh -c 'echo up; exec sleep 100'\necho went on\n")
    shell.sendline(f"bash {script}")
    shell.expect_exact("up")
    shell.sendintr()
    assert "went on" not in prompt(shell)
    assert end(log_dir)["complete"] is True


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("echo up; exec sleep 100", {"signal": "SIGHUP"}),
        ("sleep 100 & echo up; wait", {"signal": "SIGHUP"}),
        ("(sleep 0.2; echo up; exec sleep 100) & exit 3", {"code": 3}),
    ],
)
def test_a_closed_terminal_ends_all_of_the_job_in_a_session_of_ours(
    script: str, ended: dict[str, object], log_dir: Path
) -> None:
    """As session leader, the hang-up comes to us alone; what the target started must not stay."""
    capsule = pexpect.spawn(
        sys.executable, ["-m", "capsule", "trace", "-q", "--", "sh", "-c", script], timeout=30
    )
    capsule.expect_exact("up")
    os.close(capsule.child_fd)
    _, status = os.waitpid(capsule.pid, 0)
    capsule.closed, capsule.child_fd = True, -1
    expected = 129 if "signal" in ended else 3
    assert os.waitstatus_to_exitcode(status) == expected
    assert end(log_dir)["exit"] == ended

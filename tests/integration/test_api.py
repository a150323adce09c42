"""Capsule from Python: real programs, traced and read back by `capsule.trace` and its kin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import capsule
from tests.conftest import RunCapsule


def test_a_run_is_told_in_typed_records(log_dir: Path) -> None:
    with capsule.trace(["sh", "-c", "cat /etc/hostname nosuch; exit 3"], stdout=-1, stderr=-1) as r:
        out, err = r.communicate()
    assert out == Path("/etc/hostname").read_bytes()
    assert err == b"cat: nosuch: No such file or directory\n"  # and nothing of ours
    assert r.returncode == 3
    execs = list(r.actions("proc.exec"))
    assert [Path(a.target or "").name for a in execs if not a.failed] == ["sh", "cat"]
    assert execs[0].details["argv"][0] == "sh"
    (missing,) = [a for a in r.actions("file.open") if (a.target or "").endswith("/nosuch")]
    assert missing.failed
    assert missing.errors == {"ENOENT": 1}
    assert [node.argv[0] for node in r.processes] == ["sh", "cat"]
    assert [node.end for node in r.processes] == ["exit 3", "exit 1"]
    assert r.summary().errors["ENOENT"] >= 1
    assert (r.complete, r.gaps, r.start["argv"][0]) == (True, [], "sh")


def test_actions_come_while_the_run_goes_on(log_dir: Path) -> None:
    """The program waits for what we send once we have seen it start."""
    with capsule.trace(["cat"], stdin=-1, stdout=-1, text=True) as run:
        assert run.stdin and run.stdout
        stream = run.actions("proc.exec")
        assert next(stream).details["argv"] == ["cat"]
        assert run.poll() is None
        assert run.returncode is None
        assert not run.complete
        run.stdin.write("seen\n")
        run.stdin.close()
        assert run.stdout.read() == "seen\n"
        assert list(stream) == []  # ends with the run
    assert run.returncode == 0


def test_read_gives_the_same_as_the_run_did(log_dir: Path) -> None:
    with capsule.trace(["true"]) as run:
        pass
    for name in (run.id, run.id[:18], "latest", run.log):
        again = capsule.read(name, log_dir=log_dir)
        assert (again.id, again.head, again.returncode) == (run.id, run.head, 0)
        assert list(again.actions()) == list(run.actions())
    assert sum(action.count for action in run.actions()) == run.summary().events


def test_a_changed_log_does_not_verify(log_dir: Path) -> None:
    """Once the run is over its writer's own head is the pin: a whole rewrite shows as well."""
    with capsule.trace(["true"]) as run:
        pass
    assert run.verify().verdict is capsule.Verdict.INTACT
    with capsule.trace(["true"]) as other:
        pass
    run.log.write_bytes(other.log.read_bytes())
    assert capsule.read(run.log).verify().verdict is capsule.Verdict.INTACT
    assert run.verify().verdict is capsule.Verdict.TAMPERED


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, 33, signal.SIGRTMIN + 3])
def test_a_signal_is_a_negative_returncode(log_dir: Path, number: int) -> None:
    with capsule.trace([sys.executable, "-c", f"import os; os.kill(os.getpid(), {number})"]) as run:
        pass
    assert run.returncode == -number


@pytest.mark.parametrize(
    "argv, options, said",
    [
        (["nosuch"], [], "^nosuch: command not found$"),
        (["/etc/passwd"], [], "^/etc/passwd: cannot execute: Permission denied$"),
        (["true"], ["--syscalls", "nosuch"], "--syscalls nosuch: "),
        (["true"], ["--nosuch"], "did not get to its end .exit status 125."),
        ([], [], "as a list"),
        ("true", [], "as a list"),
    ],
)
def test_what_cannot_run_is_an_error_of_one_line(
    log_dir: Path, argv: list[str], options: list[str], said: str
) -> None:
    with pytest.raises(capsule.CapsuleError, match=said):
        capsule.trace(argv, options=options)


def test_a_log_that_goes_elsewhere_is_an_error(log_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(capsule.CapsuleError, match="log directory"):
        capsule.trace(["true"], log_dir=tmp_path / "none" / "none")
    with pytest.raises(capsule.CapsuleError, match="no run"):
        capsule.read(log_dir=tmp_path)


def test_a_program_ends_when_the_block_raises(log_dir: Path) -> None:
    with pytest.raises(LookupError), capsule.trace(["sleep", "100"]) as run:
        raise LookupError
    assert run.returncode == -signal.SIGTERM
    assert run.verify().verdict is capsule.Verdict.INTACT


def test_a_program_that_will_not_end_is_killed(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capsule.api.traced.GRACE_S", 0.2)
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    with pytest.raises(LookupError), capsule.trace(["sh", "-c", script], stdout=-1) as run:
        assert run.stdout and run.stdout.readline() == b"ready\n"
        root = next(run.actions("proc.exec")).pid
        raise LookupError
    assert root is not None
    psutil.wait_procs([p for p in psutil.process_iter() if p.pid == root], timeout=10)
    assert not psutil.pid_exists(root)
    assert run.verify().verdict is capsule.Verdict.INCOMPLETE


def test_a_trace_that_dies_is_an_error(log_dir: Path) -> None:
    with (
        pytest.raises(capsule.CapsuleError, match=r"killed by signal 9.*what it saw is in"),
        capsule.trace(["sleep", "100"]) as run,
    ):
        next(run.actions("proc.exec"))
        os.kill(run.pid, signal.SIGKILL)


def test_wait_can_give_up_and_the_run_goes_on(log_dir: Path) -> None:
    with capsule.trace(["cat"], stdin=-1) as run:
        with pytest.raises(capsule.CapsuleError, match=r"not over after 0\.01 s"):
            run.wait(0.01)
        assert run.poll() is None
    assert run.returncode == 0  # the block's end closed its stdin


def test_the_program_has_its_own_environment(log_dir: Path, tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "PYTHONHOME": "/nonexistent", "ONLY": "this"}
    with capsule.trace(["env"], env=env, cwd=tmp_path, stdout=-1, text=True) as run:
        out, _ = run.communicate()
    assert sorted(out.split()) == sorted(f"{key}={value}" for key, value in env.items())
    assert run.start["cwd"] == str(tmp_path)


def test_attach_sees_what_this_process_does(log_dir: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with capsule.attach(os.getpid()) as run:
        mark.write_text("seen")
        subprocess.run(["/bin/true"], check=True)
    (tmp_path / "later").write_text("not seen")
    made = [a.target for a in run.actions("file.create")]
    assert made == [str(mark)]
    assert [a.target for a in run.actions("proc.exec") if a.pid != os.getpid()] == ["/bin/true"]
    assert run.verify().verdict is capsule.Verdict.INTACT
    assert run.returncode is None


def test_attach_to_nobody_is_an_error(log_dir: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(capsule.CapsuleError, match=f"no such process: {gone.pid}"):
        capsule.attach(gone.pid)


def test_status_fd_tells_a_program_what_stderr_would_tell_a_person(
    log_dir: Path, tmp_path: Path, capsule: RunCapsule
) -> None:
    import json

    status = tmp_path / "status"
    with status.open("w") as file:
        words = ["--status-fd", str(file.fileno()), "--", "sh", "-c", "ls /proc/self/fd; exit 4"]
        done = capsule("trace", *words, pass_fds=[file.fileno()])
    assert (done.returncode, done.stderr) == (4, b"")
    assert str(file.name) and done.stdout.split() == [b"0", b"1", b"2", b"3"]
    told = [json.loads(line) for line in status.read_text().splitlines()]
    assert Path(told[0]["log"]).resolve() == (log_dir / "latest").resolve()
    assert any("chain head" in line["message"] for line in told[1:-1])
    assert told[-1]["summary"]["exit"] == {"code": 4}


def test_status_fd_that_is_not_open_is_an_error(log_dir: Path, capsule: RunCapsule) -> None:
    done = capsule("trace", "--status-fd", "9", "--", "true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"capsule: --status-fd 9: Bad file descriptor; open it as in ")

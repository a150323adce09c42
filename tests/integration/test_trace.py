"""`capsule trace CMD…`: the target is unaltered, and its log is complete."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.conftest import RunCapsule
from tests.logs import actions, end, read_log

PYTHON = sys.executable


def test_output_and_exit_status_are_the_targets_own(capsule: RunCapsule, log_dir: Path) -> None:
    done = capsule("trace", "-q", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert end(log_dir)["exit"] == {"code": 3}


def test_stdin_reaches_the_target(capsule: RunCapsule) -> None:
    data = os.urandom(300_000)
    done = capsule("trace", "-q", "cat", input=data)
    assert done.stdout == data


@pytest.mark.parametrize("number", [34, 40, 64])
def test_a_real_time_signal_is_a_death_as_any(
    number: int, capsule: RunCapsule, log_dir: Path
) -> None:
    done = capsule("trace", "-q", "--", PYTHON, "-c", f"import os; os.kill(os.getpid(), {number})")
    assert done.returncode == 128 + number
    assert end(log_dir)["exit"]["signal"].startswith("SIGRTM")


@pytest.mark.parametrize("name", ["KILL", "TERM", "INT", "USR1", "SEGV", "HUP"])
def test_a_signal_death_is_128_plus_n(name: str, capsule: RunCapsule, log_dir: Path) -> None:
    done = capsule("trace", "-q", "--", "sh", "-c", f"kill -{name} $$")
    assert done.returncode == 128 + getattr(signal, f"SIG{name}")
    assert end(log_dir)["exit"] == {"signal": f"SIG{name}"}


def test_options_after_the_command_are_the_commands(capsule: RunCapsule) -> None:
    done = capsule("trace", "-q", "printf", "%s\n", "-q", "--", "--summary")
    assert done.stdout == b"-q\n--\n--summary\n"


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


def test_children_from_before_are_left_alone(tmp_path: Path, log_dir: Path) -> None:
    """`exec capsule` in a shell that has started something: that is none of the target."""
    told = tmp_path / "pid"
    for words in ("-- true", "-p $before"):
        script = (
            f"sleep 100 & echo $! >{told}; sleep 0.3 & before=$!; "
            f"exec {PYTHON} -m capsule trace -q {words}"
        )
        assert subprocess.run(["bash", "-c", script], timeout=30, check=False).returncode == 0
        assert not [r for r in read_log(log_dir) if r["type"] == "gap"]
        os.kill(int(told.read_text()), signal.SIGKILL)


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


def test_a_script_without_shebang_runs_in_sh_as_execvp_does(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text('echo "script $1"\n')
    script.chmod(0o755)
    assert capsule("trace", "-q", script, "one").stdout == b"script one\n"


def test_usage_errors_are_125_so_that_they_are_not_the_commands(capsule: RunCapsule) -> None:
    for words in ([], ["--no-such-option", "true"], ["-p", "1", "true"], ["-p", "x"]):
        done = capsule("trace", *words)
        assert done.returncode == 125, words
        assert done.stderr.splitlines()[-1].startswith(b"capsule"), words


SURROUNDINGS = """
import json, os, resource, signal, sys
print(json.dumps({
    "environ": sorted(os.environb.items()), "cwd": os.getcwd(), "umask": os.umask(0),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "nice": os.nice(0),
    "fds": sorted((fd, os.readlink(f"/proc/self/fd/{fd}")) for fd in range(3, 40)
                  if os.path.exists(f"/proc/self/fd/{fd}")),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "ignored": [s for s in range(1, 65) if s not in (13, 25, 32, 33)
                and signal.getsignal(s) == signal.SIG_IGN],
    "pgid": os.getpgrp(), "sid": os.getsid(0), "argv": sys.argv,
    "affinity": sorted(os.sched_getaffinity(0)),
}, default=lambda b: b.decode("latin-1")))
"""


def test_the_target_sees_the_surroundings_it_would_see_alone(tmp_path: Path) -> None:
    """Environment (odd bytes too), cwd, umask, limits, descriptors, signals, process group."""
    handed = os.open(tmp_path, os.O_RDONLY)
    env = {**os.environb, b"ODD": b"\xff\xfe = x", b"LC_ALL": b"C"}
    env[b"CAPSULE_LOG_DIR"] = os.fsencode(tmp_path / "log")

    def seen(prefix: list[str]) -> object:
        def prepare() -> None:
            os.setpgid(0, 0)
            os.umask(0o037)
            resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})

        done = subprocess.run(
            [*prefix, PYTHON, "-I", "-c", SURROUNDINGS, "a b", ""],
            cwd=tmp_path,
            env=env,
            pass_fds=[handed],
            preexec_fn=prepare,
            capture_output=True,
            check=True,
            timeout=60,
        )
        facts = orjson.loads(done.stdout)
        facts["in_own_group"] = facts.pop("pgid") != os.getpgrp()
        return facts

    try:
        repo = Path(__file__).resolve().parents[2]
        env[b"PYTHONPATH"] = os.fsencode(repo)
        assert seen([PYTHON, "-m", "capsule", "trace", "-q", "--"]) == seen([])
    finally:
        os.close(handed)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_descriptors_that_come_closed_are_closed_in_the_target(
    closed: str, tmp_path: Path, log_dir: Path
) -> None:
    """And nothing of ours takes their place."""
    shows = "import os; print(os.listdir('/proc/self/fd'), file=open('{}', 'w'))"

    def seen(prefix: str, name: str) -> str:
        program = shows.format(tmp_path / name)
        subprocess.run(f'{prefix} {PYTHON} -I -S -c "{program}" {closed}', shell=True, check=True)
        return (tmp_path / name).read_text()

    assert seen(f"{PYTHON} -m capsule trace -q --", "traced") == seen("", "alone")
    assert end(log_dir)["complete"] is True


def test_a_reader_sees_the_end_when_the_target_closes_its_output(log_dir: Path) -> None:
    """Nothing of ours may hold the target's stdout open."""
    waits = "exec >&-; read line"
    traced = subprocess.Popen(
        [PYTHON, "-m", "capsule", "trace", "-q", "--", "sh", "-c", waits],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert traced.stdout is not None and traced.stdin is not None
    assert traced.stdout.read() == b""
    assert traced.poll() is None
    traced.stdin.close()
    assert traced.wait(30) == 1
    traced.stdout.close()


def test_a_signal_sent_to_capsule_reaches_the_target(log_dir: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"trap 'echo got TERM; exit 7' TERM; echo ready >{fifo}; while :; do sleep 1; done"
    traced = subprocess.Popen(
        [PYTHON, "-m", "capsule", "trace", "-q", "--", "sh", "-c", script], stdout=subprocess.PIPE
    )
    assert fifo.read_text() == "ready\n"
    traced.terminate()
    out, _ = traced.communicate(timeout=30)
    assert (traced.returncode, out) == (7, b"got TERM\n")
    assert end(log_dir)["complete"] is True


def test_a_daemon_left_behind_is_followed_to_its_end(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    script = f"(setsid sh -c 'sleep 0.3; echo late >{mark}' >/dev/null 2>&1 &)"
    done = capsule("trace", "-q", "--", "sh", "-c", script)
    assert done.returncode == 0
    assert mark.read_text() == "late\n"
    assert any(a["target"] == str(mark) for a in actions(log_dir, "file."))


def test_detach_on_exit_leaves_the_daemon_running(log_dir: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"setsid sh -c 'read line <{fifo}; echo $line >{tmp_path}/told' >/dev/null 2>&1 &"
    command = [PYTHON, "-m", "capsule", "trace", "-q", "--detach-on-exit", "sh", "-c", script]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0
    assert end(log_dir)["complete"] is True
    fifo.write_text("go\n")


def test_attach_follows_a_running_program(log_dir: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = subprocess.Popen(["sh", "-c", f"read line <{fifo}; /bin/true $line; exit 5"])
    traced = subprocess.Popen([PYTHON, "-m", "capsule", "trace", "-q", "-p", str(running.pid)])
    while b"TracerPid:\t0\n" in Path(f"/proc/{running.pid}/status").read_bytes():
        assert traced.poll() is None
    fifo.write_text("go\n")
    assert running.wait(30) == 5
    assert traced.wait(30) == 0
    assert end(log_dir)["complete"] is True
    assert [a["argv"] for a in actions(log_dir, "proc.exec")] == [["/bin/true", "go"]]


def test_attach_lets_go_on_interrupt_and_the_program_lives(log_dir: Path) -> None:
    running = subprocess.Popen(["sleep", "100"])
    traced = subprocess.Popen([PYTHON, "-m", "capsule", "trace", "-q", "-p", str(running.pid)])
    while b"TracerPid:\t0\n" in Path(f"/proc/{running.pid}/status").read_bytes():
        assert traced.poll() is None
    # The log's first record is there before the tracer is told to read.
    traced.send_signal(signal.SIGINT)
    assert traced.wait(30) == 0
    assert running.poll() is None
    assert end(log_dir)["complete"] is True
    running.kill()
    running.wait()


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


def test_the_summary_is_for_people_and_as_json_for_machines(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    script = f"cat /no/such/file; echo x >{tmp_path}/written; exit 0"
    summary = tmp_path / "summary.json"
    done = capsule("trace", "--summary", summary, "--", "sh", "-c", script)
    facts = orjson.loads(summary.read_bytes())
    seal = end(log_dir)
    assert facts["head"] == seal["hash"]
    assert facts["complete"] is True
    assert facts["processes"] == 2
    assert facts["errors"]["ENOENT"] >= 1
    assert str(tmp_path / "written") in facts["files_written"]["paths"]
    text = done.stderr.decode()
    assert "2 processes" in text
    assert seal["hash"] in text
    assert f"public key: {facts['public_key']}" in text
    assert str(log_dir) in text


def test_counters_reconcile_in_the_end_record(capsule: RunCapsule, log_dir: Path) -> None:
    capsule("trace", "-q", "--", "sh", "-c", "ls / | sort | head -3")
    seal = end(log_dir)
    stages = seal["stages"]
    assert list(stages) == ["tracer", "parser", "enricher", "aggregator", "logger"]
    assert stages["parser"]["events"] == sum(a["count"] for a in actions(log_dir))
    assert stages["aggregator"]["actions_out"] == len(actions(log_dir))
    assert stages["parser"]["unparsed"] == 0


def test_the_launch_gate_leaves_no_trace(capsule: RunCapsule, log_dir: Path) -> None:
    capsule("trace", "-q", "/bin/true")
    first = actions(log_dir)[0]
    assert (first["kind"], first["target"]) == ("proc.exec", "/bin/true")
    assert first["lines"][0] == 1


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


def test_import_twice_gives_the_same_actions(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-ttt", "-y", "-s", "1024", "-o", trace, "sh", "-c", "ls / | sort"],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    volatile = ("prev", "hash", "seq")

    def once(*args: str, **kwargs: bytes) -> list[dict[str, object]]:
        assert capsule("import", "-q", *args, **kwargs).returncode == 0
        assert end(log_dir)["complete"] is True
        return [{k: v for k, v in a.items() if k not in volatile} for a in actions(log_dir)]

    first = once(str(trace))
    assert first == once(str(trace))
    assert first == once("-", input=trace.read_bytes())
    assert first


def test_import_of_what_is_not_there_is_a_clear_error(capsule: RunCapsule, tmp_path: Path) -> None:
    done = capsule("import", tmp_path / "nothing")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"No such file or directory" in done.stderr


def test_a_program_that_ends_as_soon_as_it_is_attached_to_is_traced(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    """Its tracer has ended too before anybody can look for it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = subprocess.Popen(["sh", "-c", f"read line <{fifo}"])
    # strace takes a moment to attach; the program ends in the middle of that.
    slow = tmp_path / "strace"
    slow.write_text(f'#!/bin/sh\n[ "$1" = -V ] || echo go >{fifo} &\nexec /usr/bin/strace "$@"\n')
    slow.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = capsule("trace", "-q", "-p", str(running.pid), env=env)
    running.wait(30)
    assert done.returncode in (0, 125)
    if done.returncode == 125:
        assert b"no such process" in done.stderr

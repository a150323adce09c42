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
from tests.logs import actions, end

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


def test_a_script_without_shebang_runs_in_sh_as_execvp_does(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text('echo "script $1"\n')
    script.chmod(0o755)
    assert capsule("trace", "-q", script, "one").stdout == b"script one\n"


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

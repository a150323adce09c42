"""Everything that can die, stop, fill up or be missing: nothing runs on untraced, nothing is lost.

What the target does is bounded by a user of its own (RLIMIT_NPROC) where it forks without end.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import RunCapsule
from tests.hostile import (
    PRIVATE_UID,
    STAGES,
    Unprivileged,
    await_line,
    living,
    of_user,
    program,
    stage_pid,
    tracees,
    unprivileged,
)
from tests.logs import end, read_log

__all__ = ["program", "unprivileged"]
ALL = ("supervisor", "strace", *STAGES)

# A tree of three: a shell, its child in another session, and an orphaned grandchild.
TREE = """
setsid sh -c 'while :; do echo . >/dev/null; done' &
(sh -c 'while :; do sleep 0.01; done' &)
echo up >{fifo}
while :; do cat /etc/hostname >/dev/null; done
"""


@contextmanager
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`capsule trace` of TREE once all of it is up, and the file its stderr goes to."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    stderr = tmp_path / "stderr"
    with stderr.open("wb") as file:
        traced = subprocess.Popen(
            [sys.executable, "-m", "capsule", "trace", "--", "sh", "-c", TREE.format(fifo=fifo)],
            stderr=file,
        )
    try:
        await_line(fifo, traced)
        yield traced, stderr
    finally:
        traced.kill()
        traced.wait()


def tracer_pid(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("TracerPid"))[10:])


def assert_dead_within_a_second(tree: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(tree, timeout=1.0)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def assert_incomplete(capsule: RunCapsule) -> None:
    done = capsule("verify")
    assert done.returncode == 3, done.stdout + done.stderr
    assert b"INCOMPLETE" in done.stdout + done.stderr


@pytest.mark.parametrize("name", STAGES)
def test_a_killed_stage_ends_the_target_and_is_named(
    name: str, capsule: RunCapsule, tmp_path: Path
) -> None:
    with running(tmp_path) as (traced, stderr):
        tree = tracees(traced.pid)
        assert len(tree) >= 3
        os.kill(stage_pid(traced.pid, name), signal.SIGKILL)
        assert_dead_within_a_second(tree)
        assert traced.wait(30) == 125
    assert f"the {name} stage was killed by SIGKILL" in stderr.read_text()
    assert_incomplete(capsule)


def test_a_killed_strace_ends_the_target_and_is_named(capsule: RunCapsule, tmp_path: Path) -> None:
    with running(tmp_path) as (traced, stderr):
        tree = tracees(traced.pid)
        os.kill(tracer_pid(tree[0].pid), signal.SIGKILL)
        assert_dead_within_a_second(tree)
        assert traced.wait(30) == 125
    assert "strace was killed by SIGKILL" in stderr.read_text()
    assert_incomplete(capsule)


def test_a_killed_supervisor_ends_the_target_and_every_stage(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    with running(tmp_path) as (traced, _):
        tree = tracees(traced.pid)
        everyone = psutil.Process(traced.pid).children(recursive=True)
        traced.kill()
        assert_dead_within_a_second(tree)
        assert traced.wait(30) == -signal.SIGKILL
        _, alive = psutil.wait_procs(everyone, timeout=10)
        assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    assert_incomplete(capsule)


# -- killed at random times, under a storm

STORM = """
i=0
while :; do
  /bin/true & /bin/true; /bin/true & wait; i=$((i+1)); echo $i
done
"""


def acknowledged(log: Path) -> tuple[bytes, int]:
    """What the log holds up to its last checkpoint, and that checkpoint's number."""
    data = log.read_bytes()
    at = data.rfind(b',"type":"checkpoint",')
    if at < 0:
        return b"", -1
    data = data[: data.find(b"\n", at) + 1]
    return data, int(data[data.rfind(b'{"seq":') + 7 :].split(b",", 1)[0])


def kill_in_a_storm(name: str, seed: int, capsule: RunCapsule, log_dir: Path) -> None:
    """Kill `name` after 1 to 12 turns of the storm and some microseconds."""
    chance = random.Random(seed)
    words = [sys.executable, "-m", "capsule", "trace", "-q", "--", "sh", "-c", STORM]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as traced:
        assert traced.stdout is not None
        assert traced.stderr is not None
        for _ in range(chance.randint(1, 12)):
            assert traced.stdout.readline()
        until_ns = time.monotonic_ns() + chance.randint(0, 20_000_000)
        while time.monotonic_ns() < until_ns:
            pass
        everyone = psutil.Process(traced.pid).children(recursive=True)
        log = (log_dir / "latest").resolve()
        kept, seq = acknowledged(log)
        os.kill(stage_pid(traced.pid, name), signal.SIGKILL)
        # The storm holds the pipe's other end: its end of file is the death of the last of it.
        traced.stdout.read()
        said = traced.stderr.read().decode()
    _, left = psutil.wait_procs(everyone, timeout=10)
    assert not living(left), f"seed {seed}"
    if name == "supervisor":
        assert traced.returncode == -signal.SIGKILL
    else:
        assert traced.returncode == 125, f"seed {seed}: {said}"
        assert f"{name} was killed" in said or f"{name} stage was killed" in said
        assert said.count("\n") == 1
    assert log.read_bytes().startswith(kept), f"seed {seed}: an acknowledged record is missing"
    done = capsule("verify", log)
    assert done.returncode == 3, f"seed {seed}: {done.stdout + done.stderr!r}"
    checked = [r["seq"] for r in read_log(log_dir) if r["type"] == "checkpoint"]
    assert seq == -1 or seq in checked


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ALL)
def test_killed_in_a_storm(name: str, seed: int, capsule: RunCapsule, log_dir: Path) -> None:
    kill_in_a_storm(name, seed, capsule, log_dir)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
@pytest.mark.parametrize("name", ALL)
def test_killed_in_a_storm_many_times(
    name: str, seed: int, capsule: RunCapsule, log_dir: Path
) -> None:
    kill_in_a_storm(name, seed, capsule, log_dir)


@pytest.mark.root
@pytest.mark.parametrize("form", ["bomb", "runner"])
@pytest.mark.parametrize("name", ["strace", "supervisor", "tracer"])
def test_no_fork_outruns_the_kill(
    name: str, form: str, program: Callable[[str], str], capsule: RunCapsule, log_dir: Path
) -> None:
    """A bomb of 60 processes that fork whenever they may; one that forks and ends, for ever."""
    storm = [program("fork_storm"), "60", "0", *(["run"] if form == "runner" else [])]
    words = [sys.executable, "-m", "capsule", "trace", "-q", "--log-user", str(PRIVATE_UID), "--"]
    with subprocess.Popen(
        [*words, *storm], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as traced:
        assert traced.stdout is not None
        assert traced.stdout.readline() == b"up\n"
        while form == "bomb" and len(of_user(PRIVATE_UID)) < 50:
            assert traced.poll() is None
        everyone = psutil.Process(traced.pid).children(recursive=True)
        os.kill(stage_pid(traced.pid, name), signal.SIGKILL)
        traced.stdout.read()  # until the last of the storm is dying
        until_s = time.monotonic() + 1.0
        while (alive := of_user(PRIVATE_UID)) and time.monotonic() < until_s:
            pass
        assert alive == []
    assert not living(psutil.wait_procs(everyone, timeout=10)[1])
    assert capsule("verify").returncode == 3


# -- stopped


@pytest.mark.parametrize("name", ALL)
def test_what_is_stopped_holds_the_target_up_and_goes_on_after_sigcont(
    name: str, capsule: RunCapsule, log_dir: Path
) -> None:
    """Back-pressure: the target waits (at the latest when the links are full), nothing is lost."""
    script = "echo up; read line; exec dd if=/dev/zero of=/dev/null bs=1 count=15000 2>&1"
    words = [sys.executable, "-m", "capsule", "trace", "-q", "--", "sh", "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as traced:
        assert traced.stdin is not None
        assert traced.stdout is not None
        assert traced.stdout.readline() == b"up\n"
        [target] = tracees(traced.pid)
        stopped = stage_pid(traced.pid, name)
        os.kill(stopped, signal.SIGSTOP)
        while psutil.Process(stopped).status() != psutil.STATUS_STOPPED:
            pass
        traced.stdin.write(b"go\n")
        traced.stdin.close()
        if name == "supervisor":  # it is not in the way of the data
            while target.status() != psutil.STATUS_ZOMBIE:
                pass
        else:
            await_standstill(target)
            assert traced.poll() is None
        assert end_type(log_dir) != "end"
        os.kill(stopped, signal.SIGCONT)
        assert b"15000 bytes" in traced.stdout.read()
        assert traced.wait(60) == 0
    assert capsule("verify").returncode == 0
    seal = end(log_dir)
    assert seal["totals"]["count"] == seal["stages"]["parser"]["events"] > 30_000


def await_standstill(target: psutil.Process) -> None:
    """Return when the target has had no time on a processor for 50 looks at it in a row.

    It may also have ended, where all it did has found room in the links.
    """
    still, before = 0, -1
    while still < 50:
        try:
            now = int(Path(f"/proc/{target.pid}/schedstat").read_text().split()[0])
        except FileNotFoundError:
            return
        still = still + 1 if now == before else 0
        before = now
        time.sleep(0.01)


def end_type(log_dir: Path) -> str:
    return str(read_log(log_dir)[-1]["type"])


# -- nothing left to write to

ENDLESS = "while :; do /bin/true; done"


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    path.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "capsule-test", str(path)]
    subprocess.run(mount, check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.root
def test_a_full_disk_stops_the_target_and_leaves_a_valid_prefix(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        done = capsule("trace", "-q", "--log-dir", disk, "--", "sh", "-c", ENDLESS)
        assert done.returncode == 125
        assert b"No space left on device; free space, or name another place" in done.stderr
        assert done.stderr.count(b"\n") == 1
        [log] = disk.glob("*.jsonl")
        assert log.stat().st_size > 900_000
        assert capsule("verify", log).returncode == 3
        done = capsule("trace", "-q", "--log-dir", disk, "--", "echo", "never")
        assert (done.returncode, done.stdout) == (125, b"")
        assert b"No space left on device" in done.stderr
        assert done.stderr.count(b"\n") == 1


@pytest.mark.root
def test_a_full_disk_may_be_let_pass(capsule: RunCapsule, tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 400 ]; do /bin/true; i=$((i+1)); done; echo done; exit 9"
    with small_disk(tmp_path / "disk") as disk:
        words = ["trace", "-q", "--log-dir", disk, "--on-log-failure", "continue", "--"]
        done = capsule(*words, "sh", "-c", script)
        assert (done.returncode, done.stdout) == (9, b"done\n")
        assert b"No space left on device" in done.stderr
        assert capsule("verify", *disk.glob("*.jsonl")).returncode == 3


def test_a_limit_of_file_size_stops_the_target_as_a_full_disk_does(
    capsule: RunCapsule, log_dir: Path
) -> None:
    most = (1 << 20, 1 << 20)
    done = capsule(
        "trace", "-q", "--", "sh", "-c", ENDLESS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, most),
    )  # fmt: skip
    assert done.returncode == 125
    assert b"the file may not grow further (ulimit -f)" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert (log_dir / "latest").stat().st_size == 1 << 20
    assert capsule("verify").returncode == 3


# -- too little of everything


@pytest.mark.parametrize("most", [6, 8, 10, 12, 16, 20, 22, 24])
def test_too_few_descriptors_are_said_in_one_line(most: int, capsule: RunCapsule) -> None:
    limit = (most, most)
    done = capsule(
        "trace", "-q", "--", "echo", "ran",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
    )  # fmt: skip
    if done.returncode == 0:
        assert (done.stdout, done.stderr) == (b"ran\n", b"")
        return
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"Too many open files" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.root
@pytest.mark.parametrize("most", [1, 3, 6, 9, 12, 14])
def test_too_few_processes_are_said_in_one_line(most: int, unprivileged: Unprivileged) -> None:
    """For root the limit is none, so it is tried as another user who has no other process."""
    done = unprivileged(
        "trace", "-q", "--", "echo", "ran",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (most, most)),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"Resource temporarily unavailable" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert of_user(PRIVATE_UID) == []


@pytest.mark.root
@pytest.mark.parametrize(
    "hide",
    ["umount -l /dev/shm || mount -t tmpfs -o ro none /dev/shm", "mount -o remount,ro,bind /tmp"],
    ids=["no /dev/shm", "read-only /tmp"],
)
def test_neither_dev_shm_nor_tmp_is_needed(hide: str, capsule: RunCapsule, tmp_path: Path) -> None:
    """In a mount namespace of its own; the log goes elsewhere."""
    elsewhere = Path("/var/tmp") / f"capsule-test-{os.getpid()}"
    elsewhere.mkdir(mode=0o700)
    prepare = f"mount --bind /tmp /tmp; {hide}; "
    run = f"{sys.executable} -m capsule trace -q --log-dir {elsewhere} -- echo ran"
    try:
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", prepare + run],
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, b"ran\n", b"")
        assert capsule("verify", elsewhere / "latest").returncode == 0
    finally:
        shutil.rmtree(elsewhere)

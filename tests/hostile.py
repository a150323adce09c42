"""What the tests of faults and of hostile targets share: programs, other users, waiting."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import REPO

PROGRAMS = REPO / "tests" / "programs"
PRIVATE_UID = 54321
"""Nobody else's: limits of its processes are limits of ours, and kill(-1) hits only ours."""

STAGES = ("tracer", "parser", "enricher", "aggregator", "logger")


@pytest.fixture(scope="session")
def program() -> Iterator[Callable[[str], str]]:
    """The compiled program of that name; anyone can execute it."""
    place = Path(tempfile.mkdtemp(prefix="programs.", dir="/tmp"))
    place.chmod(0o755)

    @cache
    def compiled(name: str) -> str:
        out = place / name
        source = PROGRAMS / f"{name}.c"
        subprocess.run(["cc", "-O1", "-w", "-o", str(out), str(source)], check=True, timeout=60)
        return str(out)

    yield compiled
    shutil.rmtree(place)


@cache
def python_of_others() -> str | None:
    """An interpreter that PRIVATE_UID can run, with what Capsule needs."""
    env = {"PYTHONPATH": python_path(), "PATH": os.environ["PATH"]}
    needs = "import capsule._linux, zmq, blake3, orjson, psutil, cryptography"
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run(
                [python, "-c", needs],
                user=PRIVATE_UID,
                group=PRIVATE_UID,
                extra_groups=[],
                env=env,
                cwd="/",
                capture_output=True,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


def python_path() -> str:
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(REPO), *([given] if given else []), sysconfig.get_path("platlib")])


class Unprivileged:
    """Starts `capsule` as an ordinary user, who owns `home` and everything below."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log_dir = home / "log"
        self.python = sys.executable
        self.options: dict[str, Any] = {}
        if os.geteuid() == 0:
            python = python_of_others()
            if python is None:
                pytest.skip("no Python here that another user can run with Capsule's libraries")
            self.python = python
            os.chown(home, PRIVATE_UID, PRIVATE_UID)
            self.options = {"user": PRIVATE_UID, "group": PRIVATE_UID, "extra_groups": []}

    def popen(self, *args: str, **kwargs: Any) -> subprocess.Popen[bytes]:
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": python_path(),
            "CAPSULE_LOG_DIR": str(self.log_dir),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self.home),
        }
        return subprocess.Popen(
            [self.python, "-m", "capsule", *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=self.home, env=env, **self.options, **kwargs,
        )  # fmt: skip

    def __call__(self, *args: str, **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
        with self.popen(*args, **kwargs) as process:
            out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(args, process.returncode, out, err)


@pytest.fixture
def unprivileged() -> Iterator[Unprivileged]:
    """`capsule` as a user without rights: that of the tests, or another one if that is root."""
    home = Path(tempfile.mkdtemp(prefix="home.", dir="/tmp"))
    try:
        yield Unprivileged(home)
    finally:
        shutil.rmtree(home)


def await_line(fifo: Path, writer: subprocess.Popen[bytes]) -> bytes:
    """The first line that comes through `fifo`; fails when `writer` has ended without one."""
    with open(os.open(fifo, os.O_RDWR), "rb", buffering=0) as file:
        while not select.select([file], [], [], 0.2)[0]:
            assert writer.poll() is None, f"ended with {writer.returncode}"
        return file.readline()


def stage_pid(supervisor: int, name: str) -> int:
    """The pid of a stage, of strace, or of the supervisor itself."""
    if name == "supervisor":
        return supervisor
    comm = "strace" if name == "strace" else f"capsule-{name}"[:15]
    found = []
    for child in psutil.Process(supervisor).children():
        with suppress(psutil.NoSuchProcess):  # an orphan of the target's that has just ended
            if child.name() == comm:
                found.append(child.pid)
    [pid] = found
    return pid


def tracees(supervisor: int) -> list[psutil.Process]:
    """The target's tree: everything below the supervisor but strace and the stages."""
    below = psutil.Process(supervisor).children(recursive=True)
    found = []
    for process in below:
        with suppress(psutil.NoSuchProcess):
            if process.name() != "strace" and not process.name().startswith("capsule-"):
                found.append(process)
    return found


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are there and not dead (zombies are)."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def of_user(uid: int) -> list[int]:
    """The living processes of a user."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "status").read_text()
            except OSError:
                continue
            if re.search(rf"^Uid:\t{uid}\t", text, re.M) and not re.search(
                r"^State:\tZ", text, re.M
            ):
                found.append(int(entry.name))
    return found

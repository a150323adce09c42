"""What every test shares: the `capsule` command, private directories, and a check for leftovers.

A test that leaves a process, a socket, a private directory or a log behind fails, and says what
it left. To see processes whose parent is gone, pytest makes itself the reaper of its orphans
(PR_SET_CHILD_SUBREAPER, prctl(2)).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest

REPO = Path(__file__).resolve().parent.parent
PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 2.0
"""How long what a test has already ended may take to be gone from the process table."""


def pytest_configure() -> None:
    # A job in the background, or under nohup, comes with these ignored, and its children too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for signo in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signo, signal.SIG_DFL)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root"))


def descendants() -> set[psutil.Process]:
    """Every process below this one but multiprocessing's own helper, which outlives tests."""
    helper = getattr(resource_tracker, "_resource_tracker")._pid  # noqa: B009
    return {p for p in psutil.Process().children(recursive=True) if p.pid != helper}


def reap_orphans() -> None:
    """Collect children that have ended and that no Popen waits for: orphans that came to us."""
    for process in psutil.Process().children():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, os.WNOHANG)
        except (psutil.NoSuchProcess, ChildProcessError):
            pass


def describe(process: psutil.Process) -> str:
    with process.oneshot():
        try:
            line = " ".join(process.cmdline()) or process.name()
            return f"process {process.pid} ({process.status()}): {line}"
        except psutil.NoSuchProcess:
            return f"process {process.pid}"


def end_leftovers(before: set[psutil.Process]) -> list[str]:
    """Wait for what is already ending; kill and name what is not."""
    reap_orphans()
    left = descendants() - before
    if left:
        _, left = psutil.wait_procs(left, timeout=GRACE_S)
        reap_orphans()
    found = [describe(process) for process in left]
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    if left:
        psutil.wait_procs(left, timeout=GRACE_S)
        reap_orphans()
    return found


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    """The test's own CAPSULE_LOG_DIR, 0700; every `capsule` it starts logs there."""
    path = tmp_path / "log"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@pytest.fixture
def environment(tmp_path: Path, log_dir: Path) -> dict[str, str]:
    """A user's: `capsule` and `python`, but nothing else of Capsule's environment, are on PATH."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, words in (("capsule", "-m capsule "), ("python", "")):
        command = tools / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        command.chmod(0o755)
    usual = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
    return {
        "PATH": f"{tools}:{usual}",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "PYTHONPATH": str(REPO),
        "TMPDIR": os.environ["TMPDIR"],
        "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"],
        "CAPSULE_LOG_DIR": str(log_dir),
    }


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves something behind.

    Directories for temporary files and sockets are the test's own, so that whatever is in them
    afterwards is its doing. Their names are short: a socket's path has at most 107 bytes.
    """
    private = Path(tempfile.mkdtemp(prefix="cap."))
    for name, below in (("TMPDIR", "t"), ("XDG_RUNTIME_DIR", "r")):
        (private / below).mkdir(mode=0o700)
        monkeypatch.setenv(name, str(private / below))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("CAPSULE_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    usual = Path(f"/tmp/capsule-{os.getuid()}")
    logs_before = names(usual)
    before = descendants()
    try:
        yield
        found = end_leftovers(before)
        found += [f"file {path}" for path in sorted(private.glob("?/**/*"))]
        found += [f"log {usual / name}" for name in sorted(names(usual) - logs_before)]
    finally:
        shutil.rmtree(private, ignore_errors=True)
    if found:
        pytest.fail("the test left behind:\n  " + "\n  ".join(found), pytrace=False)


def names(directory: Path) -> set[str]:
    try:
        return set(os.listdir(directory))
    except OSError:
        return set()


class RunCapsule(Protocol):
    """`capsule("trace", "--", "true", input=b"…", timeout=…)`: as subprocess.run, in bytes."""

    def __call__(
        self, *args: str | bytes | os.PathLike[str], **kwargs: Any
    ) -> subprocess.CompletedProcess[bytes]: ...


@pytest.fixture
def capsule(log_dir: Path) -> RunCapsule:
    """Run `capsule` as a user would, with its output kept; the log goes to `log_dir`."""

    def run(
        *args: str | bytes | os.PathLike[str], **kwargs: Any
    ) -> subprocess.CompletedProcess[bytes]:
        if "stdin" not in kwargs and "input" not in kwargs:
            kwargs["stdin"] = subprocess.DEVNULL
        if "stdout" not in kwargs and "stderr" not in kwargs:
            kwargs["capture_output"] = True
        kwargs.setdefault("timeout", 120)
        return subprocess.run([sys.executable, "-m", "capsule", *args], check=False, **kwargs)

    return run


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Real strace texts kept beside the repository: CAPSULE_CORPUS, or ../shared/corpus."""
    path = Path(os.environ.get("CAPSULE_CORPUS") or REPO.parent / "shared" / "corpus")
    if not path.is_dir():
        pytest.skip(f"no corpus at {path}; name one with CAPSULE_CORPUS")
    return path

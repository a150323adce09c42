"""Fixtures for pytest: what a test, or a program that it runs, did to the machine.

Nothing of it is there until a conftest.py asks for it:

    pytest_plugins = ["capsule.testing"]

    def test_offline(no_network):                 # the test itself, and all that it starts
        main(["--version"])

    def test_tidy(writes_only_tmp_path, tmp_path):
        save(tmp_path / "file")

    def test_program(capsule_trace, tmp_path):    # one program, and all that it starts
        run = capsule_trace(["make", "install", f"DESTDIR={tmp_path}"])
        assert run.returncode == 0
        assert_no_network(run)
        assert_writes_only_below(run, tmp_path)

A test is observed by attaching to pytest's own process while the test's function runs
(`capsule.attach`), so a debugger, or another test tool that uses ptrace, cannot be there too.
Each observed test costs some tenths of a second, and runs as slowly as under strace.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from capsule.api.action import Action
from capsule.api.run import Run
from capsule.api.traced import TracedRun, attach, trace
from capsule.history import inside

NETWORK = ("net.connect", "net.bind", "net.listen", "net.accept", "net.send", "net.recv")
_LOCAL = ("unix:", "netlink:", "socket:")
SHOWN = 10


def network(run: Run, *, allow: Sequence[str] = ()) -> list[Action]:
    """The Actions on an address of a network, loopback included, whether or not they worked.

    `allow`: patterns of addresses that do not count ("127.0.0.1:*", "[[]::1]:8080").
    """
    return [
        action
        for action in run.actions(*NETWORK)
        if action.target is not None
        and not action.target.startswith(_LOCAL)
        and not any(fnmatch.fnmatchcase(action.target, pattern) for pattern in allow)
    ]


def writes_outside(run: Run, *directories: str | Path) -> list[str]:
    """What was made, written, changed or removed outside of these directories.

    /dev, /proc and /sys do not count, nor does the directory itself.
    """
    places = [os.path.realpath(directory) for directory in directories]
    return [
        path
        for path in sorted(run.summary().written)
        if not any(inside(place, path) for place in places)
    ]


def assert_no_network(run: Run, *, allow: Sequence[str] = ()) -> None:
    """Fail unless the run kept off the network; see `network`."""
    __tracebackhide__ = True
    if broken := _told_network(run, allow):
        raise AssertionError(broken)


def assert_writes_only_below(run: Run, *directories: str | Path) -> None:
    """Fail unless the run wrote nowhere else; see `writes_outside`."""
    __tracebackhide__ = True
    if broken := _told_writes(run, writes_outside(run, *directories)):
        raise AssertionError(broken)


def _told_network(run: Run, allow: Sequence[str]) -> str:
    found = network(run, allow=allow)
    said = [f"{action.kind} {action.target} by {action.exe}, record {action.seq}"
            for action in found]  # fmt: skip
    return _told(run, "the network was touched", said)


def _told_writes(run: Run, found: list[str]) -> str:
    return _told(run, "files were written elsewhere", found)


def _told(run: Run, what: str, found: list[str]) -> str:
    if not found:
        return ""
    more = [f"… {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return "\n  ".join([f"{what}:", *found[:SHOWN], *more, f"(log: {run.log})"])


class Check:
    """What is to hold for the test that asks for it; the test may loosen it by `allow`."""

    def __init__(self, check: Callable[[Run, list[str]], str]) -> None:
        self._check = check
        self.allowed: list[str] = []

    def allow(self, *patterns: str | Path) -> None:
        """Let the test touch these: addresses ("127.0.0.1:*"), or directories to write to."""
        self.allowed += map(str, patterns)

    def __call__(self, run: Run) -> str:
        """What did not hold; empty if all is well."""
        return self._check(run, self.allowed)


@pytest.fixture
def no_network() -> Check:
    """Fail this test if it, or anything it starts, touches a network, loopback included."""
    return Check(_told_network)


@pytest.fixture
def writes_only_tmp_path(tmp_path: Path) -> Check:
    """Fail this test if it writes outside tmp_path. Python's own caches (.pyc) do not count."""

    def check(run: Run, allowed: list[str]) -> str:
        found = writes_outside(run, tmp_path, *allowed)
        found = [path for path in found if "__pycache__" not in Path(path).parts]
        return _told_writes(run, found)

    return Check(check)


class CapsuleTrace(Protocol):
    """`capsule_trace(argv, **options)`: as `capsule.trace`."""

    def __call__(self, argv: Sequence[Any], **options: Any) -> TracedRun: ...


@pytest.fixture
def capsule_trace(tmp_path_factory: pytest.TempPathFactory) -> CapsuleTrace:
    """Run a program to its end as `capsule.trace` does, with its log among pytest's files."""

    def run(argv: Sequence[Any], **options: Any) -> TracedRun:
        options.setdefault("log_dir", tmp_path_factory.mktemp("capsule"))
        traced = trace(argv, **options)
        with traced:
            traced.wait()
        return traced

    return run


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Observe a test that asks for a check; fail it, and not its teardown, if one does not hold."""
    checks = [value for value in pyfuncitem.funcargs.values() if isinstance(value, Check)]
    if not checks:
        return (yield)
    factory: pytest.TempPathFactory = pyfuncitem._request.getfixturevalue("tmp_path_factory")
    with attach(os.getpid(), log_dir=factory.mktemp("capsule")) as run:
        result = yield
    broken = [said for check in checks if (said := check(run))]
    if broken:
        pytest.fail("\n".join(broken), pytrace=False)
    return result

"""The fixtures of `capsule.testing`, in a pytest of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def run_pytest(directory: Path, tests: str | None = None) -> str:
    """Run the tests of a directory, or this one file of them; what pytest says."""
    if tests is not None:
        (directory / "conftest.py").write_text('pytest_plugins = ["capsule.testing"]\n')
        (directory / "test_it.py").write_text(tests)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp",
         directory / "pytest", "-rA", "--rootdir", directory, directory],
        capture_output=True, text=True, check=False, timeout=100, cwd=directory,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_the_example_holds(tmp_path: Path) -> None:
    for file in (REPO / "examples" / "pytest").glob("*.py"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    said = run_pytest(tmp_path)
    assert re.search(r"= 4 passed, 2 xfailed in ", said), said


def test_a_test_that_breaks_its_promise_fails_and_says_how(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, """
import socket, subprocess, sys, threading

def connect():
    socket.socket().connect_ex(("127.0.0.1", 9))

def test_itself(no_network):
    connect()

def test_in_a_child(no_network):
    subprocess.run([sys.executable, "-c", "import socket;"
                    "socket.socket(socket.AF_INET6).connect_ex(('::1', 9))"], check=True)

def test_in_a_thread(no_network):
    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()

def test_by_udp(no_network):
    socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))

def test_a_server(no_network):
    socket.create_server(("127.0.0.1", 0)).close()

def test_what_is_allowed_is_no_more_than_that(no_network):
    no_network.allow("127.0.0.1:8*")
    connect()

def test_writes(writes_only_tmp_path, tmp_path):
    (tmp_path / "fine").write_text("")
    (tmp_path.parent / "wrong").write_text("")
    (tmp_path.parent / "gone").mkdir()
    (tmp_path.parent / "gone").rmdir()

def test_both_are_checked(writes_only_tmp_path, no_network):
    connect()
""")  # fmt: skip
    assert "= 8 failed in " in said
    expected = (
        r"net.connect 127.0.0.1:9 by \S+/python\S*, record \d+", r"net.connect \[::1\]:9",
        r"net.send 127.0.0.1:9", r"net.bind 127.0.0.1:0", r"/wrong\n", r"/gone\n",
    )  # fmt: skip
    for what in expected:
        assert re.search(what, said), f"{what} is not in\n{said}"
    assert "/fine" not in said


def test_a_test_that_keeps_it_passes(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, """
import os, pathlib, socket, subprocess, tempfile
import json.tool  # whatever Python caches of it

def test_unix_sockets_are_no_network(no_network):
    a, b = socket.socketpair()
    a.send(b"x")
    b.recv(1)
    socket.socket(socket.AF_UNIX).connect_ex("/nonexistent")

def test_reading_and_devices(no_network, writes_only_tmp_path):
    pathlib.Path("/etc/passwd").read_text()
    pathlib.Path("/dev/null").write_text("x")

def test_a_directory_may_be_allowed(writes_only_tmp_path, tmp_path):
    place = tmp_path.parent / "place"
    place.mkdir()
    writes_only_tmp_path.allow(place)
    (place / "made").write_text("")

def test_before_and_after_are_none_of_it(no_network, before):
    pass

import pytest

@pytest.fixture
def before():
    socket.socket().connect_ex(("127.0.0.1", 9))
    yield
    socket.socket().connect_ex(("127.0.0.1", 9))
""")  # fmt: skip
    assert "= 4 passed in " in said, said


def test_a_failing_test_fails_for_its_own_reason(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "def test_it(no_network):\n    assert 1 == 2\n")
    assert "assert 1 == 2" in said
    assert "= 1 failed in " in said


def test_where_nothing_can_attach_the_test_fails(tmp_path: Path) -> None:
    """It must not pass unobserved: here its own tracer holds pytest already."""
    said = run_pytest(tmp_path, """
import os
import capsule

def test_it(no_network, tmp_path_factory):
    with capsule.attach(os.getpid(), log_dir=tmp_path_factory.mktemp("second")):
        pass
""")  # fmt: skip
    assert "= 1 failed in " in said, said
    assert "what is already traced cannot be traced again" in said

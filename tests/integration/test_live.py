"""`capsule tail -f` on a real terminal, and not on one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from tests.conftest import RunCapsule

SGR = re.compile(rb"\x1b\[[0-9;]*m")


def on_a_terminal(*words: str, **env: str) -> bytes:
    """What `capsule words` writes to a terminal of 80 columns and 24 rows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "capsule", *words],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        env={**os.environ, "TERM": "xterm", **env},
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # EIO: the other end is closed
            break
        text += chunk
    os.close(ours)
    assert process.wait(30) == 0
    return text


@pytest.fixture
def recorded(capsule: RunCapsule) -> None:
    script = "for i in 1 2 3 4 5; do read x </etc/hostname; done; /bin/true"
    assert capsule("trace", "-q", "--", "sh", "-c", script).returncode == 0


@pytest.mark.usefixtures("recorded")
def test_on_a_terminal_it_is_coloured_and_no_line_wraps() -> None:
    text = on_a_terminal("tail", "-f", "-n", "all", "-k", "file", "-k", "proc", "--tree")
    assert SGR.search(text)
    assert "│ true".encode() in text
    for line in re.split(rb"\r\n|\x1b\[\d+[EF]|\x1b\[2K", SGR.sub(b"", text)):
        assert len(line.decode()) <= 80


@pytest.mark.usefixtures("recorded")
def test_no_color_is_heeded() -> None:
    text = on_a_terminal("tail", "-f", "-n", "all", NO_COLOR="1")
    assert b"proc.exec" in text
    assert not SGR.search(text)


@pytest.mark.usefixtures("recorded")
def test_piped_it_is_plain_and_nothing_folds(capsule: RunCapsule) -> None:
    done = capsule("tail", "-f", "-n", "all")
    assert b"\x1b" not in done.stdout
    assert done.stdout.count(b"\n") == capsule("tail", "--json", "-n", "all").stdout.count(b"\n")

"""`capsule help`: topics, commands, the pager, and a manual page that man takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from capsule.cli import COMMANDS
from capsule.help.topics import ORDER
from tests.conftest import RunCapsule


def text(capsule: RunCapsule, *words: str) -> str:
    done = capsule("help", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def test_help_lists_every_topic_and_command(capsule: RunCapsule) -> None:
    listed = re.findall(r"^  (\S+) +\S", text(capsule), re.MULTILINE)
    assert listed == [*ORDER, *COMMANDS]


def test_every_topic_has_its_file_and_every_file_is_a_topic() -> None:
    import capsule.help

    directory = Path(capsule.help.__file__).parent / "topics"
    assert {path.stem for path in directory.iterdir()} == set(ORDER)


@pytest.mark.parametrize("topic", ORDER)
def test_a_topic_is_plain_text_for_any_terminal(capsule: RunCapsule, topic: str) -> None:
    said = text(capsule, topic)
    lines = said.splitlines()
    assert "```" not in said and "\x1b" not in said and "**" not in said
    if topic in COMMANDS:
        assert lines[0].startswith("usage: capsule")
    else:
        assert re.match(r"[A-Z]", lines[0]) and lines[1] == ""
    written = [line for line in lines if not line.startswith("    ")]
    assert all(len(line) <= 100 for line in written)


def test_lists_come_from_the_code(capsule: RunCapsule) -> None:
    assert "file.create" in text(capsule, "actions").split()
    assert "exec.memfd" in text(capsule, "tags").split()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_what_its_own_help_says(capsule: RunCapsule, command: str) -> None:
    assert text(capsule, command).startswith(capsule(command, "--help").stdout.decode())


@pytest.mark.parametrize(
    "word, said",
    [
        ("exitcodes", "did you mean `capsule help exit-codes`?"),
        ("verfy", "did you mean `capsule help verify`?"),
        ("zzzzzz", "`capsule help` lists them"),
    ],
)
def test_an_unknown_topic_is_an_error_with_a_hint(
    capsule: RunCapsule, word: str, said: str
) -> None:
    done = capsule("help", word)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"capsule: no topic or command {word}; {said}\n"


@pytest.mark.parametrize("no_color, bold", [("", True), ("1", False)])
def test_a_terminal_gets_the_pager(tmp_path: Path, no_color: str, bold: bool) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho paged\nexec cat\n")
    pager.chmod(0o755)
    env = {**os.environ, "PAGER": str(pager), "MANPAGER": str(pager), "TERM": "xterm",
           "NO_COLOR": no_color}  # fmt: skip
    env.pop("LESS", None)
    said, status = pexpect.run(
        f"{sys.executable} -m capsule help quickstart", env=env, withexitstatus=True
    )
    assert status == 0
    assert said.startswith(b"paged\r\n")
    assert (b"\x1b[1mThe first five minutes\x1b[0m" in said) is bold


@pytest.fixture
def manual(capsule: RunCapsule, tmp_path: Path) -> Path:
    # The page names a default below it; a name as long as a test's cannot be set in a line.
    env = {**os.environ, "XDG_CONFIG_HOME": "/home/user/.config"}
    page = tmp_path / "capsule.1"
    page.write_bytes(capsule("help", "--man", env=env).stdout)
    return page


def test_man_takes_the_manual_page_without_a_warning(manual: Path) -> None:
    env = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""}
    done = subprocess.run(
        ["man", "--warnings", "--local-file", manual],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    shown = re.sub(r".\x08", "", done.stdout)
    for section in ("NAME", "SYNOPSIS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES"):
        assert f"\n{section}\n" in shown
    for command in COMMANDS:
        assert f"\n   capsule {command}\n" in shown
    assert "--on-log-failure {stop,continue}" in shown
    assert "$ capsule trace -q -- sh -c 'exit 7'" in shown


def test_mandoc_takes_it_too(manual: Path) -> None:
    done = subprocess.run(
        ["mandoc", "-Tlint", "-W", "error", manual], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_roff_prints_any_text_as_it_is(tmp_path: Path) -> None:
    """Dots and quotes at a line's start, backslashes and dashes mean something to roff."""
    from capsule.help.man import roff

    written = ".TH no request\n'br nor this\na\\fBb -x --long \\e \\\\"
    page = tmp_path / "page.1"
    page.write_text(f".TH X 1 2026-01-01\n.SH NAME\nx \\- y\n.SH TEXT\n.nf\n{roff(written)}\n.fi\n")
    done = subprocess.run(["mandoc", "-Tutf8", page], capture_output=True, text=True, check=True)
    shown = re.sub(r".\x08", "", done.stdout)
    for line in written.splitlines():
        assert line in shown

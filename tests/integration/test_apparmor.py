"""Drafted profiles, read by apparmor_parser (without loading them: few kernels here have it)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from capsule.dialects import DIALECTS
from capsule.policy import Policy, Rule
from capsule.text import escape
from tests.conftest import RunCapsule
from tests.unit.test_dialects import ASKED, SAMPLE


def parsed(text: str, where: Path) -> tuple[int, str]:
    """What apparmor_parser leaves with and says of a profile."""
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin")
    assert parser is not None, "apparmor_parser is missing: run .ci/setup test"
    file = where / "profile"
    file.write_text(text)
    done = subprocess.run(
        [parser, "-Q", "-K", "--debug", str(file)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "git init -q r && cd r && echo a >a && git add a && git log; true",
        "/usr/bin/python3 -c 'import socket, ssl; socket.socket(); socket.socket(1, 2)'",
        "echo 'int main(void) { return 0; }' >a.c && gcc a.c -o a && ./a",
    ],
)
def test_the_parser_takes_the_profile_of_a_real_run(
    capsule: RunCapsule, tmp_path: Path, script: str
) -> None:
    for _ in range(2):
        capsule("trace", "-q", "--", "sh", "-c", f"cd {tmp_path}; {script}")
    drafted = capsule("profile", "--format", "apparmor", "latest")
    assert drafted.returncode == 0, drafted.stderr
    assert b"capsule: apparmor: cannot say which addresses" in drafted.stderr
    status, said = parsed(drafted.stdout.decode(), tmp_path)
    assert status == 0, said


def test_the_parser_refuses_what_is_no_profile(tmp_path: Path) -> None:
    text = DIALECTS["apparmor"](SAMPLE, ASKED).text
    assert parsed(text, tmp_path)[0] == 0
    assert parsed(text.replace(" ix", " zz").replace("rmix", "zz"), tmp_path)[0] != 0


@pytest.mark.parametrize(
    "name",
    [b'a" rwix, "/etc/shadow', b"a\nmount,", b"a b", b"{a,b}", b"[^a]", b"@{HOME}", b"\xff\xfe",
     b"back\\slash", b"#x", b"*", "\N{SNOWMAN}".encode(), b"a,", b"^x", b"%s", b"~"],
)  # fmt: skip
def test_the_parser_takes_hostile_names(name: bytes, tmp_path: Path) -> None:
    what = escape(b"/srv/" + name)
    made = DIALECTS["apparmor"](Policy({("write", what): Rule("write", what)}), ASKED).text
    status, said = parsed(made, tmp_path)
    assert status == 0, said
    assert "/etc/shadow" not in made.partition("profile ")[2] or name.startswith(b'a"')
    assert "  mount,\n" not in made

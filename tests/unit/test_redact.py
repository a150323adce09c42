"""Secrets in a command line: what is hidden, and what is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule.redact import HIDDEN, arguments
from tests.unit.stages import Run, actions

SECRETS = [
    (["mysql", "--password=hunter2"], 1, "--password=[redacted]"),
    (["tool", "--api-key", "hunter2"], 2, "[redacted]"),
    (["env", "AWS_SECRET_ACCESS_KEY=hunter2", "x"], 1, "AWS_SECRET_ACCESS_KEY=[redacted]"),
    (["git", "clone", "https://me:hunter2@host/x"], 2, "https://me:[redacted]@host/x"),
    (["curl", "-H", "Authorization: Bearer hunter2"], 2, "Authorization: Bearer [redacted]"),
    (["x", "ghp_" + "a1" * 18], 1, "[redacted]"),
    (["x", "AKIA" + "A1" * 8], 1, "[redacted]"),
    (["x", "GITHUB_TOKEN=hunter2"], 1, "GITHUB_TOKEN=[redacted]"),
]


@pytest.mark.parametrize(("argv", "position", "shown"), SECRETS)
def test_secret_is_hidden(argv: list[str], position: int, shown: str) -> None:
    redacted, hidden = arguments([arg.encode() for arg in argv])
    assert redacted[position].decode() == shown
    assert hidden == 1
    assert not any(b"hunter2" in arg for arg in redacted)


@pytest.mark.parametrize(
    "argv",
    [
        ["ls", "-l", "/etc/passwd"],
        ["git", "clone", "https://host/x"],
        ["tokenize", "author=me", "--keyboard=us"],
        ["tool", "--token"],
        ["tool", "--password", "--verbose"],
        ["ssh", "-i", "/root/.ssh/id_rsa", "me@host"],
    ],
)
def test_plain_argument_is_left_alone(argv: list[str]) -> None:
    given_argv = [arg.encode() for arg in argv]
    assert arguments(given_argv) == (given_argv, 0)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_nothing_raises_and_nothing_is_added(argv: list[bytes]) -> None:
    redacted, hidden = arguments(argv)
    assert len(redacted) == len(argv)
    assert (hidden > 0) == (redacted != argv) or HIDDEN in argv


def test_action_says_how_many_it_hid() -> None:
    line = '10 execve("/bin/x", ["x", "--password=hunter2"], 0x1) = 0\n'
    (execed,) = actions(line)
    assert execed["argv"] == ["x", "--password=[redacted]"]
    assert execed["redacted"] == 1


def test_no_redact_keeps_the_argv() -> None:
    from capsule.enrich import Enricher

    done = Run(enricher=Enricher(redact=False))
    done.feed('10 execve("/bin/x", ["x", "--password=hunter2"], 0x1) = 0\n')
    (execed,) = done.actions()
    assert execed["argv"] == ["x", "--password=hunter2"]
    assert "redacted" not in execed

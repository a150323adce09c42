"""Flags over environment over config.toml, with each value's source."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule.config import config_path, configure, load
from capsule.errors import UsageError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--log-dir")
    made.add_argument("--fsync", choices=("always", "never"), default="never")
    made.add_argument("-q", "--quiet", action="store_true")
    made.add_argument("--publish", action="append", default=[])
    made.add_argument("-n", "--lines", type=int, default=10)
    return made


def values(config: dict[str, object], env: dict[str, str], *words: str) -> argparse.Namespace:
    made = parser()
    configure(made, "trace", config, env)
    return made.parse_args(words)


def test_a_flag_wins_over_the_environment_and_that_over_the_file() -> None:
    config = {"trace": {"fsync": "always", "lines": 3}, "log-dir": "/a"}
    env = {"CAPSULE_TRACE_LINES": "4", "CAPSULE_LOG_DIR": "/b"}
    found = values(config, env, "-n", "5")
    assert (found.fsync, found.lines, found.log_dir) == ("always", 5, "/b")
    found = values(config, env)
    assert (found.lines, found.log_dir) == (4, "/b")
    assert values(config, {}).log_dir == "/a"


def test_switches_and_lists() -> None:
    found = values({"trace": {"quiet": True, "publish": ["a", "b c"]}}, {})
    assert (found.quiet, found.publish) == (True, ["a", "b c"])
    env = {"CAPSULE_TRACE_QUIET": "0", "CAPSULE_TRACE_PUBLISH": "x 'y z'"}
    found = values({"trace": {"quiet": True}}, env)
    assert (found.quiet, found.publish) == (False, ["x", "y z"])


def test_each_value_says_where_it_is_from() -> None:
    config = {"trace": {"fsync": "always"}, "log-dir": "/a"}
    sources = {
        s.option: s.source
        for s in configure(parser(), "trace", config, {"CAPSULE_TRACE_QUIET": "yes"})
    }
    assert sources == {
        "log-dir": "config.toml: log-dir",
        "fsync": "config.toml: [trace] fsync",
        "quiet": "CAPSULE_TRACE_QUIET",
        "publish": "default",
        "lines": "default",
    }


@pytest.mark.parametrize(
    ("config", "env", "complaint"),
    [
        ({"trace": {"fsink": 1}}, {}, r"config.toml: \[trace\] fsink: no such option; it has"),
        ({"trace": {"fsync": "maybe"}}, {}, "'maybe' is none of always, never"),
        ({"trace": {"quiet": "perhaps"}}, {}, "neither true nor false"),
        ({"trace": {"quiet": 1}}, {}, "neither true nor false"),
        ({"trace": {"publish": 7}}, {}, "7 is not a list"),
        ({"trace": {"lines": "many"}}, {}, "'many' cannot be used"),
        ({"trace": {"lines": [1]}}, {}, "is not a text or number"),
        ({"trace": 3}, {}, "must be a table"),
        ({}, {"CAPSULE_TRACE_LINES": "x"}, "CAPSULE_TRACE_LINES: 'x' cannot be used"),
    ],
)
def test_what_cannot_be_used_is_named(
    config: dict[str, object], env: dict[str, str], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        values(config, env)


def test_the_file_is_where_xdg_says() -> None:
    assert config_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/capsule/config.toml")
    assert config_path({"HOME": "/h"}) == Path("/h/.config/capsule/config.toml")


def test_a_missing_file_is_empty_and_a_broken_one_is_named(tmp_path: Path) -> None:
    assert load(tmp_path / "none") == {}
    broken = tmp_path / "config.toml"
    broken.write_text("[trace")
    with pytest.raises(UsageError, match=r"config\.toml"):
        load(broken)


@given(st.binary(max_size=60))
def test_no_bytes_in_the_file_raise_anything_else(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "config.toml")
        path.write_bytes(data)
        try:
            assert isinstance(load(path), dict)
        except UsageError as error:
            assert str(path) in str(error)

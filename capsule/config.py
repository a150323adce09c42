"""Settings that are not on the command line: flags win over environment over config.toml.

`$XDG_CONFIG_HOME/capsule/config.toml` (else `~/.config/…`) has a table for each command, with
its long options as keys: a switch takes true or false, a repeatable option a list.

    log-dir = "/var/log/capsule"        # for every command that has the option

    [trace]
    quiet = true
    fsync = "always"

The environment has `CAPSULE_TRACE_FSYNC=always` for the same (a switch takes 1 or 0, a
repeatable option words as a shell splits them), and `CAPSULE_LOG_DIR` for every command.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsule.errors import UsageError

SHARED = ("log-dir",)
"""Options that may stand outside of a command's table, for all commands."""

_SWITCH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class Setting:
    """The value that an option has without a flag, and where that comes from."""

    command: str
    option: str
    value: Any
    source: str


def config_path(env: Mapping[str, str]) -> Path:
    """Where the configuration file is, whether or not it exists (XDG Base Directory)."""
    # A user without HOME and without an entry in passwd(5) has none: os.path leaves the ~ there.
    base = env.get("XDG_CONFIG_HOME") or os.path.expanduser(env.get("HOME") or "~") + "/.config"
    return Path(base) / "capsule" / "config.toml"


def load(path: Path) -> dict[str, Any]:
    """The file's tables; none if there is no file. Raises UsageError."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    import tomllib  # 5 ms, which only who has a file should pay

    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None


def configure(
    parser: argparse.ArgumentParser, command: str, config: Mapping[str, Any], env: Mapping[str, str]
) -> list[Setting]:
    """Make file and environment the defaults of `command`'s parser; says what each option has.

    Raises UsageError, naming the place, for a key or a value that the command does not know.
    """
    table = config.get(command, {})
    if not isinstance(table, dict):
        raise UsageError(f"config.toml: [{command}] must be a table")
    options = dict(_options(parser))
    for key in table:
        if key not in options:
            raise UsageError(
                f"config.toml: [{command}] {key}: no such option; it has {', '.join(options)}"
            )
    found = []
    for option, action in options.items():
        value, source = action.default, "default"
        for place, text in _places(option, command, table, config, env):
            value, source = _value(action, text, place), place
        if source != "default":
            parser.set_defaults(**{action.dest: value})
        found.append(Setting(command, option, value, source))
    return found


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    """The long options that can be set, by name without dashes."""
    for action in parser._actions:
        names = [name for name in action.option_strings if name.startswith("--")]
        if names and action.dest != "help":
            yield names[0][2:], action


def _places(
    option: str,
    command: str,
    table: Mapping[str, Any],
    config: Mapping[str, Any],
    env: Mapping[str, str],
) -> Iterator[tuple[str, Any]]:
    """What is said of an option, with where; what comes later wins."""
    shared = option in SHARED
    if shared and option in config:
        yield f"config.toml: {option}", config[option]
    if option in table:
        yield f"config.toml: [{command}] {option}", table[option]
    name = option.upper().replace("-", "_")
    for variable in ((f"CAPSULE_{name}",) if shared else ()) + (
        f"CAPSULE_{command.upper()}_{name}",
    ):
        if env.get(variable):
            yield variable, env[variable]


def _value(action: argparse.Action, given: Any, place: str) -> Any:
    """`given`, which is TOML's value or the environment's text, as the option's flag gives it."""
    if action.nargs == 0:
        value = _SWITCH.get(given.lower()) if isinstance(given, str) else given
        if not isinstance(value, bool):
            raise UsageError(f"{place}: {given!r} is neither true nor false")
        return value if action.const is not False else not value
    if isinstance(action, argparse._AppendAction):
        words = _split(given) if isinstance(given, str) else given
        if not isinstance(words, list):
            raise UsageError(f"{place}: {given!r} is not a list")
        return [_single(action, word, place) for word in words]
    return _single(action, given, place)


def _single(action: argparse.Action, given: Any, place: str) -> Any:
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        raise UsageError(f"{place}: {given!r} is not a text or number")
    value: Any = str(given)
    if callable(action.type):
        try:
            value = action.type(value)
        except (ValueError, argparse.ArgumentTypeError):
            raise UsageError(f"{place}: {given!r} cannot be used") from None
    if action.choices is not None and value not in action.choices:
        known = ", ".join(map(str, action.choices))
        raise UsageError(f"{place}: {given!r} is none of {known}")
    return value


def _split(text: str) -> list[str]:
    import shlex

    return shlex.split(text)

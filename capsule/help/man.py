"""The manual page, made from the commands' own declarations (man(7))."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping

from capsule.help.topics import plain, render

SECTIONS = (
    ("EXIT STATUS", "exit-codes"), ("ENVIRONMENT", "environment"), ("FILES", "log"),
    ("EXAMPLES", "quickstart"),
)  # fmt: skip
"""Heading → the topic whose text stands below it."""


def manual(
    parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser], version: str
) -> str:
    """capsule(1) as roff."""
    said = {action.dest: action.help or "" for action in _subcommands(parser)}
    lines = [
        f'.TH CAPSULE 1 "" "Capsule {roff(version)}" "User Commands"',
        ".nh",  # a command that is cut in two cannot be copied
        ".ad l",
        ".SH NAME",
        "capsule \\- show what a Linux program really does, and prove it",
        ".SH SYNOPSIS",
        ".B capsule trace",
        "[\\fIoptions\\fR] [\\fB\\-\\-\\fR] \\fICOMMAND\\fR [\\fIARG\\fR...]",
        ".br",
        ".B capsule",
        "\\fICOMMAND\\fR [\\fIoptions\\fR]",
        ".SH DESCRIPTION",
        "Capsule runs a program, unaltered, under",
        ".BR strace (1),",
        "tells what it and all its children do as Actions,",
        "and writes them to a log that is chained and signed while it grows.",
        "Each command has a section below;",
        ".B capsule help",
        "lists topics that say more.",
        ".SH COMMANDS",
    ]
    for name, command in commands.items():
        lines += _command(name, command, said.get(name, ""))
    for heading, topic in SECTIONS:
        lines += [f".SH {heading}", *_topic(topic)]
    lines += [".SH SEE ALSO", ".BR strace (1),", ".BR ptrace (2),", ".BR b3sum (1)"]
    return "\n".join(lines) + "\n"


def roff(text: str) -> str:
    """`text` so that roff prints it as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("└─", "`\\-")
    text = text.replace("├─", "|\\-").replace("│", "|")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def _subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action._choices_actions


def _command(name: str, parser: argparse.ArgumentParser, said: str) -> Iterator[str]:
    yield f'.SS "capsule {roff(name)}"'
    yield roff(f"{(parser.description or said).rstrip('.')}.")
    yield from (".PP", ".nf", *map(roff, _synopsis(parser)), ".fi")
    formatter = parser._get_formatter()
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction):
            continue
        words = formatter._format_action_invocation(action)
        yield from (".TP", f".B {roff(words)}")
        yield roff(formatter._expand_help(action)) if action.help else "\\&"
    if parser.epilog:
        yield from (".PP", roff(" ".join(parser.epilog.split())))


def _synopsis(parser: argparse.ArgumentParser) -> list[str]:
    """How to call a command: its own words, or its name, `[options]` and what comes after."""
    if parser.usage:
        return [line.strip() for line in parser.usage.splitlines()]
    formatter = parser._get_formatter()
    words = [formatter._format_args(action, action.dest)
             for action in parser._actions if not action.option_strings]  # fmt: skip
    return [" ".join([parser.prog, "[options]", *words])]


def _topic(name: str) -> Iterable[str]:
    """A topic's text: what is indented is an example or a table, and stays as it is."""
    lines = render(name).splitlines()[2:]
    shown = False
    for line in lines:
        example = line.startswith("    ") or (shown and not line)
        if example != shown:
            yield ".nf" if example else ".fi"
            shown = example
        if line:
            yield roff(plain(line))
        else:
            yield "" if shown else ".PP"
    if shown:
        yield ".fi"

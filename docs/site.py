"""Hooks of mkdocs: what the site has beyond docs/*.md.

Pages made from the code: the commands' options, the topics of `capsule help`, the Python API. And
links that lead out of docs/ lose their target, since the sources are not part of the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from capsule.cli import COMMANDS, build_parser
from capsule.help.topics import ORDER, topic

API = ("trace", "attach", "TracedRun", "AttachedRun", "read", "Run", "Action", "subscribe",
       "subscribe_async", "Record", "Report", "Verdict", "CapsuleError")  # fmt: skip
MORE = "More"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leave out of the navigation what is not there, and add what it does not name."""
    there = {path.name for path in Path(config.docs_dir).glob("*.md")} | GENERATED.keys()
    named: set[str] = set()
    config.nav = _there(config.nav or [], there, named)
    left = sorted(there - named)
    if left:
        config.nav.append({MORE: left})
    return config


def _there(nav: list[Any], there: set[str], named: set[str]) -> list[Any]:
    kept: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            ((title, value),) = entry.items()
            if isinstance(value, list):
                kept.append({title: _there(value, there, named)})
                continue
        else:
            value = entry
        if value in there:
            kept.append(entry)
            named.add(value)
    return kept


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    for name, make in GENERATED.items():
        files.append(File.generated(config, name, content=make()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Take the target from links that lead out of docs/."""
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?:\.\./)[^)]*\)", r"\1", markdown)


def commands() -> str:
    """Every command with its options, as argparse has them."""
    parser = build_parser()
    (choices,) = [action.choices for action in parser._actions if action.choices]
    lines = ["# Commands", "", "[The environment](topics.md#environment) can set every option."]
    for name in COMMANDS:
        command = choices[name]
        usage = command.format_usage().removeprefix("usage: ").rstrip()
        lines += ["", f"## capsule {name}", "", _text(command.description or ""), "", "```text",
                  usage, "```", "", "| option | |", "|---|---|"]  # fmt: skip
        formatter = command._get_formatter()
        for action in command._actions:
            if action.help and action.help != "==SUPPRESS==":
                words = formatter._format_action_invocation(action)
                said = _text(formatter._expand_help(action)).replace("|", "\\|")
                lines.append(f"| `{words}` | {said} |")
        if command.epilog:
            lines += ["", _text(command.epilog)]
    return "\n".join(lines) + "\n"


def help_topics() -> str:
    """The topics of `capsule help`, one after the other."""
    parts = ["# Topics\n\nWhat `capsule help TOPIC` says.\n"]
    for name in ORDER:
        title, _, text = topic(name).partition("\n")
        parts.append(f"## {title.removeprefix('# ')} {{ #{name} }}\n{text}")
    return "\n".join(parts)


def python() -> str:
    """What `import capsule` gives, from its docstrings."""
    from capsule import _ROOMS

    lines = ["# Python API", "", "[How to use it](python.md)."]
    for name in API:
        lines += ["", f"::: {_ROOMS[name]}.{name}"]
    lines += ["", "## capsule.testing", "", "::: capsule.testing", "    options:",
              "      show_root_heading: false", "      heading_level: 3"]  # fmt: skip
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """Plain words as Markdown that shows them as they are."""
    return re.sub(r"([<*_\[])", r"\\\1", " ".join(text.split()))


GENERATED = {
    "commands.md": commands,
    "topics.md": help_topics,
    "api.md": python,
}

"""Help topics: Markdown of a few simple forms, shown as plain text.

A topic is a file of `topics/`; its first line is its title. Fenced blocks (whose commands the tests
run) are indented instead; `**` and backticks go away. Some topics end with a list that the code
itself knows.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from importlib.resources import files

WIDTH = 96
ORDER = (
    "quickstart", "log", "verify", "actions", "tags", "filters", "allow-lists", "subscribe",
    "python", "exit-codes", "environment", "privacy", "overhead", "trouble",
)  # fmt: skip
"""As `capsule help` lists them."""

Style = Callable[[str], str]


def topics() -> dict[str, str]:
    """Name → title of every topic, in order."""
    return {name: topic(name).partition("\n")[0].removeprefix("# ") for name in ORDER}


def render(name: str, *, bold: Style = str) -> str:
    """A topic as text for a terminal; `bold` marks its headings. KeyError: no such topic."""
    if name not in ORDER:
        raise KeyError(name)
    lines = []
    fenced = False
    for line in topic(name).splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced:
            lines.append(f"    {line}")
        elif line.startswith("# "):
            lines.append(bold(line[2:]))
        elif line.startswith("    "):
            lines.append(line)
        else:
            lines.append(plain(line))
    listed = _LISTS.get(name)
    if listed is not None:
        lines += ["", *listed()]
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """`text` without Markdown's marks for emphasis and code."""
    return re.sub(r"\*\*(.+?)\*\*|`(.+?)`", lambda found: found[1] or found[2], text)


def topic(name: str) -> str:
    """A topic as Markdown, without the lists that the code knows."""
    return (files("capsule.help") / "topics" / f"{name}.md").read_text(encoding="utf-8")


def _kinds() -> list[str]:
    """The kinds of Actions, a line a family."""
    from capsule.syscalls import KINDS

    families: dict[str, list[str]] = {}
    for kind in sorted(KINDS):
        families.setdefault(kind.partition(".")[0], []).append(kind)
    return [line for kinds in families.values() for line in _filled(kinds)]


def _filled(words: Sequence[str]) -> list[str]:
    return textwrap.wrap("  ".join(words), WIDTH, initial_indent="    ", subsequent_indent="      ")


def _tags() -> list[str]:
    """The tags of the shipped rules, with why."""
    from capsule.tags import shipped_rules

    whys: dict[str, list[str]] = {}
    for rule in shipped_rules():
        whys.setdefault(rule.tag, []).append(rule.why)
    return [f"    {tag:24} {why}" for tag, said in whys.items() for why in said]


_LISTS: dict[str, Callable[[], list[str]]] = {"actions": _kinds, "tags": _tags}

"""A record as a line for people: aligned, harmless to a terminal, in colour where wanted."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, TextIO

from capsule.text import harmless as harmless  # noqa: PLC0414 (those who print take it from here)

TARGET_WIDTH = 44
TREE_WIDTH = 24
_STYLES = {
    "dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "blue": "34",
    "magenta": "35", "cyan": "36",
}  # fmt: skip
_KIND_STYLES = {
    "proc": "green", "thread": "green", "net": "magenta", "cred": "yellow", "sys": "yellow",
    "file": "cyan", "dir": "cyan",
}  # fmt: skip
"""By what stands before the dot of a kind; the others are blue."""


def wants_colour(stream: TextIO) -> bool:
    """Colour only on a terminal that can show it, and not against NO_COLOR (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def size_text(size_bytes: int) -> str:
    """A size with a unit, as `ls -h` writes it."""
    size = float(size_bytes)
    for unit in ("B", "K", "M", "G", "T"):
        if size < 1024 or unit == "T":
            return f"{size:.0f}{unit}" if unit == "B" or size >= 10 else f"{size:.1f}{unit}"
        size /= 1024
    raise AssertionError


def clock_text(ts_ns: Any, form: str = "%H:%M:%S") -> str:
    """Local time of day with microseconds, as strace -tt; a dash when unknown or absurd."""
    if not isinstance(ts_ns, int):
        return "-"
    seconds, rest = divmod(ts_ns, 1_000_000_000)
    try:
        return f"{time.strftime(form, time.localtime(seconds))}.{rest // 1000:06d}"
    except (OverflowError, ValueError, OSError):
        return "-"


class Lines:
    """Renders records of one log. Plain text unless `colour`.

    `target_width`: the columns that a target is filled up to; a longer one takes what it needs.
    """

    def __init__(self, *, colour: bool, target_width: int = TARGET_WIDTH) -> None:
        self._colour = colour
        self._target_width = target_width

    def _style(self, text: str, *styles: str) -> str:
        if not self._colour or not text:
            return text
        codes = ";".join(_STYLES[style] for style in styles)
        return f"\x1b[{codes}m{text}\x1b[0m"

    def render(self, record: Mapping[str, Any], *, depth: int | None = None) -> str:
        """One record as one line, without its newline. `depth`: indent its program so far."""
        kind = record.get("type")
        if kind == "action":
            return self._action(record, depth)
        when = f"{clock_text(record.get('time_ns')):15}"
        name = harmless(str(kind))
        line = f"{when} {'-':>7} {'-':12} {name:16} {self._said(record)}"
        return self._style(line.rstrip(), "yellow" if kind == "gap" else "dim")

    def _said(self, record: Mapping[str, Any]) -> str:
        kind = record.get("type")
        if kind == "start":
            argv = record.get("argv")
            words = argv if isinstance(argv, list) else []
            return harmless(f"run {record.get('run')}: {' '.join(map(str, words))}")
        if kind == "gap":
            count = record.get("count")
            lost = f"{count} lost" if count is not None else "lost, how many is not known"
            return harmless(f"{lost}: {record.get('why')}")
        if kind == "checkpoint":
            return f"signed through {record.get('seq')}"
        if kind == "end":
            return harmless(f"complete, exit {exit_text(record.get('exit'))}")
        return ""

    def _action(self, record: Mapping[str, Any], depth: int | None) -> str:
        exe = harmless(str(record.get("exe") or "-").rpartition("/")[2]) or "-"
        kind = harmless(str(record.get("kind")))
        target = harmless(subject(record)) or "-"
        count, size, errors = record.get("count"), record.get("bytes"), record.get("errors")
        parts = []
        if isinstance(count, int) and count != 1 and kind != "proc.exit":
            parts.append(f"x{count}")
        if isinstance(size, int) and size:
            parts.append(size_text(size))
        failed = ""
        if isinstance(errors, dict):
            failed = " ".join(
                harmless(name) if number == 1 else f"{harmless(name)} x{number}"
                for name, number in errors.items()
            )
        when = f"{clock_text(record.get('first_ns')):15}"
        line = self._style(when, "dim") + " "
        name = f"{exe:12}" if depth is None else f"{'│ ' * min(depth, 8) + exe:{TREE_WIDTH}}"
        line += f"{record.get('pid', '-')!s:>7} {name} "
        line += self._style(f"{kind:16}", _KIND_STYLES.get(kind.partition(".")[0], "blue"))
        line += f" {target:{self._target_width}}"
        if parts:
            line += "  " + " ".join(parts)
        if failed:
            line += "  " + self._style(failed, "red")
        return line.rstrip()


def subject(record: Mapping[str, Any]) -> str:
    """What an Action is about: its target, and what a person would miss beside it. Not harmless."""
    kind, target, to = record.get("kind"), record.get("target"), record.get("to")
    if kind == "proc.exit":
        return f"exit {record.get('signal') or record.get('status', '?')}"
    if target is None:
        text = record.get("text")
        return "" if text is None else str(text)
    argv = record.get("argv")
    if kind == "proc.exec" and isinstance(argv, list):
        return " ".join((str(target), *map(str, argv[1:])))
    return str(target) if to is None else f"{target} -> {to}"


def exit_text(value: Any) -> str:
    """The target's end as the end record has it: a number, or a signal's name."""
    if isinstance(value, Mapping):
        if value.get("signal"):
            return harmless(str(value["signal"]))
        return harmless(str(value.get("status", value.get("code", "?"))))
    return "?" if value is None else harmless(str(value))

"""Processes and records as lines of a given width: pieces of text with the name of a style. Pure.

All text of the log passes `harmless`: no control, bidi or other invisible character is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len, set_cell_size

from capsule.commands._lines import clock_text, exit_text, harmless, size_text, subject
from capsule.watch.model import Process

Line = list[tuple[str, str]]
"""(text, style) pieces; a style is rich's own words, "" for none."""

MAX_INDENT = 8
WIDE_TREE = 30
"""Columns from which on each level of the tree gets two of them, else one."""

WITH_PROGRAM = 62
"""Columns from which on the pid and the program fit beside the rest."""

_KIND_STYLES = {"proc": "green", "thread": "green", "net": "magenta", "cred": "yellow",
                "sys": "yellow", "file": "cyan", "dir": "cyan", "gap": "bold red"}  # fmt: skip
_STATES = {"running": "R", "sleeping": "S", "disk-sleep": "D", "stopped": "T",
           "tracing-stop": "t", "zombie": "Z", "idle": "I"}  # fmt: skip


def fit(text: str, width: int) -> str:
    """`text` in exactly `width` columns, cut at its right if it is longer."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…" if width > 0 else ""


def fit_path(text: str, width: int) -> str:
    """As `fit`, but a path loses its beginning: its end says more."""
    if not text.startswith("/") or cell_len(text) <= width or width < 2:
        return fit(text, width)
    kept: list[str] = []
    room = width - 1
    for char in reversed(text):
        room -= cell_len(char)
        if room < 0:
            break
        kept.append(char)
    return set_cell_size("…" + "".join(reversed(kept)), width)


def program(exe: object) -> str:
    """The last part of a program's path, as it is."""
    return str(exe or "-").rpartition("/")[2] or "-"


def process_line(process: Process, width: int, seen: tuple[str, float] | None) -> Line:
    """One line of the tree. `seen`: its state and CPU as /proc has them, of a living one."""
    if process.end is not None:
        state, style = process.end, "red" if process.ended_badly else "dim"
    elif seen is not None:
        state, style = f"{_STATES.get(seen[0], '?')} {seen[1]:3.0f}%", "bold green"
    else:
        state, style = "·", "green"
    if state.startswith("SIG"):
        state = state[3:]
    level = "│ " if width >= WIDE_TREE else "│"
    indent = level * min(process.depth, MAX_INDENT)
    if process.depth > MAX_INDENT:
        indent = indent[: -len(level)] + "┆ "[: len(level)]
    fold = "▸" if process.folded and process.children else " "
    name = f"{process.pid if process.pid is not None else '-'} {program(process.exe)}"
    words = " ".join(process.argv[1:width])[:width]
    base = "" if process.end is None else "dim"
    if process.tagged:
        base = "yellow"
    left, more, state = (harmless(text) for text in (f"{indent}{fold}{name}", words, state))
    room = max(0, width - cell_len(state) - 1)
    more = fit(f" {more}", max(0, room - cell_len(left)))
    return cut(
        [(fit(left, room - cell_len(more)), base), (f"{more} ", "dim"), (state, style)], width
    )


def record_line(record: Mapping[str, Any], width: int, *, of_all: bool) -> Line:
    """One record. `of_all`: the list is of all processes, so that it has to say whose it is."""
    if record.get("type") != "action":
        return _other_line(record, width)
    pieces = [
        (str(record.get("kind")), ""),
        (str(record.get("pid", "-")), ""),
        (program(record.get("exe")), ""),
        (subject(record), ""),
        *_tail(record),
    ]
    (kind, _), (pid, _), (exe, _), (about, _), *tail = _harmless(pieces)
    when = clock_text(record.get("first_ns"))[: 12 if width >= WITH_PROGRAM else 8]
    line: Line = [(f"{when} ", "dim")]
    room = width - cell_len(when) - 1
    if of_all and width >= WITH_PROGRAM:
        line.append((f"{pid:>7} {fit(exe, 10)} ", ""))
        room -= 19
    style = _KIND_STYLES.get(kind.partition(".")[0], "blue")
    kind_width = min(13, max(4, room // 3))
    line.append((fit(kind, kind_width) + " ", style))
    room -= kind_width + 1
    if _width(tail) > room // 2:
        tail = cut(tail, room // 2)
    fitted = fit if kind == "proc.exec" else fit_path  # of a command the beginning says more
    line.append((fitted(about, max(0, room - _width(tail))), ""))
    return cut([*line, *tail], width)


def _harmless(line: Line) -> Line:
    return [(harmless(text), style) for text, style in line]


def _width(line: Line) -> int:
    return sum(cell_len(text) for text, _ in line)


def _tail(record: Mapping[str, Any]) -> Line:
    """Count, bytes, errors and tags: what stands at the right."""
    parts: Line = []
    count, size, errors = record.get("count"), record.get("bytes"), record.get("errors")
    if isinstance(count, int) and count != 1 and record.get("kind") != "proc.exit":
        parts.append((f" x{count}", ""))
    if isinstance(size, int) and size:
        parts.append((f" {size_text(size)}", ""))
    if isinstance(errors, Mapping):
        for name, number in errors.items():
            times = "" if number == 1 else f" x{number}"
            parts.append((f" {name}{times}", "red"))
    tags = record.get("tags")
    if isinstance(tags, list):
        parts += [(f" #{tag}", "yellow") for tag in tags]
    return parts


def cut(line: Line, width: int) -> Line:
    """The line's first `width` columns."""
    kept: Line = []
    room = width
    for text, style in line:
        if room <= 0:
            break
        shown = text if cell_len(text) <= room else fit(text, room)
        kept.append((shown, style))
        room -= cell_len(shown)
    return kept


def whole(line: Line, width: int) -> Line:
    """As many of the line's first pieces as fit without being cut; the first one in any case."""
    kept = line[:1]
    for piece in line[1:]:
        if _width([*kept, piece]) > width:
            break
        kept.append(piece)
    return cut(kept, width)


def _other_line(record: Mapping[str, Any], width: int) -> Line:
    kind = str(record.get("type"))
    said = ""
    if kind == "start":
        argv = record.get("argv")
        said = " ".join(map(str, argv)) if isinstance(argv, list) else ""
    elif kind == "gap":
        count = record.get("count")
        said = f"{'an unknown number' if count is None else count} lost: {record.get('why')}"
    elif kind == "end":
        said = f"complete, exit {exit_text(record.get('exit'))}"
    when = clock_text(record.get("time_ns"))[: 12 if width >= WITH_PROGRAM else 8]
    text = fit(harmless(f"{when} {kind} {said}"), width)
    return [(text, "bold red" if kind == "gap" else "dim")]

"""`tail -f` on a terminal: repeated Actions fold into one line, and no line ever wraps."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from capsule.commands._live import Depths, LiveView, columns, cut

SGR = re.compile(r"\x1b\[[0-9;]*m")
WIDTH, ROWS = 80, 24


class Screen:
    """As much of a terminal as the view uses (ECMA-48): lines, CPL, CNL, EL."""

    def __init__(self) -> None:
        self.lines = [""]
        self.at = 0

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[\d*[FEK]|\n|[^\n\x1b]+|\x1b\[[0-9;]*m", text):
            if part == "\n":
                self.at += 1
                if self.at == len(self.lines):
                    self.lines.append("")
            elif part.endswith("F") and part[0] == "\x1b":
                self.at -= int(part[2:-1])
                assert self.at >= 0
            elif part.endswith("E") and part[0] == "\x1b":
                self.at += int(part[2:-1])
                assert self.at < len(self.lines)
            elif part == "\x1b[2K":
                self.lines[self.at] = ""
            elif not SGR.fullmatch(part):
                self.lines[self.at] += part


def action(pid: int, kind: str, target: str, count: int = 1, **more: Any) -> dict[str, Any]:
    return {"type": "action", "kind": kind, "target": target, "count": count, "proc": pid,
            "pid": pid, "exe": "/bin/sh", "first_ns": 10**18, **more}  # fmt: skip


def shown(records: list[dict[str, Any]], **options: Any) -> list[str]:
    view, screen = LiveView((WIDTH, ROWS), **options), Screen()
    for record in records:
        screen.write(view.show(record))
    assert screen.lines[screen.at] == ""
    return screen.lines[:-1]


def test_repeated_actions_fold_even_when_two_processes_take_turns() -> None:
    records = [action(pid, "file.read", "/x", 2, bytes=10) for pid in (1, 2, 1, 2, 1)]
    first, second = shown(records)
    assert first.split()[1:] == ["1", "sh", "file.read", "/x", "x6", "30B"]
    assert second.split()[1:] == ["2", "sh", "file.read", "/x", "x4", "20B"]


def test_what_fails_does_not_fold_with_what_works() -> None:
    records = [action(1, "file.open", "/x"), action(1, "file.open", "/x", errors={"ENOENT": 1})]
    records.append(records[1])
    good, bad = shown(records)
    assert good.split()[-1] == "/x"
    assert bad.split()[-3:] == ["x2", "ENOENT", "x2"]


def test_checkpoints_and_gaps_stand_alone() -> None:
    assert len(shown([{"type": "checkpoint", "seq": 4}] * 3)) == 3


@given(
    st.lists(
        st.tuples(
            st.integers(1, 4), st.sampled_from(["file.read", "net.send"]), st.integers(0, 9),
            st.integers(1, 5),
        ),
        max_size=60,
    ),
    st.booleans(),
)  # fmt: skip
def test_folding_loses_no_count_and_no_line_wraps(
    steps: list[tuple[int, str, int, int]], colour: bool
) -> None:
    records = [action(pid, kind, f"/t/{name}", count) for pid, kind, name, count in steps]
    lines = shown(records, colour=colour)
    total = sum(int(found[1]) if (found := re.search(r" x(\d+)", line)) else 1 for line in lines)
    assert total == sum(count for *_, count in steps)
    assert all(len(line) <= WIDTH for line in lines)


TEXT = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), max_size=60)


@given(TEXT, st.integers(1, 40))
def test_a_cut_text_fits_and_a_short_one_is_left_alone(text: str, width: int) -> None:
    room = sum(map(columns, text))
    result = cut(text, width)
    assert sum(map(columns, result)) <= width
    if room <= width:
        assert result == text
    else:
        assert result.endswith("…")
        assert text.startswith(result[:-1])


@given(TEXT, st.integers(1, 40))
def test_colours_take_no_room_and_end_where_the_text_is_cut(text: str, width: int) -> None:
    result = cut(f"\x1b[31m{text}\x1b[0m", width)
    assert SGR.sub("", result) == cut(text, width)
    assert SGR.findall(result)[-1] == "\x1b[0m"


def test_the_tree_indents_by_birth() -> None:
    depths = Depths()
    depths.learn(
        [
            b'{"seq":1,"type":"action","kind":"proc.spawn","target":"pid:2","proc":1,"child":2}',
            b'{"seq":2,"type":"action","kind":"proc.spawn","target":"pid:3","proc":2,"child":3}',
            b'{"seq":3,"type":"action","kind":"file.open","target":"\\"proc\\":1,\\"child\\":9"}',
        ]
    )
    records = [action(proc, "proc.exec", "/bin/true") for proc in (1, 2, 3, 9)]
    names = [line[24:48].rstrip() for line in shown(records, depths=depths)]
    assert names == ["sh", "│ sh", "│ │ sh", "sh"]

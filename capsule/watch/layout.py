"""How a terminal's room is shared out. Pure."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_LINES = 3
FOOT_LINES = 1
ONE_PANE = 60
"""Below so many columns only the pane that has the focus is shown."""

SPLIT_LINES = 36
"""From so many lines on the target's terminal stands below the panes; else it takes their place."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns of the tree (0: it stands alone), and the size of the target's terminal."""

    tree_columns: int
    target_columns: int
    target_lines: int
    split: bool
    """Whether panes and the target's terminal are seen together."""


def layout(columns: int, lines: int) -> Layout:
    """The layout for a terminal of this size. One line above the target's terminal is its title."""
    body = max(2, lines - HEAD_LINES - FOOT_LINES)
    split = lines >= SPLIT_LINES
    tree = 0 if columns < ONE_PANE else min(44, max(24, columns * 3 // 10))
    return Layout(tree, max(1, columns), max(1, (body // 2 if split else body) - 1), split)

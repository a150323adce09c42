"""dot: the tree of a run's processes for Graphviz, `dot -Tsvg` and the like.

A node is a program that a process ran: from its exec, or its birth, to the next exec or its end.
Where more than `FOLD` programs that one node started are of the same name, ended in the same way
and started the same in turn, they are one node that says how many they were: a build of 1,000
compilers fits a page. Held in memory is the tree, not the Actions.
"""

from __future__ import annotations

import posixpath
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence

from capsule.export.options import Options
from capsule.export.runs import Run
from capsule.history import Node, tree, walk
from capsule.text import harmless

FOLD = 3
LABEL_CHARACTERS = 60
TOOLTIP_CHARACTERS = 2000

_HEAD = """digraph capsule {
  graph [rankdir=LR, nodesep=0.15, fontname="sans-serif"];
  node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif", fontsize=10];
  edge [arrowsize=0.6, color="#888888"];
"""

_Shape = tuple[str, str | None, tuple[int, ...]]


def write(runs: Sequence[Run], options: Options) -> Iterator[bytes]:
    """Return one graph of all runs, each a cluster of its own."""
    del options
    yield _HEAD.encode()
    for number, run in enumerate(runs):
        roots = tree(run.records())
        yield f"  subgraph cluster_{number} {{\n    label={quoted(run.id)};\n".encode()
        yield "".join(_statements(roots, number)).encode()
        yield b"  }\n"
    yield b"}\n"


def _statements(roots: list[Node], number: int) -> Iterator[str]:
    """The nodes and edges of one run; `number` keeps their names apart from other runs'."""
    shapes = _shapes(roots)
    names = 0
    todo: list[tuple[str | None, Node, int, bool]] = [
        (None, node, count, False) for node, count in reversed(_folded(roots, shapes))
    ]
    while todo:
        parent, node, count, sample = todo.pop()
        name = f"n{number}_{names}"
        names += 1
        sample = sample or count > 1
        yield f"    {name} [{_attributes(node, count, sample)}];\n"
        if parent is not None:
            yield f"    {parent} -> {name};\n"
        children = reversed(_folded(node.children, shapes))
        todo += [(name, child, count, sample) for child, count in children]


def _shapes(roots: list[Node]) -> dict[int, int]:
    """A number for each node (by its id()) that those share which may be folded into one."""
    numbers: dict[_Shape, int] = {}
    shapes: dict[int, int] = {}
    for _, node in reversed(list(walk(roots))):  # children come after their parents in `walk`
        below = tuple(sorted({shapes[id(child)] for child in node.children}))
        shape = (_program(node), node.end, below)
        shapes[id(node)] = numbers.setdefault(shape, len(numbers))
    return shapes


def _folded(kin: list[Node], shapes: dict[int, int]) -> list[tuple[Node, int]]:
    """Siblings in order, each with how many it stands for."""
    alike: defaultdict[int, list[Node]] = defaultdict(list)
    for node in kin:
        alike[shapes[id(node)]].append(node)
    found: list[tuple[Node, int]] = []
    for nodes in alike.values():
        found += [(nodes[0], len(nodes))] if len(nodes) > FOLD else [(node, 1) for node in nodes]
    return found


def _program(node: Node) -> str:
    name = node.exe or (node.argv[0] if node.argv else "")
    return posixpath.basename(name) or "?"


def _attributes(node: Node, count: int, sample: bool) -> str:
    """`sample`: the node stands for others too, or is below one that does."""
    words = shlex.join(node.argv) or _program(node)
    shown = _cut(f"({words})" if node.born else words, LABEL_CHARACTERS)
    if sample:
        lines = [f"{count} × {_program(node)}"] if count > 1 else []
        lines.append(f"such as {shown}")
    else:
        seconds = _seconds(node)
        took = "" if seconds is None else f", {seconds:.3f} s"
        lines = [shown, f"pid {node.pid}{took}"]
    lines.append(node.end or "still running")
    if node.tags:
        lines.append(_cut(" ".join(node.tags), LABEL_CHARACTERS))
    colour = "white"
    if node.end not in ("exit 0", "exec", None):
        colour = "#fbd5d5"
    elif node.tags:
        colour = "#fdf0c8"
    label = "\\n".join(escaped(line) for line in lines)
    tooltip = quoted(_cut(words, TOOLTIP_CHARACTERS))
    return f'label="{label}", tooltip={tooltip}, fillcolor="{colour}"'


def _seconds(node: Node) -> float | None:
    if node.first_ns is None or node.last_ns is None:
        return None
    return (node.last_ns - node.first_ns) / 1e9


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def escaped(text: str) -> str:
    """Text within a DOT string: nothing in it is an escape, an end, a control or invisible.

    Graphviz reads entities such as `&lt;` in labels, too; an ampersand must not begin one.
    """
    text = harmless(text).replace("\\", "\\\\").replace('"', '\\"')
    return text.replace("&", "&amp;")


def quoted(text: str) -> str:
    """Text as a DOT string."""
    return f'"{escaped(text)}"'

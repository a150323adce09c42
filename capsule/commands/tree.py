"""`capsule tree RUN`: who started whom, with which words, for how long, and how it ended."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from typing import Any

from capsule.commands._lines import harmless
from capsule.commands._runoptions import add_run_options, chosen_run
from capsule.history import Node, tree, walk
from capsule.records import forwards, load, type_of


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "tree",
        help="show the process tree of a run",
        description="Show the process tree of a run: one line for each program that a process "
        "ran, with its words, its time, its end and its tags.",
    )
    add_run_options(parser, "latest", json="the tree as one JSON array")
    parser.add_argument("--wide", action="store_true", help="do not cut lines to the terminal")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the tree."""
    path = chosen_run(args)
    roots = tree(load(line) for line in forwards(path) if type_of(line) == "action")
    if args.json:
        print(json.dumps([_plain(root) for root in roots], ensure_ascii=False))
        return 0
    cut = sys.stdout.isatty() and not args.wide
    width = shutil.get_terminal_size().columns if cut else None
    for branch, node in walk(roots):
        line = _branch(branch) + describe(node)
        print(line if width is None or len(line) <= width else line[: width - 1] + "…")
    return 0


def _branch(path: list[bool]) -> str:
    if not path:
        return ""
    bars = "".join("   " if last else "│  " for last in path[:-1])
    return bars + ("└─ " if path[-1] else "├─ ")


def describe(node: Node) -> str:
    """Return one node in words."""
    words = " ".join(shlex.quote(word) for word in node.argv) or "?"
    text = harmless(words)
    if node.born:
        text = f"({text})"  # it never called exec: these are its parent's words
    parts = [f"{node.pid if node.pid is not None else '-'} {text}"]
    if node.first_ns is not None and node.last_ns is not None:
        parts.append(f"{(node.last_ns - node.first_ns) / 1e9:.3f} s")
    parts.append(node.end or "still running")
    if node.tags:
        parts.append("[" + " ".join(harmless(tag) for tag in node.tags) + "]")
    return "  ".join(parts)


def _plain(root: Node) -> dict[str, Any]:
    out: dict[int, dict[str, Any]] = {}
    nodes = [node for _, node in walk([root])]
    for node in reversed(nodes):  # children before parents, without recursion
        duration = None
        if node.first_ns is not None and node.last_ns is not None:
            duration = node.last_ns - node.first_ns
        out[id(node)] = {
            "proc": node.proc, "pid": node.pid, "exe": node.exe, "argv": node.argv,
            "forked": node.born, "first_ns": node.first_ns, "duration_ns": duration,
            "end": node.end, "actions": node.actions, "tags": node.tags,
            "children": [out[id(child)] for child in node.children],
        }  # fmt: skip
    return out[id(root)]

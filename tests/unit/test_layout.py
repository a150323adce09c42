"""The shape of the package: imports go one way, and each outside thing has one room.

A module's row says all that it may import of ours; a module without a row fails.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PACKAGE = REPO / "capsule"
MAX_LINES = 350

# From the bottom up; a module may import those of the lines above its own, and what its own adds.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("capsule",),
    ("events", "errors", "text", "killtree", "_linux"),
    ("syscalls", "_chain", "_keys", "chain", "logdir"),
    ("logfile", "verify"),
    ("_jsonl", "_parse", "enrich", "aggregate", "log", "trace"),
    ("wire",),
    ("pipeline",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
SAME_LAYER: dict[str, set[str]] = {}
"""Imports within a layer, each with its reason beside it."""

ONE_ROOM = {"zmq": {"wire"}, "multiprocessing": {"pipeline"}}
"""An outside package, and the only modules that import it."""

DATA = {"syscalls"}
"""Modules that are a table, which no split would make easier to read."""


def sources() -> dict[str, Path]:
    """Every module by its dotted name below the package; `capsule` is the package itself."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py*")):
        if path.suffix in (".py", ".pyx"):
            parts = path.relative_to(PACKAGE).with_suffix("").parts
            found[".".join(part for part in parts if part != "__init__") or "capsule"] = path
    return found


def imported(name: str, path: Path) -> set[str]:
    """Dotted names of all that a module imports, wherever in it; ours without `capsule.`.

    Cython is no Python, so that a .pyx is read line by line.
    """
    text = path.read_text(encoding="utf-8")
    found = set()
    if path.suffix == ".pyx":
        for module in re.findall(r"^\s*(?:from|c?import)\s+([\w.]+)", text, re.MULTILINE):
            found.add(module)
    else:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: line {node.lineno}: relative import"
                base = node.module or ""
                names = {f"{base}.{alias.name}" for alias in node.names}
                inner = base == "capsule" or base.startswith("capsule.")
                found |= {n if inner and is_module(n) else base for n in names}
    return {re.sub(r"^capsule\.", "", module) for module in found} - {name}


def is_module(dotted: str) -> bool:
    stem = REPO.joinpath(*dotted.split("."))
    return any(stem.with_suffix(end).exists() for end in (".py", ".pyx")) or stem.is_dir()


def room(name: str) -> str:
    return name.partition(".")[0]


SOURCES = sources()
LAYER = {name: height for height, layer in enumerate(LAYERS) for name in layer}
OURS = {room(name) for name in SOURCES}


def test_every_module_has_its_layer() -> None:
    assert set(LAYER) >= OURS


@pytest.mark.parametrize("name", SOURCES)
def test_imports_go_one_way(name: str) -> None:
    mine = room(name)
    for other in imported(name, SOURCES[name]):
        theirs = room(other)
        if theirs not in OURS or theirs == mine or theirs in SAME_LAYER.get(mine, ()):
            continue
        assert LAYER[theirs] < LAYER[mine], f"{name} imports {other}"


@pytest.mark.parametrize("package", ONE_ROOM)
def test_one_room_knows(package: str) -> None:
    knowing = {
        name
        for name, path in SOURCES.items()
        if package in {room(module) for module in imported(name, path)}
    }
    assert knowing <= ONE_ROOM[package]


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in DATA])
def test_a_module_can_be_read_in_one_sitting(name: str) -> None:
    lines = SOURCES[name].read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{name} has {lines} lines; split it into two rooms"


def test_no_room_for_everything() -> None:
    vague = {"utils", "util", "helpers", "common", "misc"}
    assert not vague & {part for name in SOURCES for part in name.split(".")}


def test_every_package_is_installed() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {
        ".".join(path.parent.relative_to(REPO).parts) for path in PACKAGE.rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == packages

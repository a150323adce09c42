"""The shape of the package: imports go one way, and each outside thing has one room."""

from __future__ import annotations

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PACKAGE = REPO / "capsule"
MAX_LINES = 400

STAGES = ("tracer", "_parse", "enrich", "aggregate", "seal")

ORDER: tuple[tuple[str, ...], ...] = (
    ("events", "errors"),
    ("syscalls", "chain"),
    STAGES,
    ("wire",),
    ("topology",),
    ("pipeline",),
    ("supervise",),
    ("target",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
"""From the bottom up. No room reaches one beside or above it, by whatever way; rooms that are
not named here are helpers, and must not lead there either."""

ONE_ROOM: dict[str, set[str]] = {
    "zmq": {"wire", "fanout", "subscriber", "curve"},
    "multiprocessing": set(),
}
"""An outside package, and the only modules that import it."""


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
IMPORTS = {name: imported(name, path) for name, path in SOURCES.items()}
OURS = {name: {other for other in IMPORTS[name] if other in SOURCES} for name in SOURCES}
LEVEL = {name: height for height, names in enumerate(ORDER) for name in names}


def reached(name: str) -> set[str]:
    """Every module of ours that importing `name` brings in."""
    found: set[str] = set()
    frontier = set(OURS[name])
    while frontier:
        found |= frontier
        frontier = {other for one in frontier for other in OURS[one]} - found
    return found


def test_imports_make_no_circle() -> None:
    TopologicalSorter(OURS).prepare()


@pytest.mark.parametrize("name", SOURCES)
def test_imports_go_one_way(name: str) -> None:
    mine = LEVEL.get(room(name))
    if mine is None:
        return
    wrong = {
        other
        for other in reached(name)
        if LEVEL.get(room(other), -1) >= mine and room(other) != room(name)
    }
    assert not wrong, f"{name} reaches {', '.join(sorted(wrong))}"


def test_every_named_room_exists() -> None:
    assert {name for names in ORDER for name in names} <= {room(name) for name in SOURCES}


def test_every_module_is_used() -> None:
    # The pipeline imports its stages, and the command line its commands, by name and late.
    # pytest imports its plugin, `testing`, by name too.
    started = {"__main__", "testing", *(n for n in SOURCES if room(n) == "commands")}
    packages = {name for name, path in SOURCES.items() if path.name == "__init__.py"}
    used = started.union(*(reached(name) for name in started), packages)
    assert set(SOURCES) - used == set()


@pytest.mark.parametrize("package", ONE_ROOM)
def test_one_room_knows(package: str) -> None:
    knowing = {name for name in SOURCES if package in {room(other) for other in IMPORTS[name]}}
    assert knowing == ONE_ROOM[package]


def test_nothing_else_starts_a_stage() -> None:
    forking = {
        name for name, path in SOURCES.items() if "os.fork()" in path.read_text(encoding="utf-8")
    }
    assert forking == {"pipeline", "gate"}


@pytest.mark.parametrize("name", SOURCES)
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


@pytest.mark.parametrize("ignore", [".gitignore", ".dockerignore"])
def test_c_written_by_hand_is_not_ignored_with_the_generated(ignore: str) -> None:
    by_hand = [path for path in PACKAGE.glob("*.c") if not path.with_suffix(".pyx").exists()]
    assert by_hand
    lines = (REPO / ignore).read_text(encoding="utf-8").splitlines()
    assert [
        f"!capsule/{path.name}" for path in by_hand if f"!capsule/{path.name}" not in lines
    ] == []

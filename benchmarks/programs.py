"""The workloads: programs built from the sources here, each at a full, a short and a tiny size."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
SOURCES = HERE / "workloads"

SIZES = ("full", "short", "tiny")
"""`full` is what the goals are about; `short` takes a few seconds in all; `tiny` only proves that
everything works."""


def cache_dir() -> Path:
    """Where what is built and recorded is kept: CAPSULE_BENCH_DIR, else in /tmp, of this user."""
    named = os.environ.get("CAPSULE_BENCH_DIR")
    path = Path(named) if named else Path(f"/tmp/capsule-bench-{os.getuid()}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise SystemExit(f"{path} is not yours; name another directory with CAPSULE_BENCH_DIR")
    return path


def binaries() -> Path:
    """The directory with every C workload, compiled; only what has changed is built anew."""
    sources = sorted(SOURCES.glob("*.c"))
    key = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    built = cache_dir() / f"bin-{key}"
    if built.is_dir():
        return built
    fresh = cache_dir() / f"bin-{key}.{os.getpid()}"
    fresh.mkdir()
    for source in sources:
        words = ["cc", "-O2", "-Wall", "-Werror", "-pthread", "-o", str(fresh / source.stem)]
        subprocess.run([*words, str(source)], check=True)
    fresh.rename(built)
    return built


@dataclass(frozen=True, slots=True)
class Workload:
    """A program to run: `argv(size)` prepares what it needs and says how it is run.

    `title` says what it does, with `{}` for the number that its size stands for.
    """

    name: str
    title: str
    sizes: tuple[int, int, int]
    make_argv: Callable[[int], list[str]]

    def argv(self, size: str) -> list[str]:
        return self.make_argv(self.sizes[SIZES.index(size)])

    def titled(self, size: str) -> str:
        return self.title.format(self.sizes[SIZES.index(size)])


def _binary(name: str, *more: str) -> Callable[[int], list[str]]:
    return lambda number: [str(binaries() / name), *more, str(number)]


def _storm(number: int) -> list[str]:
    return [str(binaries() / "storm"), str(number), "/bin/true"]


def _script(name: str) -> Callable[[int], list[str]]:
    runner = "sh" if name.endswith(".sh") else sys.executable
    return lambda number: [runner, str(SOURCES / name), str(number)]


def _make(files: int) -> list[str]:
    """A C project of `files` sources that include one another's headers."""
    where = cache_dir() / f"project-{files}"
    if not where.is_dir():
        fresh = where.with_suffix(f".{os.getpid()}")
        fresh.mkdir()
        names = [f"part{number}" for number in range(files)]
        for number, name in enumerate(names):
            (fresh / f"{name}.h").write_text(f"int {name}(int);\n")
            other = names[number - 1]
            (fresh / f"{name}.c").write_text(
                f'#include <stdio.h>\n#include <stdlib.h>\n#include "{name}.h"\n'
                f'#include "{other}.h"\nint {name}(int n) {{\n'
                f"    return n > 9 ? {other}(n / 2) : n;\n}}\n"
            )
        (fresh / "main.c").write_text('#include "part0.h"\nint main(void) { return part0(0); }\n')
        objects = " ".join(f"{name}.o" for name in ["main", *names])
        (fresh / "Makefile").write_text(
            f"program: {objects}\n\t$(CC) -o $@ $^\n%.o: %.c\n\t$(CC) -c -o $@ $<\n"
            f"clean:\n\trm -f program {objects}\n"
        )
        fresh.rename(where)
    return ["sh", str(SOURCES / "make.sh"), str(where)]


def _git(commits: int) -> list[str]:
    """A repository with `commits` commits to clone."""
    where = cache_dir() / f"repository-{commits}"
    if not where.is_dir():
        fresh = where.with_suffix(f".{os.getpid()}")
        identity = ["-c", "user.name=Bench", "-c", "user.email=bench@example.org"]
        subprocess.run(["git", "init", "-q", str(fresh)], check=True)
        for number in range(commits):
            (fresh / f"file{number}").write_text(f"{number}\n" * 20)
            subprocess.run(["git", "-C", str(fresh), "add", "-A"], check=True)
            words = ["git", "-C", str(fresh), *identity, "commit", "-q", "-m", f"Add {number}"]
            subprocess.run(words, check=True)
        fresh.rename(where)
    return ["sh", str(SOURCES / "git.sh"), str(where), str(cache_dir() / f"clone-{os.getpid()}")]


def _pip(_: int) -> list[str]:
    # The interpreter's own environment may have no pip; any pip will do.
    pip = shutil.which("pip", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return [pip or "pip", "--version"]


def _threads(rounds: int) -> list[str]:
    return [str(binaries() / "threads"), "8", str(rounds)]


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("storm", "{:,} x fork and exec of /bin/true", (2000, 200, 5), _storm),
        Workload("tree", "fork tree, {} deep", (10, 6, 2), _binary("tree")),
        Workload("shell", "shell loop, {} pipes", (300, 40, 2), _script("shell.sh")),
        Workload("dense", "{:,} calls in a row", (100_000, 10_000, 100), _binary("dense")),
        Workload("make", "make -j2, {} C files", (40, 6, 1), _make),
        Workload("imports", "{} python imports", (20, 6, 1), _script("imports.py")),
        Workload("git", "git clone, status, log; {} commits", (30, 4, 1), _git),
        Workload("pip", "pip --version", (1, 1, 1), _pip),
        Workload("http", "{:,} local HTTP requests", (2000, 100, 5), _script("http_requests.py")),
        Workload("threads", "8 threads at one lock, {:,} times each", (2500, 200, 5), _threads),
    )
}

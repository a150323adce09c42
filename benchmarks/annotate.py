"""Show, and hold, that no byte of a log meets Python.

    python benchmarks/annotate.py

Writes Cython's annotated source to build/annotate/ (yellow is Python), then reads the C: all that
runs below `Parser.feed` has to be free of Python's API. `nogil` promises it; here it is seen.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from Cython.Compiler.Main import CompilationOptions, compile

REPO = Path(__file__).resolve().parents[1]
OUT = REPO / "build/annotate"
ROOMS = [
    "scan",
    "value",
    "prefix",
    "names",
    "notes",
    "tracees",
    "calls",
    "halves",
    "lines",
    "batch",
]
METHODS = ("take_chunk", "take_carried", "take_piece", "add_carry", "peek")
PYTHON = re.compile(
    r"\b(?:_?Py[A-Z]\w*|__Pyx_(?:GetItem|Raise|GOTREF|XDECREF|AddTraceback)\w*)\s*\("
)
FUNCTION = re.compile(r"^(?:static|CYTHON_INLINE)[^;{}]*?\b(__pyx_f_\w+)\([^;{}]*\) \{\n", re.M)


def bodies(source: str) -> dict[str, str]:
    """The C functions that Cython made of cdef functions, by name."""
    return {
        found[1]: source[found.end() : source.index("\n}\n", found.end())]
        for found in FUNCTION.finditer(source)
    }


def main() -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    target = OUT / "_parse.c"
    directives = {
        "language_level": "3",
        "boundscheck": False,
        "wraparound": False,
        "cdivision": True,
    }
    options = CompilationOptions(
        output_file=str(target), annotate=True, compiler_directives=directives,
        include_path=[str(REPO)],
    )  # fmt: skip
    compile([str(REPO / "capsule/_parse.pyx")], options)
    below_feed = {
        name: body
        for name, body in bodies(target.read_text()).items()
        if any(f"_{len(room) + 1}_{room}_" in name for room in ROOMS)
        or name.endswith(tuple(f"Parser_{method}" for method in METHODS))
    }
    touched = {name: PYTHON.findall(body) for name, body in below_feed.items()}
    for name, calls in touched.items():
        if calls:
            print(f"{name}: {', '.join(sorted(set(calls)))}")
    print(f"{len(below_feed)} functions below feed; annotated source: {OUT}/_parse.html")
    return 1 if any(touched.values()) or len(below_feed) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())

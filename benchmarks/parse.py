"""How fast the parser is, on a real log of a compile (`strace -f -ttt -y -s 1024 cc …`).

    python -m benchmarks.parse             measure; exit 1 if a figure is below its target
    python -m benchmarks.parse callgrind   count instructions; exit 1 if they grew by 3 %

Everything runs on one core. A time is the best of some; ratios are taken in one run. Instructions
are counted on a recorded log (tests/data/parse/base.strace) and depend on the compiler only;
benchmarks/parse.json keeps them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from capsule._jsonl import jsonl
from capsule._parse import Parser

REPO = Path(__file__).resolve().parents[1]
KEPT = REPO / "benchmarks/parse.json"
CHUNK = 256 << 10
LINES_S, MB_S, TIMES_REGEX, JSON_MB_S = 2e6, 300, 10, 40
SOURCE = """#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
int main(void) { return puts("hello") < 0; }
"""
# What one would write first: a line's parts. It joins no halves and splits no arguments.
LINE = re.compile(rb"(\d+) +(\d+\.\d+) (\w+)\((.*)\) += (\S+)(?: (E\w+))?")


def record() -> bytes:
    """A compile under strace, with the options of the pipeline."""
    with tempfile.TemporaryDirectory() as where:
        (Path(where) / "hello.c").write_text(SOURCE)
        subprocess.run(
            ["strace", "-f", "-ttt", "-y", "-s", "1024", "-o", "log", "cc", "-O2", "hello.c"],
            cwd=where,
            check=True,
        )
        return (Path(where) / "log").read_bytes()


def best(*runs: Callable[[], object], times: int = 5) -> list[float]:
    """Seconds of the fastest of some runs of each; they take turns, to see the same machine."""
    seconds = [float("inf")] * len(runs)
    for _ in range(times):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            seconds[i] = min(seconds[i], time.perf_counter() - start)
    return seconds


def feed(chunks: list[bytes]) -> None:
    parser = Parser()
    for chunk in chunks:
        parser.feed(chunk)
    parser.finish()


def match(chunks: list[bytes]) -> None:
    """What the parser is compared to: a batch is a list of the parts of each line."""
    for chunk in chunks:
        batch = []
        for line in chunk.splitlines():
            if parts := LINE.match(line):
                batch.append(parts.groups())


def end_to_end(log: bytes) -> float:
    """Seconds of `capsule parse FILE >FILE`, process start included."""
    with tempfile.TemporaryDirectory() as where:
        path = Path(where) / "log"
        path.write_bytes(log)

        def run() -> None:
            with open(Path(where) / "json", "wb") as sink:
                command = [sys.executable, "-m", "capsule", "parse", str(path)]
                subprocess.run(command, stdout=sink, check=True, cwd=REPO)

        return best(run, times=3)[0]


def report(what: str, value: float, unit: str, target: float) -> bool:
    verdict = "ok" if value >= target else "TOO SLOW"
    print(f"{what:<42} {value:>10.2f} {unit:<10} target {target:g}: {verdict}")
    return value >= target


def measure() -> int:
    one = record()
    log = one * (100_000_000 // len(one) + 1)
    lines = log.count(b"\n")
    chunks = [log[at : at + CHUNK] for at in range(0, len(log), CHUNK)]
    print(f"{len(log) / 1e6:.0f} MB, {lines} lines, {len(log) / lines:.0f} bytes each")
    part = chunks[: len(chunks) // 20]
    batches = [Parser().feed(chunk) for chunk in part]
    seconds, regex, to_json = best(
        lambda: feed(part),
        lambda: match(part),
        lambda: [jsonl(batch) for batch in batches],
        times=20,
    )
    mb = sum(map(len, part)) / 1e6
    part_lines = sum(chunk.count(b"\n") for chunk in part)
    print(f"{'events to JSON lines, alone':<42} {mb / to_json:>10.0f} MB/s")
    good = [
        report("lines into batches", part_lines / seconds / 1e6, "M lines/s", LINES_S / 1e6),
        report("text into batches", mb / seconds, "MB/s", MB_S),
        report("times a compiled-regex loop", regex / seconds, "", TIMES_REGEX),
        report("capsule parse, end to end", len(log) / 1e6 / end_to_end(log), "MB/s", JSON_MB_S),
    ]
    return 0 if all(good) else 1


def counted(repeats: int) -> int:
    """Instructions of a process that parses the recorded log so many times."""
    environment = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as where:
        out = Path(where) / "callgrind"
        subprocess.run(
            ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable,
             str(Path(__file__)), "feed", str(repeats)],
            env=environment, check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        found = re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1])


def callgrind() -> int:
    log = (REPO / "tests/data/parse/base.strace").read_bytes()
    few, many = counted(10), counted(110)
    now = {
        "instructions_per_byte": round((many - few) / 100 / len(log), 2),
        "instructions_per_line": round((many - few) / 100 / log.count(b"\n"), 1),
    }
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else now
    print(f"now  {now}\nkept {kept}")
    if not KEPT.exists():
        KEPT.write_text(json.dumps(now, indent=2) + "\n")
    return 0 if now["instructions_per_byte"] <= kept["instructions_per_byte"] * 1.03 else 1


def main(words: list[str]) -> int:
    if words[:1] == ["feed"]:
        feed([(REPO / "tests/data/parse/base.strace").read_bytes()] * int(words[1]))
        return 0
    return callgrind() if words == ["callgrind"] else measure()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Traces to feed to the stages: recorded here with strace, or made up and always the same."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from benchmarks.programs import HERE, SOURCES, binaries, cache_dir
from capsule.tracer import find_strace, strace_argv, strace_env

CHUNK_BYTES = 1 << 16


def strace_words(output: Path) -> list[str]:
    """strace with the options that Capsule gives it, writing to a file, ready for a command."""
    return strace_argv(find_strace(), str(output), ())


def recorded(lines: int) -> Path:
    """A trace of workloads/mixed.sh, at least `lines` long; recorded when first asked for."""
    key = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(SOURCES.iterdir()))).hexdigest()
    path = cache_dir() / f"mixed-{lines}-{key[:12]}.strace"
    if path.exists():
        return path
    part = path.with_suffix(f".{os.getpid()}")
    try:
        one_round = _record(part, 1)
        # A tenth more than one round lets expect; rounds differ by what the scheduler does.
        if one_round < lines and _record(part, lines * 11 // 10 // one_round + 1) < lines:
            raise SystemExit(f"the mixed workload gave fewer than {lines} lines; try again")
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _record(path: Path, rounds: int) -> int:
    """Record `rounds` rounds into `path`: the number of lines."""
    script = str(SOURCES / "mixed.sh")
    words = ["sh", script, str(binaries()), str(rounds), sys.executable, str(SOURCES)]
    subprocess.run([*strace_words(path), *words], check=True, env=strace_env(os.environ))
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def chunks(data: bytes, size: int = CHUNK_BYTES) -> list[bytes]:
    """`data` in pieces of `size`, as the tracer reads them from strace's pipe."""
    return [data[at : at + size] for at in range(0, len(data), size)]


@cache
def recorded_chunks(lines: int) -> list[bytes]:
    return chunks(recorded(lines).read_bytes())


_ONE_PROCESS = (HERE / "one_process.strace").read_bytes().decode()
LINES_PER_PROCESS = _ONE_PROCESS.count("\n")


def made_up(processes: int, first: int = 0) -> bytes:
    """The text of `processes` short programs run one after the other, always the same.

    Instruction counts need an input that is equal on every machine and every day.
    """
    text = []
    for number in range(first, first + processes):
        at = 1_700_000_000_000_000 + number * 3000  # microseconds
        lines = _ONE_PROCESS.replace("PID", str(1000 + number % 30000))
        lines = lines.replace("NUMBER", str(number))
        for line in lines.splitlines():
            stamp = f"{at // 1_000_000}.{at % 1_000_000:06}"
            text.append(line.replace("STAMP", stamp, 1))
            at += 37
    return ("\n".join(text) + "\n").encode()

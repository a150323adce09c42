"""Instructions a line that parser, enricher, aggregator and chain need, counted by callgrind.

    python -m benchmarks.instructions            fails when one needs 20 % more than is stored
    python -m benchmarks.instructions --store    stores what it finds in instructions.json

Counts do not depend on the machine's load. They do depend on Python's release, so that each
has its own; where none is stored the check fails, for nothing would guard that release.

callgrind dumps its counts whenever getppid(2) is called (--dump-before), which the child does
around what is to be counted. So one run under valgrind is enough for all stages.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.programs import HERE, REPO

STORED = HERE / "instructions.json"
MORE_ALLOWED = 0.20
PROCESSES = 300
WARM_UP = 20
STAGES = ("parse", "enrich", "aggregate", "chain")


def count_here() -> None:
    """The child under valgrind: each stage over the same lines, a getppid before and after."""
    from benchmarks.stages import MAKERS
    from benchmarks.traces import chunks, made_up
    from capsule.log import Logger

    # One batch first, so that what is only done once is not counted.
    warm, text = made_up(WARM_UP), chunks(made_up(PROCESSES, WARM_UP))
    batches = text
    for name in STAGES[:-1]:
        stage = MAKERS[name]()
        warm = stage.feed(warm)
        os.getppid()
        made = [stage.feed(batch) for batch in batches]
        os.getppid()
        batches = made
    with tempfile.TemporaryDirectory() as where:
        log = Logger(Path(where) / "log.jsonl", {"run": "count"}, fsync="never")
        log.feed(warm)
        os.getppid()
        for batch in batches:
            log.feed(batch)
        os.getppid()
        log.close({"exit": None})


def measure() -> dict[str, float]:
    """Instructions a line of each stage. SystemExit when valgrind is missing or says no."""
    from benchmarks.traces import LINES_PER_PROCESS

    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed; install it with: apt-get install valgrind")
    with tempfile.TemporaryDirectory() as where:
        out = Path(where) / "out"
        words = ["valgrind", "--tool=callgrind", "--dump-before=getppid"]
        words += [f"--callgrind-out-file={out}", sys.executable, "-m", "benchmarks.instructions"]
        done = subprocess.run(
            [*words, "--count-here"],
            cwd=REPO,
            # The same hashes and addresses each time, so that the counts are, too.
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONPATH": str(REPO)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"valgrind failed:\n{done.stderr}")
        dumps = sorted(out.parent.glob("out.*"), key=lambda path: int(path.suffix[1:]))
        totals = [_total(path.read_text()) for path in dumps]
    # Dump 1 ends before the first stage, 2 is the first stage, 3 what comes between, …
    counts = totals[1 : 2 * len(STAGES) : 2]
    if len(totals) < 2 * len(STAGES):
        raise SystemExit(f"valgrind made {len(totals)} dumps, not {2 * len(STAGES)}")
    lines = PROCESSES * LINES_PER_PROCESS
    return {name: round(count / lines, 1) for name, count in zip(STAGES, counts, strict=True)}


def _total(dump: str) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)", dump, re.MULTILINE)
    if found is None:
        raise SystemExit("callgrind's dump has no totals")
    return int(found[1])


def regressions(found: dict[str, float], stored: dict[str, float] | None) -> list[str]:
    """What to say of each stage that needs more than MORE_ALLOWED over what is stored."""
    if stored is None:
        return [f"no counts are stored for {key()}: add them with --store, and commit them"]
    return [
        f"{name}: {count:.0f} instructions a line, {count / stored[name] - 1:+.0%} over the "
        f"stored {stored[name]:.0f} (allowed: {MORE_ALLOWED:+.0%})"
        for name, count in found.items()
        if count > stored[name] * (1 + MORE_ALLOWED)
    ]


def key() -> str:
    return f"cpython-{sys.version_info[0]}.{sys.version_info[1]}-x86_64"


def main() -> int:
    parser = argparse.ArgumentParser(description="Count instructions a line with callgrind.")
    parser.add_argument("--store", action="store_true", help="store the counts as the new ones")
    parser.add_argument("--count-here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.count_here:
        count_here()
        return 0
    every = json.loads(STORED.read_text()) if STORED.exists() else {}
    found = measure()
    stored = every.get(key())
    for name, count in found.items():
        change = f" ({count / stored[name] - 1:+.1%})" if stored else ""
        print(f"{name:9} {count:8,.0f} instructions a line{change}")
    if args.store:
        STORED.write_text(json.dumps({**every, key(): found}, indent=2) + "\n")
        return 0
    wrong = regressions(found, stored)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

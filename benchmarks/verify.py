"""How fast `capsule verify` checks a log; ratios against plain BLAKE3 in the same run.

    python -m benchmarks.verify [--records N] [--assert]

With --assert it exits 1 where a goal is missed: a million records a second of CPU time on one
core, or, on a machine whose BLAKE3 alone is too slow for that, 1.7 times BLAKE3 alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.chain import hash_alone, write_log
from capsule.segments import ManyVerifier, verify_file
from capsule.verify import Verdict, Verifier

CHUNK = 1 << 18


def verify_one(path: Path) -> float:
    """CPU seconds to verify the log in one process, as the command does."""
    began = time.process_time()
    verifier = Verifier()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            verifier.feed(chunk)
    report = verifier.finish()
    took = time.process_time() - began
    assert report.verdict is Verdict.INTACT, report.bad
    return took


def verify_many(path: Path, jobs: int) -> tuple[float, float, float]:
    """Seconds to verify the log with `jobs` processes: wall, CPU of all, CPU of this one."""
    before = os.times()
    with ProcessPoolExecutor(jobs) as pool:
        list(pool.map(len, [b""] * jobs))  # the processes are up before the clock starts
        began = time.perf_counter()
        report = verify_file(ManyVerifier(), path, pool, jobs, lambda _: None).finish()
        took = time.perf_counter() - began
    assert report.verdict is Verdict.INTACT, report.bad
    after = os.times()
    own = after.user + after.system - before.user - before.system
    workers = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return took, own + workers, own


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--assert", dest="goals", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as where:
        path = Path(where) / "log.jsonl"
        write_log(path, args.records, 256)
        size = path.stat().st_size
        took = min(verify_one(path) for _ in range(3))
        alone = min(hash_alone(path) for _ in range(3))
        rate, ratio = args.records / took, took / alone
        print(f"{args.records:,} records of {size / args.records:.0f} bytes")
        print(f"one process: {rate:,.0f} records/s of CPU, {size / took / 1e6:,.0f} MB/s")
        print(f"             {ratio:.2f} x blake3 alone ({args.records / alone:,.0f} records/s)")
        one, all_one, _ = verify_many(path, 1)
        two, all_two, own = verify_many(path, 2)
        print(f"two workers: {one / two:.2f} x as fast as one (wall; of use on an idle machine)")
        print(
            f"             {all_two / all_one:.2f} x the CPU time of one worker, "
            f"{own / all_two:.0%} of it in the one process that joins them"
        )
    if args.goals and rate < 1e6 and ratio > 1.7:
        print(f"missed: {rate:,.0f} records/s, {ratio:.2f} x blake3 alone", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

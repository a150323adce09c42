"""How fast the logger chains, signs and writes; ratios against plain BLAKE3 in the same run.

    python -m benchmarks.chain [--records N] [--assert]

With --assert it exits 1 where a goal is missed: chaining in at most 3 times the CPU time of
hashing the same bytes with blake3 alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from blake3 import blake3

from capsule import chain
from capsule._keys import WipedKey
from capsule.log import Logger

KINDS = ("file.open", "file.read", "file.stat", "mem.map", "file.close")


def bodies(count: int) -> list[bytes]:
    """Actions of the size and shape of a real trace's, about 210 bytes each."""
    return [
        json.dumps(
            {
                "kind": KINDS[n % len(KINDS)],
                "target": f"/usr/lib/x86_64-linux-gnu/lib{n % 997}.so.6",
                "count": n % 7 + 1,
                "first_ns": 1_764_000_000_000_000_000 + n * 1000,
                "last_ns": 1_764_000_000_000_000_000 + n * 1000 + 500,
                "proc": n % 50,
                "pid": 10_000 + n % 50,
                "exe": "/usr/bin/python3.11",
                "uid": 1000,
                "lines": [n, n + 6],
            },
            separators=(",", ":"),
        ).encode()
        for n in range(count)
    ]


def write_log(path: Path, records: int, batch_records: int) -> float:
    """Write a log of `records` Actions; CPU seconds that it took."""
    made = bodies(batch_records)
    batch = b"\n".join(made) + b"\n"
    log = Logger(path, {"run": "bench"}, fsync="never", guard="/nonexistent")
    began = time.process_time()
    for _ in range(records // batch_records):
        log.feed(batch)
    log.close({"exit": 0})
    return time.process_time() - began


def hash_alone(path: Path) -> float:
    """CPU seconds to hash what each record's hash covers, and nothing else."""
    hashed = [line[: -chain.HASH_LEN] for line in path.read_bytes().splitlines()]
    began = time.process_time()
    for piece in hashed:
        blake3(piece).digest()
    return time.process_time() - began


def checkpoint_us(rounds: int = 2000) -> float:
    """Microseconds for one checkpoint's cryptography: a new key, a signature, an erasure."""
    key = WipedKey()
    began = time.process_time()
    for _ in range(rounds):
        following = WipedKey()
        key.sign(b"x" * 250)
        key.erase()
        key = following
    return (time.process_time() - began) / rounds * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--assert", dest="goals", action="store_true")
    args = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory(dir="/dev/shm") as where:
        for batch_records in (16, 256, 2048):
            path = Path(where) / f"{batch_records}.jsonl"
            took = write_log(path, args.records, batch_records)
            alone = hash_alone(path)
            ratio = took / alone
            worst = max(worst, ratio) if batch_records >= 256 else worst
            print(
                f"batches of {batch_records:5}: {args.records / took:10,.0f} records/s of CPU, "
                f"{ratio:.2f} x blake3 alone"
            )
            path.unlink()
    print(f"one checkpoint: {checkpoint_us():.0f} us")
    if args.goals and worst > 3:
        print(f"missed: {worst:.2f} x blake3 alone, the goal is 3", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

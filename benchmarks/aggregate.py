"""Memory of parser, enricher and aggregator over a run of many short processes.

    python -m benchmarks.aggregate [--assert]

Each process writes a file and connects somewhere that no other does, so that whatever is kept for
each of them shows. With --assert it exits 1 where the goal is missed: 100,000 processes end
with at most 1.2 times the memory of 10,000.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from capsule._parse import Parser
from capsule.aggregate import Aggregator
from capsule.enrich import Enricher
from capsule.syscalls import NAMES

GOAL = 1.2
SHORT, LONG = 10_000, 100_000

LIFE = """\
10 {t:.6f} clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = {pid}
{pid} {t:.6f} execve("/bin/true", ["true", "{n}"], 0x1 /* 2 vars */) = 0
{pid} {t:.6f} openat(AT_FDCWD</w>, "/tmp/{n}", O_WRONLY|O_CREAT, 0666) = 3</tmp/{n}>
{pid} {t:.6f} write(3</tmp/{n}>, "x", 1) = 1
{pid} {t:.6f} socket(AF_INET, SOCK_STREAM, 0) = 4<socket:[{n}]>
{pid} {t:.6f} connect(4<socket:[{n}]>, {{sa_family=AF_INET, sin_port=htons({port}), \
sin_addr=inet_addr("10.0.0.1")}}, 16) = 0
{pid} {t:.6f} exit_group(0) = ?
{pid} {t:.6f} +++ exited with 0 +++
10 {t:.6f} --- SIGCHLD {{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid={pid}}} ---
"""


def resident_kib() -> int:
    """Return our resident memory now (proc(5), VmRSS)."""
    status = Path("/proc/self/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1])


def live(processes: int) -> int:
    """Run so many short processes through the stages; return the memory at the end in KiB."""
    parser, enricher, aggregator = Parser(NAMES), Enricher(), Aggregator()
    for n in range(processes):
        at = 1_700_000_000 + n / 1000
        text = LIFE.format(t=at, pid=100 + n % 30_000, n=n, port=n % 60_000 + 1)
        aggregator.feed(enricher.feed(parser.feed(text.encode())))
    assert aggregator.counters()["processes"] == processes + 1
    return resident_kib()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assert", action="store_true", dest="check", help="fail above the goal")
    parser.add_argument("--live", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.live:
        print(live(args.live))
        return 0
    itself = [sys.executable, "-m", "benchmarks.aggregate", "--live"]
    figures = [
        int(subprocess.check_output([*itself, str(processes)])) for processes in (SHORT, LONG)
    ]
    ratio = figures[1] / figures[0]
    print(
        f"{SHORT:,} processes {figures[0]:,} KiB, {LONG:,} processes {figures[1]:,} KiB: "
        f"{ratio:.2f} times (goal {GOAL})"
    )
    return int(args.check and ratio > GOAL)


if __name__ == "__main__":
    sys.exit(main())

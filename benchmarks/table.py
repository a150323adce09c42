"""The table of goals, as Markdown on stdout, from interleaved runs made now.

    python -m benchmarks.table [--size full|short|tiny] [--pairs N] [--only WORD]
    python -m benchmarks.table --only overhead --workload storm:400 --workload pip

Ratios are medians over pairs of runs right after one another; every goal says what is
compared. Progress goes to stderr. It always exits with 0: what a machine under load measures
is for people to judge (the check that fails is benchmarks/instructions.py).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks import runs
from benchmarks.programs import REPO, SIZES, WORKLOADS
from benchmarks.traces import recorded
from capsule.tracer import find_strace

LINES = {"full": 1_000_000, "short": 100_000, "tiny": 1000}
STORM = {"full": 100_000, "short": 3000, "tiny": 50}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `met` is None where there is no goal."""

    what: str
    goal: str
    figure: str
    met: bool | None


def row(what: str, figure: float, goal: float, unit: str, *, least: bool = False) -> Row:
    met = figure >= goal if least else figure <= goal
    sign = ">=" if least else "<="
    return Row(what, f"{sign} {_number(goal)}{unit}", f"{_number(figure)}{unit}", met)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Bench:
    """What the measuring functions are told."""

    size: str
    pairs: int
    chosen: dict[str, int]
    """Workloads and their numbers; where it is empty, all of them at `size`."""

    def workloads(self) -> Iterator[tuple[str, Sequence[str]]]:
        """What each does, and how it is run."""
        if not self.chosen:
            for workload in WORKLOADS.values():
                yield workload.titled(self.size), workload.argv(self.size)
        for name, number in self.chosen.items():
            yield WORKLOADS[name].title.format(number), WORKLOADS[name].make_argv(number)


def overhead(
    bench: Bench, options: tuple[str, ...] = (), against: str = "capsule / strace"
) -> Iterator[Row]:
    for title, words in bench.workloads():
        _say(f"overhead of {title} {' '.join(options)}")
        found = runs.pairs(
            partial(runs.bare, words, options),
            partial(runs.traced, words, options),
            bench.pairs,
        )
        ratio = runs.median_ratio(found, lambda run: run.target_s)
        bare_s = statistics.median(pair.first.target_s for pair in found)
        native_s = runs.native(words).target_s
        lowest = min(pair.second.target_s / pair.first.target_s for pair in found)
        highest = max(pair.second.target_s / pair.first.target_s for pair in found)
        made = row(f"{title}: {against}", ratio, 1.05, "")
        more = f" ({lowest:.2f} to {highest:.2f}; strace {bare_s:.2f} s, native {native_s:.2f} s)"
        yield Row(made.what, made.goal, made.figure + more, made.met)


def security(bench: Bench) -> Iterator[Row]:
    help_text = subprocess.run(
        runs.capsule_words("trace", "--help"), env=runs.our_env(), capture_output=True, check=True
    ).stdout
    if b"--syscalls" not in help_text:
        yield Row("capsule / strace, both `--syscalls security`", "<= 1.05", "not there yet", False)
        return
    words = ("--syscalls", "security")
    yield from overhead(bench, words, "capsule / strace, both `--syscalls security`")


def pinned(bench: Bench) -> Iterator[Row]:
    yield from overhead(bench, ("--pin", "auto"), "capsule `--pin auto` / strace")


def importing(bench: Bench) -> Iterator[Row]:
    _say("recording a trace to import")
    trace = recorded(LINES[bench.size])
    _say("import")
    found = [runs.imported(trace) for _ in range(bench.pairs)]
    lines = found[0].lines
    cpu_us = statistics.median(run.cpu_s for run in found) / lines * 1e6
    rate = lines / statistics.median(run.wall_s for run in found)
    yield row(f"import of {lines:,} lines, CPU of all our processes a line", cpu_us, 3, " us")
    yield row(f"import of {lines:,} lines", rate, 400_000, " lines/s", least=True)


def latency(bench: Bench) -> Iterator[Row]:
    _say("latency")
    words = WORKLOADS["storm"].argv(bench.size)
    found = [runs.latencies(words) for _ in range(bench.pairs)]
    for what, name, part, goal in (
        ("immediate kinds, p50", "immediate", 0.5, 5),
        ("immediate kinds, p99", "immediate", 0.99, 50),
        ("all Actions, p50", "first", 0.5, 30),
        ("all Actions, p99", "first", 0.99, 100),
    ):
        figure = statistics.median(runs.quantile(getattr(run, name), part) for run in found)
        yield row(f"stamp to record in the file, storm, {what}", figure, goal, " ms")


def start_up(bench: Bench) -> Iterator[Row]:
    _say("start-up")
    words = ["/bin/true"]
    found = runs.pairs(lambda: runs.bare(words), lambda: runs.traced(words), 4 * bench.pairs)
    added = statistics.median(pair.second.wall_s - pair.first.wall_s for pair in found)
    yield row("start-up and end: `capsule trace true` - `strace true`", added * 1e3, 150, " ms")
    cpu = statistics.median(pair.second.cpu_s - pair.first.cpu_s for pair in found)
    yield Row("the same, CPU of all processes", "", f"{cpu * 1e3:.0f} ms", None)
    _say("idle")
    used = runs.idle_ticks(5.0)
    yield row(
        "idle for 5 s: CPU of all our processes", used * 1000 / os.sysconf("SC_CLK_TCK"), 0, " ms"
    )


def memory(bench: Bench) -> Iterator[Row]:
    count = STORM[bench.size]
    _say(f"memory over {count:,} processes")
    words = [WORKLOADS["storm"].argv("tiny")[0], str(count)]
    found = runs.memory(words, every_s=0.05 if bench.size == "tiny" else 0.25)
    peak = max(found.first_half, found.second_half) / (1 << 20)
    yield row(f"memory of all our processes, {count:,} forks", peak, 200, " MiB")
    growth = (found.second_half - found.first_half) / (1 << 20)
    yield row("the same, second half of the run - first half", growth, 4, " MiB")


GROUPS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "overhead": overhead,
    "security": security,
    "pin": pinned,
    "import": importing,
    "latency": latency,
    "startup": start_up,
    "memory": memory,
}


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _cpu_model() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":")[1].strip() for line in file if "model name" in line), "CPU")


def _workload(text: str) -> tuple[str, int]:
    """`NAME` or `NAME:N` as the workload and its number, which is by default the full size's."""
    name, _, number = text.partition(":")
    if name not in WORKLOADS:
        raise argparse.ArgumentTypeError(f"no workload {name!r}; use one of {', '.join(WORKLOADS)}")
    return name, int(number or WORKLOADS[name].sizes[0])


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the goals and print them as a table.")
    parser.add_argument("--size", choices=SIZES, default="short")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each side (default: 5)")
    parser.add_argument("--only", choices=GROUPS, action="append", help="repeatable")
    parser.add_argument(
        "--workload",
        metavar="NAME[:N]",
        type=_workload,
        action="append",
        default=[],
        help=f"compare wall times with these alone, repeatable: {', '.join(WORKLOADS)}",
    )
    args = parser.parse_args()
    bench = Bench(args.size, args.pairs, dict(args.workload))
    commit = subprocess.run(
        ["git", "-C", str(REPO), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    strace = find_strace().version_text
    print(
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, commit {commit or 'unknown'}, "
        f"{os.cpu_count()} x {_cpu_model()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, strace {strace}; size {args.size}, "
        f"{args.pairs} pairs; load average at the start {os.getloadavg()[0]:.1f}"
    )
    print("\n| | goal | measured | |\n|---|---|---|---|", flush=True)
    for name in args.only or GROUPS:
        for made in GROUPS[name](bench):
            verdict = "" if made.met is None else "met" if made.met else "**missed**"
            print(f"| {made.what} | {made.goal} | {made.figure} | {verdict} |", flush=True)
    print(f"\nLoad average at the end: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

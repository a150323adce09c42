"""asv: the whole program, against bare strace where there is something to compare with."""

from __future__ import annotations

import statistics

from benchmarks import runs
from benchmarks.programs import WORKLOADS
from benchmarks.sizes import LINES, PAIRS, SIZE
from benchmarks.traces import recorded


class Import:
    """`capsule import` of a recorded trace: a million lines at full size."""

    timeout = 1200

    def setup(self) -> None:
        found = [runs.imported(recorded(LINES)) for _ in range(PAIRS)]
        self.wall_s = statistics.median(run.wall_s for run in found)
        self.cpu_s = statistics.median(run.cpu_s for run in found)
        self.lines = found[0].lines

    def track_lines_per_s(self) -> float:
        return self.lines / self.wall_s

    def track_cpu_us_per_line(self) -> float:
        return self.cpu_s / self.lines * 1e6

    track_lines_per_s.unit = "lines/s"  # type: ignore[attr-defined]
    track_cpu_us_per_line.unit = "us"  # type: ignore[attr-defined]


class Overhead:
    """Wall time of the target under `capsule trace` over that under bare strace."""

    params = tuple(WORKLOADS)
    param_names = ("workload",)
    timeout = 1200

    def track_ratio(self, workload: str) -> float:
        words = WORKLOADS[workload].argv(SIZE)
        found = runs.pairs(lambda: runs.bare(words), lambda: runs.traced(words), PAIRS)
        return runs.median_ratio(found, lambda run: run.target_s)

    track_ratio.unit = "x"  # type: ignore[attr-defined]


class StartUp:
    """What `capsule trace` adds to the time of `strace true`."""

    def track_added_ms(self) -> float:
        words = ["/bin/true"]
        found = runs.pairs(lambda: runs.bare(words), lambda: runs.traced(words), 3 * PAIRS)
        return statistics.median(p.second.wall_s - p.first.wall_s for p in found) * 1e3

    track_added_ms.unit = "ms"  # type: ignore[attr-defined]


class Latency:
    """From a call's stamp to its record in the file, in the storm of forks."""

    timeout = 600

    def setup(self) -> None:
        self.found = runs.latencies(WORKLOADS["storm"].argv(SIZE))

    def track_immediate_p50_ms(self) -> float:
        return runs.quantile(self.found.immediate, 0.5)

    def track_immediate_p99_ms(self) -> float:
        return runs.quantile(self.found.immediate, 0.99)

    def track_all_p50_ms(self) -> float:
        return runs.quantile(self.found.first, 0.5)

    def track_all_p99_ms(self) -> float:
        return runs.quantile(self.found.first, 0.99)

    track_immediate_p50_ms.unit = "ms"  # type: ignore[attr-defined]
    track_immediate_p99_ms.unit = "ms"  # type: ignore[attr-defined]
    track_all_p50_ms.unit = "ms"  # type: ignore[attr-defined]
    track_all_p99_ms.unit = "ms"  # type: ignore[attr-defined]


class Memory:
    """All our processes over a storm of forks: 100,000 at full size."""

    timeout = 1800

    def setup(self) -> None:
        count = {"full": 100_000, "short": 5000, "tiny": 50}[SIZE]
        storm = [WORKLOADS["storm"].argv("tiny")[0], str(count)]
        self.found = runs.memory(storm, every_s=0.05 if SIZE == "tiny" else 0.25)

    def track_peak_bytes(self) -> int:
        return max(self.found.first_half, self.found.second_half)

    def track_growth_bytes(self) -> int:
        """How much more the second half of the run needed than the first."""
        return self.found.second_half - self.found.first_half

    track_peak_bytes.unit = "bytes"  # type: ignore[attr-defined]
    track_growth_bytes.unit = "bytes"  # type: ignore[attr-defined]


class Wire:
    """The links alone: a trace through three processes that only pass its chunks on."""

    params = (1 << 12, 1 << 16)
    param_names = ("chunk_bytes",)
    timeout = 600

    def setup(self, chunk_bytes: int) -> None:
        found = [runs.links(recorded(LINES), chunk_bytes) for _ in range(PAIRS)]
        self.mib_per_s = statistics.median(f["bytes"] / f["wall_s"] for f in found) / (1 << 20)
        self.cpu_us = statistics.median(f["cpu_s"] / f["batches"] for f in found) * 1e6

    def track_mib_per_s(self, _: int) -> float:
        return self.mib_per_s

    def track_cpu_us_per_batch(self, _: int) -> float:
        return self.cpu_us

    track_mib_per_s.unit = "MiB/s"  # type: ignore[attr-defined]
    track_cpu_us_per_batch.unit = "us"  # type: ignore[attr-defined]

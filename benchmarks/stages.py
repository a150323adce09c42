"""asv: the CPU time of each stage alone, over a trace recorded here. No process, no socket."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.sizes import LINES, PAIRS
from benchmarks.traces import recorded_chunks
from capsule._parse import Parser
from capsule.aggregate import Aggregator
from capsule.enrich import Enricher
from capsule.log import Logger
from capsule.stage import Stage
from capsule.syscalls import NAMES

MAKERS: dict[str, Callable[[], Stage]] = {
    "parse": lambda: Parser(NAMES),
    "enrich": Enricher,
    "aggregate": Aggregator,
}


def run(stage: Stage, batches: Iterable[bytes]) -> list[bytes]:
    """What `stage` makes of `batches`, its end included."""
    made = [stage.feed(batch) for batch in batches]
    return [batch for batch in (*made, stage.finish()) if batch]


def inputs(stage: str, batches: list[bytes]) -> list[bytes]:
    """What `stage` is fed when the trace is `batches`."""
    for name, make in MAKERS.items():
        if name == stage:
            break
        batches = run(make(), batches)
    return batches


class _Stage:
    """One stage over the whole trace; CPU time by line of the trace (process_time)."""

    name: str
    timeout = 600

    def setup(self) -> None:
        trace = recorded_chunks(LINES)
        self.lines = sum(chunk.count(b"\n") for chunk in trace)
        self.batches = inputs(self.name, trace)

    def track_ns_per_line(self) -> float:
        return statistics.median(self.cpu_s() for _ in range(PAIRS)) / self.lines * 1e9

    track_ns_per_line.unit = "ns"  # type: ignore[attr-defined]

    def cpu_s(self) -> float:
        stage = MAKERS[self.name]()
        began_s = time.process_time()
        run(stage, self.batches)
        return time.process_time() - began_s


class Parse(_Stage):
    name = "parse"


class Enrich(_Stage):
    name = "enrich"


class Aggregate(_Stage):
    name = "aggregate"


class Chain(_Stage):
    """The logger: Actions into chained, signed lines in a file in memory."""

    name = "chain"

    def cpu_s(self) -> float:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as where:
            log = Logger(Path(where) / "log.jsonl", {"run": "bench"}, fsync="never")
            began_s = time.process_time()
            for batch in self.batches:
                log.feed(batch)
            log.close({"exit": None})
            return time.process_time() - began_s

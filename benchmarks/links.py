"""The links between stages alone: three processes that only pass a trace's chunks on.

    python -m benchmarks.links TRACE CHUNK_BYTES      prints MiB/s and CPU us per batch

A process of its own, since it forks the stages and takes over signals as `capsule` does.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.traces import chunks
from capsule import wire
from capsule.pipeline import Pipeline
from capsule.supervise import Supervisor, block_signals
from capsule.topology import Plan, StageSpec


class _Pass:
    """A stage that changes nothing."""

    def feed(self, batch: bytes | memoryview) -> bytes:
        return bytes(batch)

    def finish(self) -> bytes:
        return b""

    def counters(self) -> dict[str, int]:
        return {}


class _Count:
    """A last stage that counts bytes."""

    def __init__(self) -> None:
        self.taken = 0

    def feed(self, batch: bytes | memoryview) -> bytes:
        self.taken += len(batch)
        return b""

    def mark(self, mark: dict[str, Any]) -> None:
        raise AssertionError(mark)

    def gap(self, count: int | None, why: str) -> bytes:
        raise AssertionError(why)

    def tick(self, now_ns: int) -> bytes:
        return b""

    def next_tick_ns(self) -> int | None:
        return None

    def counters(self) -> dict[str, int]:
        return {"bytes": self.taken}

    def end(self, end: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        return {}, None

    def abandon(self) -> None:
        raise AssertionError("the run was given up")


def measure(batches: list[bytes]) -> dict[str, float]:
    """Send `batches` through source, one stage and sink: wall, CPU, and what arrived."""

    def source(shell: wire.Shell, _: Plan) -> None:
        shell.join()
        for batch in batches:
            shell.send(batch)
        shell.send_end({"stages": {}})

    def middle(shell: wire.Shell, _: Plan) -> None:
        shell.join()
        shell.run_stage(_Pass(), live=False)

    def sink(shell: wire.Shell, _: Plan) -> None:
        shell.join()
        shell.run_sink(_Count())

    topology = (StageSpec("source", source), StageSpec("middle", middle), StageSpec("sink", sink))
    signals, _ = block_signals()
    with tempfile.TemporaryDirectory() as where, open("/dev/null", "rb") as nothing:
        plan = Plan(nothing.fileno(), Path(where) / "none", {}, live=False)
        supervisor = Supervisor(Pipeline(plan, topology), signals)
        supervisor.start()
        began_s = time.perf_counter()
        supervisor.watch()
        wall_s = time.perf_counter() - began_s
        supervisor.wait_all()
        outcome = supervisor.outcome()
    if outcome.failure is not None:
        raise SystemExit(outcome.failure)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "bytes": outcome.end["stages"]["sink"]["bytes"],
        "batches": len(batches),
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
    }


if __name__ == "__main__":
    pieces = chunks(Path(sys.argv[1]).read_bytes(), int(sys.argv[2]))
    print(json.dumps(measure(pieces)))

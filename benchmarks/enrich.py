"""CPU time of the enricher, and of enricher and aggregator together, for each event.

    python -m benchmarks.enrich [--assert]

With --assert it exits 1 where the goal is missed: 1.5 us of CPU an event for both, on each
workload. The parser's time on the same bytes, in the same run, is the yardstick.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from benchmarks.recorded import CHUNK, WORK, event_batches, fact_batches, text
from capsule._parse import Parser
from capsule.aggregate import Aggregator
from capsule.enrich import Enricher
from capsule.syscalls import NAMES

GOAL_US = 1.5


def run(stage: Parser | Enricher | Aggregator, batches: list[bytes]) -> None:
    """Feed a whole trace through one stage."""
    for batch in batches:
        stage.feed(batch)
    stage.finish()


class Stages:
    """asv: one call is one trace; `time_*` in seconds."""

    params = tuple(WORK)
    param_names = ("workload",)

    def setup(self, workload: str) -> None:
        event_batches(workload)
        fact_batches(workload)

    def time_parse(self, workload: str) -> None:
        data = text(workload)
        run(Parser(NAMES), [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)])

    def time_enrich(self, workload: str) -> None:
        run(Enricher(), event_batches(workload)[0])

    def time_aggregate(self, workload: str) -> None:
        run(Aggregator(), fact_batches(workload)[0])


def cpu_us(work: Callable[[str], None], workload: str, events: int, rounds: int = 7) -> float:
    """Return the best of some rounds, in microseconds of CPU an event."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work(workload)
        best = min(best, time.process_time() - began)
    return best / events * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assert", action="store_true", dest="check", help="fail above the goal")
    args = parser.parse_args()
    missed = False
    for workload in WORK:
        stages = Stages()
        stages.setup(workload)
        events = event_batches(workload)[1]
        parse = cpu_us(stages.time_parse, workload, events)
        enrich = cpu_us(stages.time_enrich, workload, events)
        aggregate = cpu_us(stages.time_aggregate, workload, events)
        both = enrich + aggregate
        missed |= both > GOAL_US
        print(
            f"{workload:6} {events:7,} events  parse {parse:.2f}  enrich {enrich:.2f}  "
            f"aggregate {aggregate:.2f}  both {both:.2f} us an event "
            f"({both / parse:.1f} x parse; goal {GOAL_US})"
        )
    return int(args.check and missed)


if __name__ == "__main__":
    sys.exit(main())

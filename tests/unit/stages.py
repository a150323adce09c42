"""Trace text through the three pure stages, for tests that read as transcripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from capsule._parse import Parser
from capsule.aggregate import Aggregator
from capsule.enrich import Enricher
from capsule.syscalls import NAMES


class Run:
    """One trace, run through parser, enricher and aggregator."""

    def __init__(self, enricher: Enricher | None = None, aggregator: Aggregator | None = None):
        self.parser = Parser(NAMES)
        self.enricher = enricher or Enricher()
        self.aggregator = aggregator or Aggregator()
        self.out = b""

    def feed(self, text: str | bytes) -> list[dict[str, Any]]:
        """Return the Actions that this text completes."""
        data = text.encode() if isinstance(text, str) else text
        return self._keep(self.aggregator.feed(self.enricher.feed(self.parser.feed(data))))

    def tick(self, now_ns: int) -> list[dict[str, Any]]:
        """Return the Actions that are due while no event comes."""
        out = self.aggregator.feed(self.enricher.tick(now_ns))
        return self._keep(out + self.aggregator.tick(now_ns))

    def finish(self) -> list[dict[str, Any]]:
        """Return the Actions that the end completes, having checked the conservation law."""
        out = self.aggregator.feed(self.enricher.feed(self.parser.finish()))
        out += self.aggregator.feed(self.enricher.finish())
        out += self.aggregator.finish()
        done = self._keep(out)
        events = self.parser.counters()["events"]
        assert self.enricher.counters()["events_in"] == events
        assert self.enricher.counters()["events_out"] == events
        assert self.enricher.counters()["held_now"] == 0
        assert self.aggregator.counters()["events_in"] == events
        assert self.aggregator.counters()["counted"] == events
        assert sum(action["count"] for action in self.actions()) == events
        assert self.aggregator.counters()["actions_out"] == len(self.actions())
        return done

    def _keep(self, out: bytes) -> list[dict[str, Any]]:
        assert not out or out.endswith(b"\n")
        self.out += out
        return [json.loads(line) for line in out.splitlines()]

    def actions(self) -> list[dict[str, Any]]:
        """Return every Action so far."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(text: str | bytes | Iterable[bytes]) -> Run:
    """Return a whole trace, run."""
    done = Run()
    for piece in [text] if isinstance(text, str | bytes) else text:
        done.feed(piece)
    done.finish()
    return done


def actions(text: str | bytes, *kinds: str) -> list[dict[str, Any]]:
    """Return the Actions of a trace, of these kinds only if any are given."""
    found = run(text).actions()
    return [action for action in found if not kinds or action["kind"] in kinds]


def stamped(lines: str, start_ns: int = 1_700_000_000_000_000_000, step_ns: int = 1000) -> str:
    """Return `pid call` lines with a stamp between pid and call, `step_ns` apart."""

    def stamps() -> Iterator[str]:
        for number, line in enumerate(line for line in lines.splitlines() if line.strip()):
            pid, _, rest = line.strip().partition(" ")
            at = start_ns + number * step_ns
            yield f"{pid} {at // 10**9}.{at % 10**9 // 1000:06d} {rest}\n"

    return "".join(stamps())

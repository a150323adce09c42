"""The log as the pipeline's last stage: it is sealed only if every stage's counts agree.

What an Action shows to be out of the trace's sight is written as a gap behind it. A log that
fails ends the run, or (`on_failure="continue"`) is left as it is while the run goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from capsule.anchor import Anchors
from capsule.blindspots import BlindSpots
from capsule.errors import LogFailed
from capsule.log import Logger

AGREEMENTS = (
    (("tracer", "lines"), ("parser", "lines_in")),
    (("tracer", "bytes"), ("parser", "bytes_in")),
    (("parser", "events"), ("enricher", "events_in")),
    (("enricher", "events_out"), ("aggregator", "events_in")),
    (("parser", "events"), ("aggregator", "counted")),
    (("aggregator", "actions_out"), ("logger", "in")),
    (("aggregator", "counted"), ("logger", "count")),
)
"""What one stage has passed on and another has received: these counters must be equal."""


def disagreements(stages: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The pairs of counters that differ or are missing, each as one phrase."""
    found = []
    for (sender, sent), (receiver, received) in AGREEMENTS:
        out = stages.get(sender, {}).get(sent)
        got = stages.get(receiver, {}).get(received)
        if out is None or out != got:
            found.append(f"{sender} {sent} {out}, {receiver} {received} {got}")
    return found


class LogSink(Logger):
    """The logger, with the end of a run: reconcile, then seal or leave unsealed."""

    def __init__(
        self,
        target: int | Path,
        start: Mapping[str, Any],
        *,
        anchors: Anchors,
        on_failure: Literal["stop", "continue"] = "stop",
        **options: Any,
    ) -> None:
        self.failed: str | None = None
        super().__init__(target, start, on_checkpoint=anchors, **options)
        self._anchors = anchors
        self._on_failure = on_failure
        self._blind = BlindSpots(privileged=os.geteuid() == 0)

    def feed(self, batch: bytes | memoryview) -> bytes:
        """As Logger's, and what the batch shows to be unseen becomes a gap."""
        data = bytes(batch)
        written = self._try(lambda: Logger.feed(self, data))
        for why, who in self._blind.look(data):
            written += self.gap(None, why, **who)
        return written

    def gap(self, count: int | None, why: str, **more: Any) -> bytes:
        """As Logger's; nothing once the log has failed."""
        return self._try(lambda: Logger.gap(self, count, why, **more))

    def tick(self, now_ns: int | None = None) -> bytes:
        """As Logger's; nothing once the log has failed."""
        return self._try(lambda: Logger.tick(self, now_ns))

    def next_tick_ns(self) -> int | None:
        """As Logger's; never once the log has failed."""
        return None if self.failed else super().next_tick_ns()

    def _try(self, write: Callable[[], bytes]) -> bytes:
        if self.failed is not None:
            return b""
        try:
            return write()
        except LogFailed as error:
            if self._on_failure == "stop":
                raise
            self.failed = str(error)
            self.abandon()
            return b""

    def mark(self, mark: dict[str, Any]) -> None:
        """The raw trace has grown: the next checkpoint says how far, and its hash."""
        self.signed_extra = {"raw": mark}

    def end(self, end: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """Seal the log with the end mark `end`: (the seal's facts, None).

        When the stages' counters disagree the log is left without a seal: ({}, why). When it
        has failed, and the run went on without it: ({"continued": True}, why).
        """
        if self.failed is not None:
            return {"continued": True}, self.failed
        wrong = disagreements(end["stages"])
        if wrong:
            why = f"the stages' counters disagree: {'; '.join(wrong)}"
            written = self.gap(None, why)
            self.abandon()
            self.last = written + self.last
            return {}, why
        seal = dataclasses.asdict(self.close(end))
        try:
            self._anchors.close()
        except LogFailed as error:
            return seal, str(error)
        return seal, None

    def abandon(self) -> None:
        """As Logger's; the anchors are let go whatever they say."""
        super().abandon()
        with contextlib.suppress(LogFailed):
            self._anchors.close()

"""The log as the pipeline's last stage: it is sealed only if every stage's counts agree."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capsule.anchor import Anchors
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
        self, target: int | Path, start: Mapping[str, Any], *, anchors: Anchors, **options: Any
    ) -> None:
        super().__init__(target, start, on_checkpoint=anchors, **options)
        self._anchors = anchors

    def mark(self, mark: dict[str, Any]) -> None:
        """The raw trace has grown: the next checkpoint says how far, and its hash."""
        self.signed_extra = {"raw": mark}

    def end(self, end: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """Seal the log with the end mark `end`: (the seal's facts, None).

        When the stages' counters disagree the log is left without a seal: ({}, why).
        """
        wrong = disagreements(end["stages"])
        if wrong:
            why = f"the stages' counters disagree: {'; '.join(wrong)}"
            self.gap(None, why)
            self.abandon()
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

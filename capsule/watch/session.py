"""What is being looked at: a log as far as it was read, the process, the filter. No terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from capsule.errors import CapsuleError
from capsule.watch.heading import Moment
from capsule.watch.index import Filter, Outcome, View
from capsule.watch.meters import Cpu, Latency, Rates, is_here
from capsule.watch.model import Process, Run
from capsule.watch.source import LogSource

CPU_S = 1.0
PATIENCE = 10
"""The tree is made anew so seldom that its making takes at most this part of the time."""

MAX_LOADED = 1024

_OUTCOMES: dict[Outcome, Outcome] = {"all": "failed", "failed": "worked", "worked": "all"}


class Session:
    """One run, and what of it is shown. `source` is None until there is a log."""

    def __init__(self, path: Path | None) -> None:
        self.log = Run()
        self.source: LogSource | None = None
        self.selected: Process | None = None
        """Whose Actions are shown; None: everybody's."""
        self.filter = Filter()
        self.living = False
        """Whether only the living are in the tree."""
        self.tree: list[Process] = []
        self.cpu: dict[int, tuple[str, float]] = {}
        """State and CPU of the living that are in sight, by `proc`."""
        self._tree_shape: tuple[int, bool] | None = None
        self._tree_due_s = 0.0
        self._cpu_due_s = 0.0
        self._behind = True  # what is in the file has not all been read yet
        self._loaded: dict[int, dict[str, Any] | None] = {}
        self._rates, self._latency, self._cpu = Rates(), Latency(), Cpu()
        self.view = self._new_view()
        if path is not None:
            self.open(path)

    def open(self, path: Path) -> None:
        """The log is there. Raises CapsuleError when it cannot be read."""
        self.source = LogSource(path)

    def close(self) -> None:
        """Close the log."""
        if self.source is not None:
            self.source.close()

    # -- reading --------------------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        """Whether more may come."""
        return self.source is None or self.source.state == "live"

    def advance(self, limit_s: float) -> None:
        """Read what is new, and filter it, for about so long each."""
        if self.source is not None:
            self._read_new(self.source, time.monotonic() + limit_s)
        self.view.advance(limit_s)

    def _read_new(self, source: LogSource, until_s: float) -> None:
        log = self.log
        while True:
            batches = source.read()
            log.prompt_ns = None
            for batch in batches:
                log.feed(batch.lines, batch.part, batch.offset)
            if not batches:
                self._behind = False
                break
            if not self._behind and source.state == "live" and log.prompt_ns is not None:
                latency_s = (time.time_ns() - log.prompt_ns) / 1e9
                self._latency.feed(time.monotonic(), max(0.0, latency_s))
            if time.monotonic() >= until_s:
                break
        self._rates.feed(time.monotonic(), log.actions, log.events)

    def moment(self) -> Moment:
        """What the heading tells besides the log."""
        self._latency.forget(time.monotonic())
        report, refused = None, ""
        if self.source is not None and self.log.records:
            try:
                report = self.source.report()
            except CapsuleError as error:
                refused = str(error)
        return Moment(
            "starting" if self.source is None else self.source.state,
            per_s=self._rates.per_s() if self.is_live and not self._behind else None,
            latency_s=self._latency.seconds(),
            report=report,
            refused=refused,
        )

    def record(self, row: int) -> dict[str, Any] | None:
        """The record of a row of the index; None if it cannot be read any more."""
        if row in self._loaded:
            return self._loaded[row]
        assert self.source is not None
        found: dict[str, Any] | None
        try:
            found = orjson.loads(self.source.line(*self.log.index.place(row)))
        except (CapsuleError, OSError, orjson.JSONDecodeError):
            found = None
        if len(self._loaded) >= MAX_LOADED:
            self._loaded.clear()
        self._loaded[row] = found
        return found

    # -- the tree -------------------------------------------------------------------------

    def make_tree(self, *, now: bool = False) -> bool:
        """Make the tree anew if it has changed and its time has come, or `now`; whether it did."""
        begin_s = time.monotonic()
        shape = (self.log.shape, self.living)
        if not now and (shape == self._tree_shape or begin_s < self._tree_due_s):
            return False
        self._tree_shape = shape
        self.tree = self.log.tree(living=self.living)
        end_s = time.monotonic()
        self._tree_due_s = end_s + PATIENCE * (end_s - begin_s)
        if self.selected is not None and not self.row:
            self.select(None)
        return True

    @property
    def row(self) -> int:
        """Where the selected process is in the tree, from 1 on; 0 for none."""
        try:
            return 0 if self.selected is None else self.tree.index(self.selected) + 1
        except ValueError:
            return 0

    def look_at_cpu(self, processes: Sequence[Process]) -> None:
        """Measure those in sight, once a second, if the run goes on on this machine."""
        if not self.is_live:
            self.cpu = {}
        elif time.monotonic() >= self._cpu_due_s and is_here(self.log.start):
            self._cpu_due_s = time.monotonic() + CPU_S
            self.cpu = self._cpu.sample(processes)

    def fold(self, fold: bool) -> None:
        """Fold or unfold the selected; folding where nothing is to fold goes to the parent."""
        process = self.selected
        if process is None:
            return
        if fold and (process.folded or not process.children):
            if process.parent is not None:
                self.select(process.parent)
        else:
            process.folded = fold

    # -- what is shown of it --------------------------------------------------------------

    def _new_view(self) -> View:
        of = None if self.selected is None else self.selected.rows
        return View(self.log.index, of, self.filter, self.record)

    def select(self, process: Process | None) -> None:
        """Show a process's Actions, or everybody's."""
        self.selected = process
        self.view = self._new_view()

    def show(self, wanted: Filter) -> None:
        """Show what a filter lets pass."""
        self.filter = wanted
        self.view = self._new_view()

    def next_outcome(self) -> None:
        """All, failed, worked."""
        self.show(replace(self.filter, outcome=_OUTCOMES[self.filter.outcome]))

    def next_tag(self) -> None:
        """All, tagged, then one tag after the other."""
        tags: list[str | None] = [None, "", *sorted(self.log.tags)]
        at = tags.index(self.filter.tag) if self.filter.tag in tags else -1
        self.show(replace(self.filter, tag=tags[(at + 1) % len(tags)]))

"""The application: what the keys do, and when the log is read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from textual import events
from textual.app import App, ComposeResult
from textual.containers import Horizontal
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from capsule.errors import CapsuleError
from capsule.watch.dialogs import Question, keys_page, record_page
from capsule.watch.emulator import Emulator
from capsule.watch.heading import Moment, heading
from capsule.watch.index import Filter, Outcome, View
from capsule.watch.layout import Layout, layout
from capsule.watch.meters import Cpu, Latency, Rates, is_here
from capsule.watch.model import Process, Run
from capsule.watch.panes import ListPane, TerminalPane, strip_of
from capsule.watch.rows import Line, process_line, record_line
from capsule.watch.source import LogSource
from capsule.watch.target import Target

TICK_S = 0.1
READ_S = 0.05
"""How long the log is read, and filtered, before keys are looked at again."""

TERMINAL_S = 0.02
TERMINAL_BYTES = 4096
CPU_S = 1.0
PATIENCE = 10
"""The tree is made anew at most as often as that its making takes this part of the time."""

_OUTCOMES: dict[Outcome, Outcome] = {"all": "failed", "failed": "worked", "worked": "all"}


class Lines(Widget):
    """Some lines of text that are made anew at each drawing."""

    def __init__(self, make: Any, *, id: str) -> None:
        super().__init__(id=id)
        self._make = make

    def render_line(self, y: int) -> Strip:
        """One of them."""
        lines: list[Line] = self._make(self.size.width)
        return strip_of(lines[y] if y < len(lines) else [], self.size.width)


class WatchApp(App[None], inherit_bindings=False):
    """One run on a terminal: a log, and perhaps the target whose log it is."""

    ENABLE_COMMAND_PALETTE = False
    CSS_PATH = "watch.tcss"
    BINDINGS = [
        ("q,ctrl+c,ctrl+q", "leave"),
        ("question_mark", "keys"),
        ("slash", "search"),
        ("tab,shift+tab", "other_pane"),
        ("f2,ctrl+right_square_bracket", "terminal"),
        ("left", "fold(True)"),
        ("right", "fold(False)"),
        ("enter", "enter"),
        ("escape", "no_filter"),
        ("a", "living"),
        ("f", "outcome"),
        ("t", "tag"),
    ]

    def __init__(self, path: Path | None, target: Target | None, size: tuple[int, int]) -> None:
        super().__init__(ansi_color=True)
        self.log_run = Run()
        self.source = LogSource(path) if path is not None else None
        self.target = target
        self.status: int | None = None
        """The target's exit status, once it has ended."""
        self.selected: Process | None = None
        self.filter = Filter()
        self.living = False
        self.view = self._new_view()
        self.tree_rows: list[Process] = []
        self._drawn_shape: tuple[int, bool] | None = None
        self._tree_due_s = 0.0
        self._loaded: dict[int, dict[str, Any] | None] = {}
        self._rates, self._latency, self._cpu = Rates(), Latency(), Cpu()
        self._cpu_seen: dict[int, tuple[str, float]] = {}
        self._cpu_due_s = 0.0
        self._behind = True
        self._moment = Moment("live")
        self._layout: Layout = layout(80, 24)
        self.processes = ListPane(self._tree_line, id="tree")
        self.records = ListPane(self._record_line, id="records", tail=True)
        self.heading = Lines(lambda width: heading(self.log_run, self._moment, width), id="heading")
        self.foot = Lines(self._foot, id="foot")
        self.bar = Lines(self._bar, id="bar")
        self.panes = Horizontal(self.processes, self.records, id="panes")
        self.terminal: TerminalPane | None = None
        if target is not None:
            self.terminal = TerminalPane(Emulator(*size, target.write), target.write, id="terminal")
        self.search = Input(id="search", compact=True, select_on_focus=False,
                            placeholder="words, net, file.open, failed, tag:NAME")  # fmt: skip
        self.search.display = False

    # -- what there is to see -------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Heading, panes, the target's terminal, the bottom line."""
        yield self.heading
        yield self.panes
        if self.terminal is not None:
            yield self.bar
            yield self.terminal
        yield self.foot
        yield self.search

    def on_mount(self) -> None:
        """Begin to read."""
        self.processes.focus()
        if self.target is not None and self.terminal is not None:
            asyncio.get_running_loop().add_reader(self.target.fd, self._read_terminal)
            self.terminal.focus()
        self.set_interval(TICK_S, self._tick)
        self._tick()

    def on_resize(self, event: events.Resize) -> None:
        """Share the room out anew."""
        self._layout = layout(event.size.width, event.size.height)
        if self.target is not None and self.terminal is not None:
            size = self._layout.target_columns, self._layout.target_lines
            self.terminal.emulator.resize(*size)
            self.target.resize(*size)
        self._arrange()

    def on_descendant_focus(self) -> None:
        """What is shown depends on where the focus is, where there is little room."""
        self._arrange()

    def _arrange(self) -> None:
        if self.screen.is_modal:
            return
        plan, alone = self._layout, not self._layout.tree_columns
        in_list, in_terminal = self.focused is self.records, self.focused is self.terminal
        self.processes.styles.width = plan.tree_columns or "1fr"
        self.processes.display = not alone or not in_list
        self.records.display = not alone or in_list
        if self.terminal is not None:
            below = plan.split or in_terminal
            self.panes.display = plan.split or not in_terminal
            self.bar.display = below
            # Not by `display`: what is not displayed cannot be given the focus.
            self.terminal.styles.height = plan.target_lines if below else 0

    def _tree_line(self, row: int, width: int) -> Line:
        if row == 0:
            return [(" all processes", "bold")]
        process = self.tree_rows[row - 1]
        return process_line(process, width, self._cpu_seen.get(process.proc))

    def _record_line(self, row: int, width: int) -> Line:
        record = self._read(self.view.rows[row])
        if record is None:
            return [("(cannot be read any more)", "red")]
        return record_line(record, width, of_all=self.selected is None)

    def _bar(self, width: int) -> list[Line]:
        inside = self.focused is self.terminal
        left = " terminal" + (": ended" if self.status is not None else "")
        right = "F2 or Ctrl-] leaves it " if inside else "F2 enters it "
        return [[(left.ljust(max(0, width - len(right))), "reverse"), (right, "reverse")]]

    def _foot(self, width: int) -> list[Line]:
        said = " ?:keys  /:search  tab:pane  q:quit"
        if self.target is not None:
            said += "  F2:terminal"
        parts: Line = [(said, "dim")]
        found, total = self.view.looked_at
        if str(self.filter):
            done = f" ({found * 100 // max(1, total)}%)" if found < total else ""
            shown = f"  [{self.filter}] {len(self.view.rows)} of {total}{done}"
            parts = [(" esc:all ", "dim"), (shown, "bold")]
        if self.living:
            parts.append(("  only alive", "bold"))
        return [parts]

    # -- reading --------------------------------------------------------------------------

    def _tick(self) -> None:
        now_s = time.monotonic()
        if self.target is not None:
            self._look_at_target(self.target)
        if self.source is not None:
            self._read_log(self.source, now_s + READ_S)
        self.view.advance(READ_S)
        self._draw(now_s)

    def _look_at_target(self, target: Target) -> None:
        if self.source is None and (path := target.log()) is not None:
            self.source = LogSource(path)
        if self.status is None:
            self.status = target.poll()
            if self.status is not None and self.source is None and target.log() is None:
                self.exit()  # it never ran: what it said is told then

    def _read_log(self, source: LogSource, until_s: float) -> None:
        run = self.log_run
        while True:
            batches = source.read()
            for batch in batches:
                run.feed(batch.lines, batch.part, batch.offset)
            if not batches:
                self._behind = False
                break
            if not self._behind and source.state == "live" and run.last_ns is not None:
                latency_s = (time.time_ns() - run.last_ns) / 1e9
                if 0 <= latency_s < 3600:
                    self._latency.feed(time.monotonic(), latency_s)
            if time.monotonic() >= until_s:
                break
        self._rates.feed(time.monotonic(), run.actions, run.events)

    def _draw(self, now_s: float) -> None:
        run, source = self.log_run, self.source
        live = source is None or source.state == "live"
        self._latency.forget(now_s)
        report, refused = None, ""
        if source is not None and run.records:
            try:
                report = source.report()
            except CapsuleError as error:
                refused = str(error)
        self._moment = Moment(
            "starting" if source is None else source.state,
            per_s=self._rates.per_s() if live and not self._behind else None,
            latency_s=self._latency.seconds(),
            behind=self._behind,
            report=report,
            refused=refused,
        )
        self._draw_tree(now_s)
        if live and now_s >= self._cpu_due_s and is_here(run.start):
            self._cpu_due_s = now_s + CPU_S
            top = round(self.processes.scroll_y)
            seen = self.tree_rows[max(0, top - 1) : top + self.processes.size.height]
            self._cpu_seen = self._cpu.sample(seen)
        elif not live:
            self._cpu_seen = {}
        self.processes.refresh()
        self.records.set_count(len(self.view.rows))
        for lines in (self.heading, self.foot, self.bar):
            lines.refresh()

    def _draw_tree(self, now_s: float) -> None:
        shape = (self.log_run.shape, self.living)
        if shape == self._drawn_shape or now_s < self._tree_due_s:
            return
        self._drawn_shape = shape
        self.tree_rows = self.log_run.tree(living=self.living)
        self._tree_due_s = now_s + PATIENCE * (time.monotonic() - now_s)
        row = 0
        if self.selected is not None and self.selected in self.tree_rows:
            row = self.tree_rows.index(self.selected) + 1
        self.processes.cursor = row
        self.processes.set_count(len(self.tree_rows) + 1)
        if row == 0 and self.selected is not None:
            self._select(None)

    def _read(self, row: int) -> dict[str, Any] | None:
        """The record of a row of the index; None if it cannot be read any more."""
        if row in self._loaded:
            return self._loaded[row]
        assert self.source is not None
        found: dict[str, Any] | None
        try:
            found = orjson.loads(self.source.line(*self.log_run.index.place(row)))
        except (CapsuleError, OSError, orjson.JSONDecodeError):
            found = None
        if len(self._loaded) >= 1024:
            self._loaded.clear()
        self._loaded[row] = found
        return found

    def _read_terminal(self) -> None:
        target, terminal = self.target, self.terminal
        assert target is not None
        assert terminal is not None
        until_s = time.monotonic() + TERMINAL_S
        while time.monotonic() < until_s:
            data = target.read(TERMINAL_BYTES)
            if data is None:
                asyncio.get_running_loop().remove_reader(target.fd)
                break
            if not data:
                break
            terminal.emulator.feed(data)
        terminal.refresh()

    # -- choosing -------------------------------------------------------------------------

    def _new_view(self) -> View:
        of = None if self.selected is None else self.selected.rows
        return View(self.log_run.index, of, self.filter, self._read)

    def _select(self, process: Process | None) -> None:
        self.selected = process
        self._show(self.filter)

    def _show(self, wanted: Filter) -> None:
        self.filter = wanted
        self.view = self._new_view()
        self.view.advance(READ_S)
        self.records.at_end = True
        self.records.set_count(len(self.view.rows))
        self.foot.refresh()

    def on_list_pane_moved(self, event: ListPane.Moved) -> None:
        """Another process is chosen."""
        if event.pane is self.processes:
            row = self.processes.cursor
            self._select(self.tree_rows[row - 1] if row else None)

    def action_outcome(self) -> None:
        """All, failed, worked."""
        old = self.filter
        self._show(Filter(old.kinds, _OUTCOMES[old.outcome], old.tag, old.words))

    def action_tag(self) -> None:
        """Any, tagged, then each tag by itself."""
        old = self.filter
        tags: Sequence[str | None] = [None, "", *sorted(self.log_run.tags)]
        at = tags.index(old.tag) if old.tag in tags else 0
        tag = tags[(at + 1) % len(tags)]
        self._show(Filter(old.kinds, old.outcome, tag, old.words))

    def action_no_filter(self) -> None:
        """Show all."""
        self._show(Filter())

    def action_living(self) -> None:
        """Show only the living, or all."""
        self.living = not self.living
        self._tree_due_s = 0.0
        self._draw_tree(time.monotonic())

    def action_fold(self, fold: bool) -> None:
        """Fold or unfold; folding what has nothing to fold goes to its parent."""
        if self.focused is not self.processes or self.selected is None:
            return
        process = self.selected
        if fold and (process.folded or not process.children):
            if process.parent is not None:
                self._select(process.parent)
        else:
            process.folded = fold
        self._tree_due_s, self._drawn_shape = 0.0, None
        self._draw_tree(time.monotonic())

    def action_search(self) -> None:
        """Ask for a filter."""
        self.search.value = str(self.filter).replace("text:", "")
        self.search.display = True
        self.foot.display = False
        self.search.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Use it."""
        self._end_search()
        self._show(Filter.parse(event.value))

    def _end_search(self) -> None:
        self.search.display = False
        self.foot.display = True
        self.records.focus()

    def on_key(self, event: events.Key) -> None:
        """Escape leaves the search as it was."""
        if self.focused is self.search and event.key == "escape":
            event.stop()
            event.prevent_default()
            self._end_search()

    # -- going elsewhere ------------------------------------------------------------------

    def action_other_pane(self) -> None:
        """From the tree to the Actions and back."""
        (self.records if self.focused is self.processes else self.processes).focus()

    def action_terminal(self) -> None:
        """Give the keys to the target's terminal."""
        if self.terminal is not None:
            self.terminal.focus()

    def on_terminal_pane_left(self) -> None:
        """Take the keys back."""
        self.panes.display = True
        self.processes.focus()

    def action_keys(self) -> None:
        """Tell the keys."""
        self.push_screen(keys_page())

    def action_enter(self) -> None:
        """From a process to its Actions, from an Action to all of its record."""
        if self.focused is self.processes:
            self.records.focus()
        elif self.focused is self.records and self.records.count:
            record = self._read(self.view.rows[self.records.cursor])
            if record is not None:
                self.push_screen(record_page(record))

    def action_leave(self) -> None:
        """Quit; while the target runs, ask first."""
        if self.target is None or self.target.poll() is not None:
            self.exit()
            return
        text = "The command still runs. End it and all that it has started, and quit?  y / n"
        self.push_screen(Question(text), self._left)

    def _left(self, yes: bool | None) -> None:
        if yes:
            self.run_worker(self._end_target())

    async def _end_target(self) -> None:
        assert self.target is not None
        asyncio.get_running_loop().remove_reader(self.target.fd)
        await asyncio.to_thread(self.target.end)
        self.exit()

    def on_unmount(self) -> None:
        """Close the log."""
        if self.source is not None:
            self.source.close()

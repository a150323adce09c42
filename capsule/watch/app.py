"""The application: where things stand on the terminal, and what the keys do."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from capsule.commands._lines import harmless
from capsule.watch.dialogs import Question, keys_page, record_page
from capsule.watch.emulator import Emulator
from capsule.watch.heading import Moment, heading
from capsule.watch.index import Filter
from capsule.watch.keys import LEAVE
from capsule.watch.layout import Layout, layout
from capsule.watch.panes import ListPane, TerminalPane, strip_of
from capsule.watch.rows import Line, process_line, record_line
from capsule.watch.session import Session
from capsule.watch.target import Target

TICK_S = 0.1
READ_S = 0.04
"""How long the log is read, and filtered, before keys are looked at again."""

AT_THE_END = ("leave", "keys", "other_pane")
TERMINAL_S = 0.02
TERMINAL_BYTES = 4096


class Lines(Widget):
    """Some lines of text that are made anew at each drawing."""

    def __init__(self, make: Callable[[int], list[Line]], *, id: str) -> None:
        super().__init__(id=id)
        self._make = make

    def render_line(self, y: int) -> Strip:
        """One of them."""
        lines = self._make(self.size.width)
        return strip_of(lines[y] if y < len(lines) else [], self.size.width)


class WatchApp(App[None], inherit_bindings=False):
    """One run on a terminal: a log, and perhaps the target whose log it is.

    `size`: columns and lines of the target's terminal at first.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS_PATH = "watch.tcss"
    # With priority: they change who gets the keys after them, which may be on their way already.
    BINDINGS = [
        Binding(keys, action, priority=True)
        for keys, action in (
            ("q,ctrl+c,ctrl+q", "leave"),
            ("question_mark", "keys"),
            ("slash", "search"),
            ("tab,shift+tab", "other_pane"),
            (LEAVE, "terminal"),
            ("left", "fold(True)"),
            ("right", "fold(False)"),
            ("enter", "enter"),
            ("escape", "no_filter"),
            ("a", "living"),
            ("f", "outcome"),
            ("t", "tag"),
        )
    ]

    def __init__(self, path: Path | None, target: Target | None, size: tuple[int, int]) -> None:
        super().__init__(ansi_color=True)
        self.session = Session(path)
        self.target = target
        self.status: int | None = None
        """The target's exit status, once it has ended."""
        self._moment = Moment("starting")
        self._layout: Layout = layout(80, 24)
        self.processes = ListPane(self._process_line, id="tree")
        self.records = ListPane(self._record_line, id="records", tail=True)
        self.panes = Horizontal(self.processes, self.records, id="panes")
        self.heading = Lines(
            lambda width: heading(self.session.log, self._moment, width), id="heading"
        )
        self.foot = Lines(self._foot, id="foot")
        self.bar = Lines(self._bar, id="bar")
        self.terminal: TerminalPane | None = None
        if target is not None:
            self.terminal = TerminalPane(Emulator(*size, target.write), target.write, id="terminal")
        self.search = Input(id="search", compact=True, select_on_focus=False,
                            placeholder="words, net, file.open, failed, tag:NAME")  # fmt: skip
        self.search.display = False

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
        self._enter(self.processes)
        loop = asyncio.get_running_loop()
        for signo in (signal.SIGHUP, signal.SIGTERM):
            loop.add_signal_handler(signo, self.exit)  # and the target is ended with us
        if self.target is not None and self.terminal is not None:
            loop.add_reader(self.target.fd, self._read_terminal)
            self._enter(self.terminal)
        self.set_interval(TICK_S, self._tick)
        self._tick()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Our keys are for the lists; the terminal, the search and what is over all have theirs."""
        if self.screen.is_modal:
            return False
        if self.focused is self.terminal and self.terminal is not None:
            # Of a command that has ended nobody reads what is typed there.
            return action == "terminal" or (self.status is not None and action in AT_THE_END)
        return self.focused in (self.processes, self.records)

    def on_unmount(self) -> None:
        """Close the log."""
        self.session.close()

    # -- where things stand ---------------------------------------------------------------

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
        self.processes.set_class(alone, "alone")
        if self.terminal is not None:
            below = plan.split or in_terminal
            self.panes.display = plan.split or not in_terminal
            self.bar.display = self.terminal.display = below
            self.terminal.styles.height = plan.target_lines

    def _process_line(self, row: int, width: int) -> Line:
        if row == 0:
            return [(" all processes", "bold")]
        process = self.session.tree[row - 1]
        return process_line(process, width, self.session.cpu.get(process.proc))

    def _record_line(self, row: int, width: int) -> Line:
        record = self.session.record(self.session.view.rows[row])
        if record is None:
            return [("(cannot be read any more)", "red")]
        return record_line(record, width, of_all=self.session.selected is None)

    def _bar(self, width: int) -> list[Line]:
        left = " terminal" + (f": exit {self.status}" if self.status is not None else "")
        right = "F2 or Ctrl-] leaves it " if self.focused is self.terminal else "F2 enters it "
        return [[(left.ljust(max(0, width - len(right))) + right, "reverse")]]

    def _foot(self, width: int) -> list[Line]:
        session = self.session
        if self.focused is self.terminal and self.terminal is not None:
            said = " shift-pgup:scroll back  " + (
                "all other keys are the command's" if self.status is None else "?:keys  q:quit"
            )
            return [[(said, "dim")]]
        said = " ?:keys  /:search  tab:pane  q:quit"
        parts: Line = [(said + ("  F2:terminal" if self.target is not None else ""), "dim")]
        if str(session.filter):
            found, total = session.view.looked_at
            done = f" ({found * 100 // max(1, total)}%)" if found < total else ""
            shown = f"  [{harmless(str(session.filter))}] {len(session.view.rows)} of {total}{done}"
            parts = [(" esc:all ", "dim"), (shown, "bold")]
        if session.living:
            parts.append(("  only alive", "bold"))
        return [parts]

    # -- as time goes by ------------------------------------------------------------------

    def _tick(self) -> None:
        if self.target is not None:
            self._look_at_target(self.target)
        self.session.advance(READ_S)
        self.draw()

    def _look_at_target(self, target: Target) -> None:
        if self.status is None:
            self.status = target.poll()  # before its log is looked for: what it has made is there
        if self.session.source is None:
            path = target.log()
            if path is not None:
                self.session.open(path)
            elif self.status is not None:
                self.exit()  # it never ran; what it said is told then

    def _read_terminal(self) -> None:
        target, terminal = self.target, self.terminal
        assert target is not None
        assert terminal is not None
        until_s = time.monotonic() + TERMINAL_S
        while time.monotonic() < until_s:
            data = target.read(TERMINAL_BYTES)
            if data is None:
                asyncio.get_running_loop().remove_reader(target.fd)
            if not data:
                break
            terminal.emulator.feed(data)
        terminal.refresh()

    def draw(self, *, tree_now: bool = False) -> None:
        """Bring what has changed to the screen."""
        session, top = self.session, round(self.processes.scroll_y)
        self._moment = session.moment()
        if session.make_tree(now=tree_now):
            self.processes.cursor = session.row
            self.processes.set_count(len(session.tree) + 1)
        lines = self.processes.size.height
        session.look_at_cpu(session.tree[max(0, top - 1) : top + lines])
        self.processes.refresh()
        self.records.set_count(len(session.view.rows))
        for widget in (self.heading, self.foot, self.bar):
            widget.refresh()

    # -- choosing -------------------------------------------------------------------------

    def _shown_anew(self, *, tree_now: bool = True) -> None:
        self.session.view.advance(READ_S)
        self.records.at_end = True
        self.draw(tree_now=tree_now)

    def on_list_pane_moved(self, event: ListPane.Moved) -> None:
        """Another process is chosen."""
        if event.pane is self.processes:
            row = self.processes.cursor
            self.session.select(self.session.tree[row - 1] if row else None)
            self._shown_anew(tree_now=False)

    def action_outcome(self) -> None:
        """All, failed, worked."""
        self.session.next_outcome()
        self._shown_anew()

    def action_tag(self) -> None:
        """All, tagged, then one tag after the other."""
        self.session.next_tag()
        self._shown_anew()

    def action_no_filter(self) -> None:
        """Show all."""
        self.session.show(Filter())
        self._shown_anew()

    def action_living(self) -> None:
        """Show only the living, or all."""
        self.session.living = not self.session.living
        self._shown_anew()

    def action_fold(self, fold: bool) -> None:
        """Fold or unfold in the tree."""
        if self.focused is self.processes:
            self.session.fold(fold)
            self._shown_anew()

    def action_search(self) -> None:
        """Ask for a filter."""
        self.search.value = str(self.session.filter).replace("text:", "")
        self.foot.display = False
        self._enter(self.search)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Use it."""
        self.session.show(Filter.parse(event.value))
        self._end_search()
        self._shown_anew()

    def _end_search(self) -> None:
        self.search.display = False
        self.foot.display = True
        self._enter(self.records)

    def on_key(self, event: events.Key) -> None:
        """Escape leaves the search as it was."""
        if self.focused is self.search and event.key == "escape":
            event.stop()
            event.prevent_default()
            self._end_search()

    # -- going elsewhere ------------------------------------------------------------------

    def _enter(self, widget: Widget) -> None:
        """Give the keys to a widget at once: those that follow may be on their way already."""
        if widget in (self.processes, self.records):
            self.panes.display = True
        widget.display = True
        self.screen.set_focus(widget)

    def action_other_pane(self) -> None:
        """From the tree to the Actions and back."""
        self._enter(self.records if self.focused is self.processes else self.processes)

    def action_terminal(self) -> None:
        """Give the keys to the target's terminal, or take them back."""
        if self.focused is self.terminal:
            self._enter(self.processes)
        elif self.terminal is not None:
            self._enter(self.terminal)

    def action_keys(self) -> None:
        """Tell the keys."""
        self.push_screen(keys_page())

    def action_enter(self) -> None:
        """From a process to its Actions, from an Action to all of its record."""
        if self.focused is self.processes:
            self._enter(self.records)
        elif self.focused is self.records and self.records.count:
            record = self.session.record(self.session.view.rows[self.records.cursor])
            if record is not None:
                self.push_screen(record_page(record))

    def action_leave(self) -> None:
        """Quit; while the target runs, ask first."""
        if self.target is None or self.target.poll() is not None:
            self.exit()
            return
        text = "The command still runs. End it and all that it has started, and quit?  y / n"
        self.push_screen(Question(text), self._end_target)

    async def _end_target(self, yes: bool | None) -> None:
        if yes and self.target is not None:
            asyncio.get_running_loop().remove_reader(self.target.fd)
            await asyncio.to_thread(self.target.end)
            self.exit()

"""The panes: the tree, the Actions, and the target's terminal. Only lines in sight are rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from pyte.screens import Char
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from capsule.watch.emulator import APPLICATION_CURSOR, BRACKETED_PASTE, Emulator
from capsule.watch.keys import key_bytes
from capsule.watch.rows import Line


@lru_cache(maxsize=1024)
def style_of(words: str) -> Style:
    """rich's own words for a look as a Style."""
    return Style.parse(words) if words else Style.null()


def strip_of(line: Line, width: int, extra: str = "") -> Strip:
    """A line as what textual draws, exactly so wide. Text is text: nothing in it is markup."""
    more = style_of(extra)
    strip = Strip([Segment(text, style_of(words) + more) for text, words in line if text])
    return strip.adjust_cell_length(width, more)


class ListPane(ScrollView, can_focus=True):
    """A list of any length, with a cursor. `line(row, width)` says what a row looks like."""

    BINDINGS = [
        Binding("up,k", "move(-1)"),
        Binding("down,j", "move(1)"),
        Binding("pageup,ctrl+b", "page(-1)"),
        Binding("pagedown,ctrl+f,space", "page(1)"),
        Binding("home,g", "go(0)"),
        Binding("end,G", "go(-1)"),
    ]

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, pane: ListPane) -> None:
            super().__init__()
            self.pane = pane

        @property
        def control(self) -> ListPane:
            """The list."""
            return self.pane

    def __init__(self, line: Callable[[int, int], Line], *, id: str, tail: bool = False) -> None:
        super().__init__(id=id)
        self._line = line
        self._tail = tail
        self.count = 0
        self.cursor = 0
        self.at_end = tail
        """Whether the cursor keeps to the last row as rows are added."""

    def set_count(self, count: int) -> None:
        """There are so many rows now; draw what is in sight anew."""
        if count != self.count:
            self.count = count
            self.virtual_size = Size(self.scrollable_content_region.width, count)
        self.cursor = max(0, count - 1) if self.at_end else min(self.cursor, max(0, count - 1))
        self._show_cursor()
        self.refresh()

    def select(self, row: int) -> None:
        """Put the cursor there without telling."""
        self.cursor = max(0, min(row, self.count - 1))
        self.at_end = self._tail and self.cursor == max(0, self.count - 1)
        self._show_cursor()
        self.refresh()

    def _show_cursor(self) -> None:
        lines = max(1, self.scrollable_content_region.height)
        top = round(self.scroll_y)
        if self.cursor < top:
            top = self.cursor
        elif self.cursor >= top + lines:
            top = self.cursor - lines + 1
        top = max(0, min(top, self.count - lines))
        if top != round(self.scroll_y):
            self.scroll_to(y=top, animate=False, force=True)

    def _move_to(self, row: int) -> None:
        before = self.cursor
        self.select(row)
        if self.cursor != before:
            self.post_message(self.Moved(self))

    def action_move(self, rows: int) -> None:
        """Move by so many rows."""
        self._move_to(self.cursor + rows)

    def action_page(self, pages: int) -> None:
        """Move by so many screenfuls."""
        self._move_to(self.cursor + pages * max(1, self.size.height - 1))

    def action_go(self, row: int) -> None:
        """Move to a row; -1 is the last one."""
        self._move_to(self.count - 1 if row < 0 else row)

    def on_click(self, event: events.Click) -> None:
        """The row that is clicked on."""
        self._move_to(round(self.scroll_y) + event.y)

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self.virtual_size = Size(self.scrollable_content_region.width, self.count)
        self._show_cursor()

    def render_line(self, y: int) -> Strip:
        """One line in sight."""
        width, row = self.scrollable_content_region.width, round(self.scroll_y) + y
        if row >= self.count:
            return Strip.blank(width)
        extra = ""
        if row == self.cursor:
            extra = "reverse" if self.has_focus else "underline"
        return strip_of(self._line(row, width), width, extra)


class TerminalPane(Widget, can_focus=True):
    """The target's terminal. While it has the focus it gets every key but keys.LEAVE."""

    def __init__(self, emulator: Emulator, write: Callable[[bytes], None], *, id: str) -> None:
        super().__init__(id=id)
        self.emulator = emulator
        self._write = write
        self._back = 0

    def on_key(self, event: events.Key) -> None:
        """Pass the key on."""
        event.stop()
        event.prevent_default()
        if event.key in ("shift+pageup", "shift+pagedown"):
            step = max(1, self.size.height - 1)
            step = step if event.key == "shift+pageup" else -step
            self._back = max(0, min(self._back + step, self.emulator.scrollback))
            self.refresh()
            return
        self._back = 0
        application = self.emulator.has_mode(APPLICATION_CURSOR)
        self._write(key_bytes(event.key, event.character, application_cursor=application))

    def on_paste(self, event: events.Paste) -> None:
        """Type what was pasted, marked as such if the program wants to know."""
        event.stop()
        data = event.text.replace("\n", "\r").encode()
        if self.emulator.has_mode(BRACKETED_PASTE):
            data = b"\x1b[200~" + data.replace(b"\x1b", b"") + b"\x1b[201~"
        self._write(data)

    def render_line(self, y: int) -> Strip:
        """One line of the terminal."""
        width = self.size.width
        row = self.emulator.row(y, self._back)
        strip = Strip([Segment(text, look(char)) for text, char in row]).adjust_cell_length(width)
        cursor = self.emulator.cursor
        if cursor is None or cursor[1] != y or self._back or not self.has_focus:
            return strip
        at = cell_len("".join(text for text, _ in row)[: cursor[0]])
        left, under, right = strip.crop(0, at), strip.crop(at, at + 1), strip.crop(at + 1, width)
        return Strip.join([left, under.apply_style(Style(reverse=True)), right])


@lru_cache(maxsize=4096)
def look(char: Char) -> Style:
    """pyte's looks as rich's."""
    return Style(
        color=_colour(char.fg),
        bgcolor=_colour(char.bg),
        bold=char.bold,
        italic=char.italics,
        underline=char.underscore,
        strike=char.strikethrough,
        reverse=char.reverse,
        blink=char.blink,
    )


def _colour(name: str) -> str:
    if len(name) == 6 and not set(name) - set("0123456789abcdef"):
        return f"#{name}"
    if name.startswith("bright"):
        name, bright = name[6:], "bright_"
    else:
        bright = ""
    plain = "yellow" if name == "brown" else name
    return f"{bright}{plain}" if plain in _ANSI else "default"


_ANSI: Sequence[str] = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")

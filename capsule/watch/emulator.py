"""The target's terminal: pyte's VT, with what full-screen programs need and pyte lacks.

Bytes of the target in, styled cells out. Whatever the bytes are, nothing raises, and no cell
holds a control character.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import pyte
from pyte.screens import Char, StaticDefaultDict

TERM = "screen-256color"
"""What is told to the target: the entry of terminfo(5) that asks for least beyond a VT100."""

SCROLLBACK = 2000
ALTERNATE = {47, 1047, 1049}
"""Private modes that switch to the other buffer (xterm's ctlseqs)."""

APPLICATION_CURSOR = 1 << 5
BRACKETED_PASTE = 2004 << 5
_SHIFT = 5  # pyte shifts private modes by as much, to tell them from the others

# Sequences that pyte takes for others: CSI with <, = or >, with a colon, or an intermediate byte.
_OTHER_CSI = re.compile(rb"\x1b\[(?:[<=>][\d;:]*|[\d;:?]*[ !\"'*+]|[\d;?]*:[\d;:]*)[@-~]")
_PARTIAL = re.compile(rb"(?:\x1b(?:\[[<=>?\d;:]{0,64}[ !\"'*+]?)?|\xc2)\Z")
# Strings to the terminal (OSC, DCS, SOS, PM, APC, and a title as screen has it): none is shown.
_STRING = re.compile(rb"\x1b[\]PX^_k]|\xc2[\x9d\x90\x98\x9e\x9f]")
_STRING_END = re.compile(rb"\x07|\x1b\\|\xc2\x9c|[\x18\x1a]")

Row = list[tuple[str, Char]]
"""Runs of text of one look."""


class _Screen(pyte.Screen):
    """pyte's, with the other buffer, and lines that scroll out kept."""

    def __init__(self, columns: int, lines: int, reply: Callable[[bytes], None]) -> None:
        self._reply = reply
        self.history: deque[dict[int, Char]] = deque(maxlen=SCROLLBACK)
        self._kept: tuple[Any, Any] | None = None  # the normal buffer while the other is shown
        super().__init__(columns, lines)

    def write_process_input(self, data: str) -> None:
        self._reply(data.encode())

    def index(self) -> None:
        if self._kept is None and self.margins is None and self.cursor.y == self.lines - 1:
            self.history.append(dict(self.buffer[0]))
        super().index()

    def reset(self) -> None:
        self._kept = None
        super().reset()

    def set_mode(self, *modes: int, **kwargs: Any) -> None:
        # DECCOLM would set 132 columns, whatever there is room for.
        modes = tuple(mode for mode in modes if not (kwargs.get("private") and mode == 3))
        if kwargs.get("private") and ALTERNATE & set(modes) and self._kept is None:
            self.save_cursor()
            self._kept = self.buffer, self.margins
            self.buffer = defaultdict(lambda: StaticDefaultDict[int, Char](self.default_char))
            self.margins = None
            self.dirty.update(range(self.lines))
        super().set_mode(*modes, **kwargs)

    def reset_mode(self, *modes: int, **kwargs: Any) -> None:
        modes = tuple(mode for mode in modes if not (kwargs.get("private") and mode == 3))
        if kwargs.get("private") and ALTERNATE & set(modes) and self._kept is not None:
            self.buffer, self.margins = self._kept
            self._kept = None
            self.restore_cursor()
            self.dirty.update(range(self.lines))
        super().reset_mode(*modes, **kwargs)


_PRIVATE = ("set_mode", "reset_mode", "erase_in_display", "erase_in_line",
            "report_device_attributes", "report_device_status")  # fmt: skip


def _tolerant(method: Callable[..., None], name: str) -> Callable[..., None]:
    """Let a sequence with parameters that it cannot have pass without effect."""

    def call(self: _Screen, *args: int, **kwargs: Any) -> None:
        if kwargs and name not in _PRIVATE:
            return
        try:
            method(self, *args, **kwargs)
        except (TypeError, ValueError, IndexError, KeyError):
            return

    return call


for _name in set(pyte.Stream.csi.values()):
    setattr(_Screen, _name, _tolerant(getattr(_Screen, _name), _name))


class Emulator:
    """One terminal. `reply` gets what it answers to the program."""

    def __init__(self, columns: int, lines: int, reply: Callable[[bytes], None]) -> None:
        self._screen = _Screen(columns, lines, reply)
        self._stream = pyte.ByteStream(self._screen)
        self._rest = b""  # an unfinished sequence
        self._in_string = False

    def feed(self, data: bytes) -> None:
        """Take in what the program has written."""
        data = _OTHER_CSI.sub(b"", self._without_strings(self._rest + data))
        partial = _PARTIAL.search(data)
        at = len(data) if partial is None else partial.start()
        data, self._rest = data[:at], data[at:] + self._rest
        try:
            self._stream.feed(data)
        except Exception:  # pyte's parser ends with what it raises: go on with a fresh one
            self._stream = pyte.ByteStream(self._screen)

    def _without_strings(self, data: bytes) -> bytes:
        self._rest = b""
        kept = []
        while data:
            if self._in_string:
                end = _STRING_END.search(data)
                if end is None:
                    self._rest = data[-1:] if data[-1:] in (b"\x1b", b"\xc2") else b""
                    break
                self._in_string = False
                data = data[end.end() :]
            begin = _STRING.search(data)
            if begin is None:
                kept.append(data)
                break
            kept.append(data[: begin.start()])
            data = data[begin.end() :]
            self._in_string = True
        return b"".join(kept)

    def resize(self, columns: int, lines: int) -> None:
        """Have another size."""
        self._screen.resize(lines, columns)

    @property
    def scrollback(self) -> int:
        """How many lines have scrolled out at the top and are kept."""
        return len(self._screen.history)

    @property
    def cursor(self) -> tuple[int, int] | None:
        """(column, line) of the cursor; None while it is hidden."""
        at = self._screen.cursor
        return None if at.hidden else (min(at.x, self._screen.columns - 1), at.y)

    def has_mode(self, mode: int) -> bool:
        """Whether APPLICATION_CURSOR or BRACKETED_PASTE is set."""
        return mode in self._screen.mode

    def text(self) -> list[str]:
        """What is to be seen, without looks and blank lines."""
        rows = range(self._screen.lines)
        lines = ("".join(text for text, _ in self.row(y)).rstrip() for y in rows)
        return [line for line in lines if line]

    def row(self, y: int, back: int = 0) -> Row:
        """Line `y` as it is to be seen, scrolled back by so many lines."""
        screen = self._screen
        at = y - min(back, len(screen.history))
        line: Any = screen.buffer[at] if at >= 0 else screen.history[at]
        found: Row = []
        text, look = "", screen.default_char
        for x in range(screen.columns):
            char = line[x] if at >= 0 else line.get(x, screen.default_char)
            data = char.data if char.data.isprintable() else "\ufffd"
            same = char._replace(data=" ")
            if same != look and text:
                found.append((text, look))
                text = ""
            look = same
            text += data
        return [*found, (text, look)] if text else found

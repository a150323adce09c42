"""What is shown over the panes: the keys, one record whole, and the question before quitting."""

from __future__ import annotations

import json
from typing import Any

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from capsule.commands._lines import clock_text, harmless

KEYS = """\
 up down j k      move            pgup pgdn home end
 tab              other pane      F2 or Ctrl-]  to the terminal and back
 left right       fold, unfold    enter         the record, whole
 a                only processes that are alive, or all
 f                all, failed, worked
 t                all, tagged, one tag after the other
 /                search          esc           no filter any more
 q                quit            ?             this

Search: words that all have to occur in a record's target, program,
arguments, errors or tags; and
   net  file.open  proc.*  kind:X   only Actions of this kind
   failed  worked  tag:NAME         as f and t
   text:WORD                        WORD as text, whatever it is

The tree: state (R running, S sleeping, t held by strace …) and CPU of
who is alive, exit status or signal of who is not, yellow if tagged.
At the top: the newest Action's latency and the worst lately, in ms,
from the system call to here."""


class Pages(ModalScreen[None], inherit_bindings=False):
    """Text that can be scrolled; q, escape or enter close it."""

    BINDINGS = [("escape,q,enter,question_mark", "close")]

    def __init__(self, text: Text, title: str) -> None:
        super().__init__()
        self._text = text
        self._title = title

    def compose(self) -> ComposeResult:
        """One box."""
        box = VerticalScroll(Static(self._text, markup=False))
        box.border_title = self._title
        yield box

    def on_mount(self) -> None:
        """Let the keys scroll."""
        self.query_one(VerticalScroll).focus()

    def action_close(self) -> None:
        """Go away."""
        self.dismiss()


def keys_page() -> Pages:
    """The keys."""
    return Pages(Text(KEYS), "keys")


def record_page(record: dict[str, Any]) -> Pages:
    """A record's members, one a line; lists of texts one item a line."""
    text = Text()
    for name, value in record.items():
        text.append(f"{harmless(name)}: ", "bold")
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            text.append("".join(f"\n  {harmless(item)}" for item in value))
        else:
            plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            text.append(harmless(plain))
        if name.endswith("_ns") and isinstance(value, int):
            text.append(f"  {clock_text(value, '%Y-%m-%d %H:%M:%S')}", "dim")
        text.append("\n")
    return Pages(text, f"record {harmless(str(record.get('seq')))}")


class Question(ModalScreen[bool], inherit_bindings=False):
    """Yes or no."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """One box."""
        yield Static(self._text, markup=False, id="question")

    def on_key(self, event: events.Key) -> None:
        """y is yes; n, q and escape are no."""
        event.stop()
        if event.key in ("y", "n", "q", "escape"):
            self.dismiss(event.key == "y")

"""Running the parser in a test."""

from __future__ import annotations

from collections.abc import Iterable

from capsule._parse import Parser
from capsule.events import Event, read_events


def parse(text: str | bytes, cuts: Iterable[int] = (), max_line: int = 1 << 28) -> list[Event]:
    """The events of a whole text, fed in pieces that end at `cuts` (offsets, ascending).

    Whatever the text, the counters have to account for every line.
    """
    data = text.encode() if isinstance(text, str) else text
    parser = Parser(max_line=max_line)
    events: list[Event] = []
    at = 0
    for cut in (*cuts, len(data)):
        events += read_events(parser.feed(data[at:cut]))
        at = cut
    events += read_events(parser.finish())
    count = parser.counters()
    assert count["bytes_in"] == len(data)
    assert count["lines_in"] + count["cut"] == count["events"] + count["joined"]
    assert (count["events"], count["open"]) == (len(events), 0)
    return events


def one(line: str | bytes) -> Event:
    """The only event of one line."""
    (event,) = parse(line)
    return event

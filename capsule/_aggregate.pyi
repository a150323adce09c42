"""The aggregator's inner loop; see capsule/_aggregate.pyx."""

from collections.abc import Collection, Sequence
from typing import Any

class ActionLoop:
    """Turns fact batches into lines of JSON; `rules` knows details, tags and the summary."""

    events_in: int
    actions_out: int
    counted: int
    processes: int
    pending_now: int
    pending_most: int
    errors: dict[bytes, int]
    def __init__(
        self,
        rules: Any,
        kinds: Sequence[str],
        immediate: Collection[str],
        tagged: Collection[str],
        summed: Collection[str],
    ) -> None: ...
    def feed(self, batch: bytes | memoryview) -> bytes:
        """Return the Actions that one fact batch completes. ValueError if it is not one."""
    def tick(self, now_ns: int) -> bytes:
        """Return the Actions whose windows are over at `now_ns`."""
    def next_tick_ns(self) -> int | None:
        """Return when the oldest window is over; None when none is open, or time is not known."""
    def alive(self, most: int) -> list[int]:
        """Return the pids of processes whose end has not been seen, at most `most` of them."""
    def finish(self) -> bytes:
        """Return every Action still pending."""

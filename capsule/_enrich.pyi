"""The enricher's inner loop; see capsule/_enrich.pyx."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from capsule._facts import Call, Target, Task
from capsule.syscalls import Row

AMOUNTS: dict[str, int]

class FactLoop:
    """Turns event batches into fact batches; `rules` decides what is not routine."""

    tasks: dict[int, Task]
    sockets: dict[bytes, Target]
    ready: deque[bytes]
    holding: bool
    hold_until: int
    hold_line: int
    mark: int
    events_in: int
    events_out: int
    seen_line: int
    def __init__(
        self,
        rules: Any,
        table: Sequence[Row],
        kinds: Sequence[str],
        by_class: Mapping[tuple[str, str], str],
        slow: Mapping[str, int],
        watched: Mapping[str, int],
    ) -> None: ...
    def process_fact(self, proc: int, pid: int, exe: bytes | None, uid: int) -> None:
        """Write who `proc` is from here on; `uid` -1 and `exe` None are not known."""
    def process_gone(self, proc: int) -> None:
        """Write that `proc` has ended and its number is not used again."""
    def emit(
        self,
        call: Call,
        kind: int,
        proc: int,
        target: Target,
        amount: int = -1,
        access: int = 0,
        detail: bytes = b"",
    ) -> None:
        """Write the one row of `call`."""
    def forget_tasks(self) -> None:
        """Drop the remembered task: the tasks have changed."""
    def feed(self, batch: bytes | memoryview) -> bytes:
        """Return the facts of one event batch. ValueError if it is not one."""
    def take(self) -> bytes:
        """Return what has been written since the last batch."""
    def calls(self) -> list[list[str | int]]:
        """Return `[name, count, first line]` of every call made."""
    def arguments(self) -> list[list[str | int]]:
        """Return `[name, text, count, first line]` of each value of a watched argument."""
    def drain(self) -> None:
        """Run the events of tasks that have just been identified."""

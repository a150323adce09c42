"""The enricher: event batches in, fact batches out (capsule/events.py has both layouts).

Adds to every event who did it (a process that survives pid reuse and exec) and what it acts
on (an absolute path, an address, a process). The inner loop is capsule/_enrich.pyx; the
rules of single calls are capsule/callrules.py.
"""

from __future__ import annotations

from capsule import syscalls
from capsule._enrich import FactLoop
from capsule.arguments import SHOWN
from capsule.callrules import CallRules
from capsule.lineage import Holding, Lineage
from capsule.procfs import ProcessFacts, ProcReader, PsutilReader

LIVE = Holding(wait_ns=50_000_000)
"""A running trace waits 50 ms for a pid to be announced, then asks /proc."""

FROM_FILE = Holding(wait_ns=1_000_000_000)
"""A file can wait: nothing else than the trace knows who a pid is."""


class Enricher:
    """Adds process facts to events.

    `root_pid` is the process the trace starts with (None: the first one seen). `proc_reader`
    asks the running system; without one only the trace speaks, and the same trace gives the
    same facts; `live` gives it the real one. `root` is what the caller knows of the root
    process; else the reader is asked.
    """

    def __init__(
        self,
        root_pid: int | None = None,
        proc_reader: ProcReader | None = None,
        *,
        live: bool = False,
        root: ProcessFacts | None = None,
        holding: Holding | None = None,
        redact: bool = True,
    ) -> None:
        if live and proc_reader is None:
            proc_reader = PsutilReader()
        self._lineage = Lineage(holding or (FROM_FILE if proc_reader is None else LIVE))
        self._rules = CallRules(self._lineage, proc_reader, redact)
        self._loop = FactLoop(
            self._rules,
            syscalls.table(),
            syscalls.KINDS,
            syscalls.BY_CLASS,
            self._rules.slow(),
            SHOWN,
        )
        self._rules.attach(self._loop)
        self._reader = proc_reader
        if root_pid is not None:
            if root is None and proc_reader is not None:
                root = proc_reader.facts(root_pid)
            self._rules.start_root(root_pid, root)

    def feed(self, batch: bytes | memoryview) -> bytes:
        """Return the facts of one event batch. ValueError if it is not one."""
        return self._loop.feed(batch)

    def tick(self, now_ns: int) -> bytes:
        """Give up waiting for pids nobody announced, as events at `now_ns` would."""
        if self._loop.holding and now_ns >= self._loop.hold_until:
            self._loop.mark = max(self._loop.mark, now_ns)
            self._rules.expire()
            self._loop.drain()
        return self._loop.take()

    def next_tick_ns(self) -> int | None:
        """Return when `tick` has something to do; None: not before the next batch."""
        return self._loop.hold_until if self._loop.holding else None

    def finish(self) -> bytes:
        """Return the facts of all that was still held back."""
        self._rules.give_up()
        return self._loop.take()

    def counters(self) -> dict[str, int]:
        """Return what went in and out, and how the processes were told apart."""
        return {
            "events_in": self._loop.events_in,
            "events_out": self._loop.events_out,
            "held_now": self._lineage.held_events,
            **self._lineage.counts,
            "redacted": self._rules.redacted,
            **(self._reader.counters() if self._reader is not None else {}),
        }

    def calls(self) -> list[list[str | int]]:
        """Return `[name, count, line of the first]` of each system call that was made."""
        return self._loop.calls()

    def arguments(self) -> list[list[str | int]]:
        """Return `[call, text, count, line of the first]` of each value of a watched argument."""
        return self._loop.arguments()

    def alive(self) -> list[int]:
        """Return the pids of processes whose end the trace has not shown."""
        return sorted(p.pid for p in self._lineage.processes.values() if p.pid is not None)

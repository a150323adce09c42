"""The links between the stages: messages, sockets, and the shell that runs a stage.

A link is one PUSH/PULL pair over ipc. Every message is one frame:

    D <batch>    a batch for the next stage's `feed`
    M <json>     a mark of the first stage for the last, handed through in its place
    E <json>     the end mark: what the stages before have counted

PUSH over ipc loses messages when it is closed, even cleanly and with an infinite linger
(libzmq issue 4660, measured with 4.3.5). So no stage closes anything before the last stage
has ended: all hold the read end of one pipe, `done`, that only the last stage has open for
writing, and end of file on it is the release.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import zmq

from capsule.control import Control
from capsule.stage import Sink, Source, Stage, Ticking

HIGH_WATER_MARK = 4
"""Batches a link holds at each end; a full one blocks the stage before it."""

GATHER_S = 0.005
"""Least time between two chunks of the source under load; when idle the first goes at once."""

CHUNK_BYTES = 1 << 20

LAG_NS = 20_000_000
"""How far behind the clock a stage's tick runs: events this old may still be on their way."""

QUIET_MS = 150
"""After the stage before has died: silence on the link for so long means that it is drained."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one stage sits: its place in the line and what joins it to its neighbours.

    `inlet`: ipc path to bind, None for the source. `outlet`: ipc path to connect, None for
    the sink. `upstream_pid`: the only process that may connect. `done`: see the module's text.
    `before`, `after`: the read ends of pipes that only that neighbour has open for writing, so
    that its death shows even when nobody is left to tell of it (-1: no neighbour). `tap` joins
    the parser and the logger of a published run (capsule/tap.py).
    """

    index: int
    name: str
    control: Control
    done: int
    inlet: str | None
    outlet: str | None
    upstream_pid: int | None
    before: int = -1
    after: int = -1
    tap: socket.socket | None = None


class Released(Exception):
    """The stages behind are gone: nothing more can be passed on, and nobody waits for it."""


class Shell:
    """Runs one stage in its own process: sockets, control messages, end marks, idle ticks."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.context = zmq.Context(io_threads=1)
        self._inlet: zmq.Socket[bytes] | None = None
        self._outlet: zmq.Socket[bytes] | None = None
        self._abort: str | None = None
        self._upstream_dead = False
        self.told: dict[str, Any] = {}
        self._orphaned = False
        self.on_orphaned: Callable[[], None] = lambda: None
        self._watched: dict[Any, Callable[[], bool]] = {}

    # -- joining and leaving

    def join(self) -> None:
        """Open the links, wait until the next stage is connected, and tell the supervisor."""
        if self.seat.inlet is not None:
            self._inlet = self.context.socket(zmq.PULL)
            self._inlet.set(zmq.RCVHWM, HIGH_WATER_MARK)
            self._inlet.set(zmq.LINGER, 0)
            if self.seat.upstream_pid is not None:
                self._inlet.set(zmq.IPC_FILTER_PID, self.seat.upstream_pid)
            self._inlet.bind(f"ipc://{self.seat.inlet}")
        if self.seat.outlet is not None:
            self._outlet = self.context.socket(zmq.PUSH)
            self._outlet.set(zmq.SNDHWM, HIGH_WATER_MARK)
            self._outlet.set(zmq.LINGER, 0)
            self._outlet.set(zmq.IMMEDIATE, 1)
            self._outlet.set(zmq.RECONNECT_IVL, 10)
            self._outlet.connect(f"ipc://{self.seat.outlet}")
            while not self._poll((self._outlet, zmq.POLLOUT)).get(self._outlet):
                if self._abort is not None:
                    raise Released
        # What is there now stays: no collection need look at it again.
        gc.freeze()
        gc.enable()
        self.seat.control.send(ready=True)

    def leave(self) -> None:
        """Close everything, once nobody is to be sent anything any more."""
        self.context.destroy(linger=0)

    def await_release(self) -> None:
        """Keep the links open until the last stage has ended."""
        poller = select.poll()
        poller.register(self.seat.done, select.POLLIN)
        poller.poll()

    def await_verdict(self) -> None:
        """Wait until the supervisor has acted upon a death, or `on_orphaned` upon its own."""
        poller = select.poll()
        poller.register(self.seat.control.fileno(), select.POLLIN)
        while self._abort is None and poller.poll():
            self._handle_control()

    # -- control

    def _handle_control(self) -> None:
        message = self.seat.control.receive()
        if message is None:
            if not self._orphaned:
                self._orphaned = True
                self.on_orphaned()
                self._abort = self._abort or "the supervisor died"
            return
        self._abort = self._abort or message.get("abort")
        self.told.update(message)

    def wait_told(self, key: str) -> Any:
        """What the supervisor says under `key`; None once the run is aborted."""
        while key not in self.told and self._abort is None:
            self._poll()
        return self.told.get(key)

    def watch(self, source: Any, heed: Callable[[], bool]) -> None:
        """Call `heed` whenever `source` (a ZeroMQ socket or a descriptor) can be read.

        It returns False when nothing more will come.
        """
        self._watched[source] = heed

    def is_aborted(self) -> bool:
        """Whether the run has failed, as far as the supervisor has said by now."""
        self._poll(timeout_ms=0, watching=False)
        return self._abort is not None

    def _poll(
        self, *sockets: tuple[Any, int], timeout_ms: int | None = None, watching: bool = True
    ) -> dict[Any, int]:
        """Wait for `sockets`, and for control, the release and the stage before, handled here."""
        watched = self._watched if watching else {}
        # zmq_poll(3) asks each socket before and after: without one, poll(2) does less.
        plain = all(isinstance(source, int) for source in (*dict(sockets), *watched))
        poller = select.poll() if plain else zmq.Poller()
        for sock, flag in sockets:
            poller.register(sock, flag)
        if not self._orphaned:
            poller.register(self.seat.control.fileno(), zmq.POLLIN)
        poller.register(self.seat.done, zmq.POLLIN)
        if self.seat.after >= 0:
            poller.register(self.seat.after, zmq.POLLIN)
        if self.seat.before >= 0 and not self._upstream_dead:
            poller.register(self.seat.before, zmq.POLLIN)
        for source in watched:
            poller.register(source, zmq.POLLIN)
        events = dict(poller.poll(timeout_ms))
        if events.get(self.seat.control.fileno()):
            self._handle_control()
        if events.get(self.seat.before):
            # It outlives us in good order: it waits for the last stage to end.
            self._upstream_dead = True
        if events.get(self.seat.done) or events.get(self.seat.after):
            raise Released
        for source in watched.keys() & events.keys():
            if not watched[source]():
                del self._watched[source]
        return events

    # -- sending

    def _send(self, tag: bytes, payload: bytes) -> None:
        assert self._outlet is not None
        frame = tag + payload
        while True:
            try:
                self._outlet.send(frame, zmq.NOBLOCK)
                return
            except zmq.Again:
                self._poll((self._outlet, zmq.POLLOUT))

    def send(self, batch: bytes) -> None:
        """Pass a batch on, waiting as long as the next stage is full. Raises Released."""
        if batch:
            self._send(b"D", batch)

    def send_end(self, end: dict[str, Any]) -> None:
        if self._abort is not None:
            end.setdefault("abort", self._abort)
        self._send(b"E", orjson.dumps(end))

    # -- the three kinds of seat

    def run_source(self, stage: Source, fd: int, ended: Callable[[], dict[str, Any]]) -> None:
        """Read chunks from `fd` until its end; `ended()` then says what the end mark carries."""
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        last_sent_s = 0.0
        # One buffer for all: a fresh one for each chunk costs page faults, not copies.
        buffer = memoryview(bytearray(CHUNK_BYTES))
        size = 0
        while True:
            if not poller.poll(0):
                if not self._poll((fd, zmq.POLLIN), timeout_ms=_ms_until(stage.next_tick_ns())):
                    stage.tick(time.time_ns())
                    self._send_marks(stage)
                continue
            lag_s = last_sent_s + GATHER_S - time.monotonic()
            if lag_s > 0 and size < CHUNK_BYTES:
                time.sleep(lag_s)
            size = os.readv(fd, [buffer])
            if not size:
                break
            self.send(stage.feed(buffer[:size]))
            self._send_marks(stage)
            last_sent_s = time.monotonic()
        self.send(stage.finish())
        self._send_marks(stage)
        self.send_end({**ended(), "stages": {self.seat.name: stage.counters()}})

    def _send_marks(self, stage: Source) -> None:
        for mark in stage.marks():
            self._send(b"M", orjson.dumps(mark))

    def _incoming(
        self,
        take: Callable[[memoryview], None],
        mark: Callable[[bytes], None],
        tick: Callable[[], int | None],
    ) -> dict[str, Any]:
        """Hand every batch to `take`, every mark to `mark`; returns the end mark.

        `tick` is called when idle and says when it wants to be called again (epoch ns).
        """
        inlet = self._inlet
        assert inlet is not None
        # Readable whenever the socket has something to look into, be it a batch or not.
        inlet_fd = int(inlet.get(zmq.FD))
        next_tick_ns = None
        idle = False
        while True:
            # To ask costs less than an exception for each batch that is waited for.
            if not int(inlet.get(zmq.EVENTS)) & zmq.POLLIN:
                if not idle:
                    idle = True
                    next_tick_ns = tick()
                timeout_ms = QUIET_MS if self._upstream_dead else _ms_until(next_tick_ns)
                if not self._poll((inlet_fd, zmq.POLLIN), timeout_ms=timeout_ms):
                    if self._upstream_dead:
                        self._abort = self._abort or f"a stage before the {self.seat.name} died"
                        return {"stages": {}}
                    next_tick_ns = tick()
                continue
            frame = inlet.recv(zmq.NOBLOCK)
            if frame[:1] == b"E":
                end: dict[str, Any] = orjson.loads(frame[1:])
                return end
            if frame[:1] == b"M":
                mark(frame[1:])
            else:
                take(memoryview(frame)[1:])
            idle = False

    def run_stage(self, stage: Stage, *, live: bool) -> None:
        """Feed batches through `stage` until the end mark, and add its counters to that.

        Only a `live` stream is ticked: the events of an old trace know no clock but their own.
        """

        def take(batch: memoryview) -> None:
            self.send(stage.feed(batch))

        ticking = stage if live and isinstance(stage, Ticking) else None

        def tick() -> int | None:
            if ticking is None:
                return None
            self.send(ticking.tick(time.time_ns() - LAG_NS))
            due_ns = ticking.next_tick_ns()
            return None if due_ns is None else due_ns + LAG_NS

        end = self._incoming(take, lambda mark: self._send(b"M", mark), tick)
        self.send(stage.finish())
        end["stages"][self.seat.name] = stage.counters()
        if hasattr(stage, "calls"):
            end["calls"] = stage.calls()
        if hasattr(stage, "arguments"):
            end["arguments"] = stage.arguments()
        if hasattr(stage, "summary"):
            end["summary"] = stage.summary()
        self.send_end(end)

    def run_sink(self, sink: Sink) -> None:
        """Feed batches to `sink`, close it with the end mark, and report to the supervisor."""

        def take(batch: memoryview) -> None:
            sink.feed(batch)

        def tick() -> int | None:
            sink.tick(time.time_ns())
            return sink.next_tick_ns()

        end = self._incoming(take, lambda mark: sink.mark(orjson.loads(mark)), tick)
        why = end.pop("abort", None) or self._abort
        for gap in end.pop("gaps", ()):
            sink.gap(gap["count"], gap["why"])
        end["stages"][self.seat.name] = sink.counters()
        report: dict[str, Any] = {}
        if why is None:
            report, why = sink.end(end)
        else:
            sink.gap(None, why)
            sink.abandon()
        self.seat.control.send(end=end, report=report, abort=why)


def _ms_until(when_ns: int | None) -> int | None:
    """The milliseconds from now to `when_ns` (epoch ns), rounded up; None for ever."""
    return None if when_ns is None else max(0, (when_ns - time.time_ns()) // 1_000_000 + 1)

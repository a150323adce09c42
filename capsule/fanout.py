"""Publishes a run: the XPUB socket in the logger's process.

A record is published after it has reached the file, so what a subscriber has seen is in the
log. XPUB drops for a subscriber whose queue is full, and for that one alone; the trace does
not wait. With `lossless` it does. Who missed something sees it by the numbers (capsule/frames.py).
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import orjson
import zmq

from capsule import curve
from capsule.burst import Burst
from capsule.endpoints import Endpoint, Publish, prepare_socket_path, socket_mode
from capsule.errors import TraceFailed
from capsule.frames import END, HEARTBEAT, overlaps, pack_head, records
from capsule.publishsink import PublishingSink
from capsule.stage import Sink
from capsule.tap import TapEnd
from capsule.wire import Shell

MAX_SUBSCRIPTION = 4096
"""Bytes that a subscriber may send at once; who sends more is cut off."""

HEARTBEAT_NS = 1_000_000_000
PATIENCE_MS = 100
"""How long a lossless send blocks before it looks whether the run was aborted."""

GOODBYE_S = 1.0
LOSSLESS_GOODBYE_S = 8.0
"""How long the end of a run waits for subscribers to have taken what is on its way to them."""


def _context() -> zmq.Context[Any]:
    """Subscribers have an I/O thread of their own, so that they delay no batch of the links.

    SCHED_BATCH: it does not push the logger off the CPU at the first message of a burst, but
    writes the whole burst when that is done.
    """
    context: zmq.Context[Any] = zmq.Context(io_threads=1)
    # From another policy we may not be allowed to change, and ZeroMQ aborts then.
    if os.sched_getscheduler(0) == os.SCHED_OTHER:
        context.set(zmq.THREAD_SCHED_POLICY, os.SCHED_BATCH)
    return context


class Publisher:
    """One XPUB socket on all of a run's addresses. Raises TraceFailed when it cannot bind.

    `facts` are told in each heartbeat besides the run, its last seq and its head. `is_aborted`
    is asked while a lossless send blocks.
    """

    def __init__(
        self,
        plan: Publish,
        run: str,
        facts: dict[str, Any],
        *,
        tap: TapEnd | None = None,
        is_aborted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._plan = plan
        self._run = run.encode()
        self._facts = {"run": run, **facts}
        self._tap = tap
        self._is_aborted = is_aborted
        self._lossless = plan.lossless
        self._wanted: Counter[bytes] = Counter()
        self._prefixes: tuple[bytes, ...] = ()
        self._verdicts: dict[bytes, bool] = {}  # topic → is_wanted, so that many prefixes are cheap
        self._numbers: dict[bytes, int] = {}
        self._beats = {HEARTBEAT: 0, END: 0}
        self._next_beat_ns = 0  # monotonic
        self._burst = Burst()
        self.seq = -1
        self.head = ""
        self.sent = 0
        self._ended = False
        self._bound: list[tuple[Endpoint, int]] = []
        self._context = _context()
        self.socket = self._context.socket(zmq.XPUB)
        self.socket.set(zmq.SNDHWM, plan.queue)
        self.socket.set(zmq.XPUB_VERBOSER, 1)
        self.socket.set(zmq.XPUB_NODROP, int(plan.lossless))
        self.socket.set(zmq.SNDTIMEO, PATIENCE_MS if plan.lossless else 0)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.MAXMSGSIZE, MAX_SUBSCRIPTION)
        self.socket.set(zmq.TCP_KEEPALIVE, 1)
        self._handler = None
        if plan.keys is not None and plan.authorized is not None:
            self._handler = curve.serve(self._context, plan.keys, plan.authorized)
        try:
            self._bind()
        except BaseException:
            self.close()
            raise

    def _bind(self) -> None:
        # Options hold for the binds after them: a socket file needs no keys.
        for endpoint in self._plan.endpoints:
            if endpoint.path is not None:
                self._bind_path(endpoint)
        if self._plan.keys is not None:
            curve.guard(self.socket, self._plan.keys)
        for endpoint in self._plan.endpoints:
            if endpoint.path is None:
                self.socket.set(zmq.IPV6, int("[" in endpoint.url))
                self._bind_one(endpoint)

    def _bind_path(self, endpoint: Endpoint) -> None:
        assert endpoint.path is not None
        prepare_socket_path(endpoint.path)
        before = os.umask(0o077)
        try:
            self._bind_one(endpoint)
        finally:
            os.umask(before)
        self._bound.append((endpoint, endpoint.path.stat().st_ino))
        endpoint.path.chmod(socket_mode(endpoint.path.parent))

    def _bind_one(self, endpoint: Endpoint) -> None:
        try:
            self.socket.bind(endpoint.url)
        except zmq.ZMQError as error:
            raise TraceFailed(
                f"cannot publish on {endpoint.url}: {error.strerror}; choose another address"
            ) from None

    # -- subscriptions

    def service(self) -> bool:
        """Take in who has come, gone and wants what; greet the new with a heartbeat."""
        greet = changed = False
        while True:
            try:
                message = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            kind, prefix = message[:1], message[1:]
            if kind == b"\x01":
                self._wanted[prefix] += 1
                greet = greet or HEARTBEAT.encode().startswith(prefix)
            elif kind == b"\x00":
                self._wanted[prefix] -= 1
            changed = True
        if changed:
            self._wanted = +self._wanted
            self._prefixes = tuple(self._wanted)
            self._verdicts.clear()
            if self._tap is not None:
                self._tap.want([p for p in self._prefixes if overlaps(p, b"event.")])
        if greet:
            self.heartbeat()
        return True

    def is_wanted(self, topic: bytes) -> bool:
        """Whether anybody is subscribed to `topic`."""
        verdict = self._verdicts.get(topic)
        if verdict is None:
            verdict = self._verdicts[topic] = (topic + b" ").startswith(self._prefixes)
        return verdict

    # -- publishing

    def publish(self, lines: bytes) -> None:
        """Take whole lines that have just reached the log, and publish what is due."""
        self._burst.add(lines)
        now_ns = time.monotonic_ns()
        if now_ns >= self._burst.due_ns():
            self._release(now_ns)
        if now_ns >= self._next_beat_ns:
            self.service()
            self.heartbeat()

    def _release(self, now_ns: int) -> None:
        """Publish what is held."""
        self.service()
        line = b""
        for topic, seq, line in records(self._burst.take(now_ns)):
            number = self._numbers[topic] = self._numbers.get(topic, 0) + 1
            if self.is_wanted(topic):
                self._send(pack_head(topic, seq, number, self._run), line)
        if line:
            self.seq, self.head = seq, line[-66:-2].decode()

    def forward_events(self) -> bool:
        """Publish what the parser has sent; False when it has ended."""
        if self._tap is not None:
            for topic, line, number, text in self._tap.read():
                if self.is_wanted(topic):
                    self._send(pack_head(topic, line, number, self._run), text)
        return self._tap is not None and not self._tap.ended

    def heartbeat(self) -> None:
        """Say where the stream is: how many messages of each topic there have been."""
        self._next_beat_ns = time.monotonic_ns() + HEARTBEAT_NS
        self._tell(HEARTBEAT, {})

    def next_due_ns(self) -> int:
        """When `publish` has something to do even if no line comes, epoch ns."""
        due_ns = min(self._next_beat_ns, self._burst.due_ns())
        return time.time_ns() + due_ns - time.monotonic_ns()

    def end(self, *, complete: bool, why: str | None) -> None:
        """Send the last message. `why` says what went wrong when it is not `complete`."""
        if not self._ended:
            self._release(time.monotonic_ns())
            self.forward_events()
            self._ended = True
            self._tell(END, {"complete": complete, "why": why})

    def _tell(self, topic: str, more: dict[str, Any]) -> None:
        if not self.is_wanted(topic.encode()):
            return
        self._beats[topic] += 1
        counts = {name.decode(): number for name, number in self._numbers.items()}
        told = {"time_ns": time.time_ns(), "seq": self.seq, "head": self.head, "topics": counts}
        payload = orjson.dumps({**self._facts, **told, **more})
        self._send(pack_head(topic.encode(), self.seq, self._beats[topic], self._run), payload)

    def _send(self, head: bytes, payload: bytes) -> None:
        while True:
            try:
                self.socket.send(head, zmq.SNDMORE)
                self.socket.send(payload)
                self.sent += 1
                return
            except zmq.Again:  # lossless, and somebody's queue is full
                if self._is_aborted():
                    self._lossless = False
                    self.socket.set(zmq.XPUB_NODROP, 0)

    # -- leaving

    def close(self) -> None:
        """Let the subscribers take what is on its way, as long as they are there; then close.

        Ours unsubscribe at the end message. There is no other way to know that it has arrived.
        """
        limit_s = LOSSLESS_GOODBYE_S if self._lossless else GOODBYE_S
        deadline_s = time.monotonic() + limit_s
        while self._ended and self.is_wanted(END.encode()):
            left_ms = int((deadline_s - time.monotonic()) * 1000)
            if left_ms <= 0 or not self.socket.poll(left_ms):
                break
            self.service()
        self.socket.close(linger=0)
        if self._handler is not None:
            self._handler.stop()
            self._handler = None
        self._context.destroy(linger=0)
        for endpoint, inode in self._bound:
            assert endpoint.path is not None
            # ZeroMQ removes it itself, but in its own time.
            with suppress(OSError):
                if endpoint.path.stat().st_ino == inode:
                    endpoint.path.unlink()
        self._bound.clear()


@contextmanager
def publishing(
    shell: Shell, plan: Publish, log: str | None, run: str
) -> Iterator[Callable[[Sink], Sink]]:
    """What makes a sink in `shell` one that is published; `log` is the file it writes."""
    facts = {
        "log": log if log and os.fsencode(log).decode("utf-8", "replace") == log else None,
        "host": socket.gethostname(),
        "lossless": plan.lossless,
    }
    tap = TapEnd(shell.seat.tap) if shell.seat.tap is not None else None
    publisher = Publisher(plan, run, facts, tap=tap, is_aborted=shell.is_aborted)
    shell.watch(publisher.socket, publisher.service)
    if tap is not None:
        shell.watch(tap.fileno(), publisher.forward_events)
    try:
        yield partial(PublishingSink, publisher=publisher)
    except BaseException as error:
        publisher.end(complete=False, why=str(error))
        raise
    finally:
        publisher.close()

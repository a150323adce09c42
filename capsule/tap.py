"""Events for whoever subscribes to `event.<name>`: from the parser to the logger, which publishes.

The two ends are joined by one SOCK_SEQPACKET pair. The logger sends the prefixes that are
subscribed to, as a JSON list; while there are any, the parser sends groups of

    <topic> <line> <number> <the event as JSON>\n

and otherwise it encodes nothing. A full socket loses the group unless the run is lossless;
numbers are given before that, so a loss is seen.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

import orjson

from capsule._jsonl import jsonl
from capsule.frames import events

GROUP_BYTES = 32 << 10
BUFFER_BYTES = 4 << 20
_LARGEST = 1 << 20


class Parsing(Protocol):
    """The stage that is listened to."""

    def feed(self, batch: bytes | memoryview) -> bytes: ...
    def finish(self) -> bytes: ...
    def counters(self) -> dict[str, int]: ...


def tap_pair() -> tuple[socket.socket, socket.socket]:
    """The parser's and the logger's end."""
    parser, logger = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # As much as net.core.wmem_max allows.
    parser.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    return parser, logger


class Tap:
    """A parser that also hands its events out, to those who want them."""

    def __init__(self, parser: Parsing, link: socket.socket, *, lossless: bool) -> None:
        self._parser = parser
        self._link = link
        self._lossless = lossless
        self._wanted: tuple[bytes, ...] = ()
        self._numbers: dict[bytes, int] = {}

    def feed(self, batch: bytes | memoryview) -> bytes:
        """As the parser's."""
        return self._offer(self._parser.feed(batch))

    def finish(self) -> bytes:
        """As the parser's."""
        return self._offer(self._parser.finish())

    def counters(self) -> dict[str, int]:
        """As the parser's."""
        return self._parser.counters()

    def _offer(self, batch: bytes) -> bytes:
        self._hear()
        if batch and self._wanted:
            group: list[bytes] = []
            size = 0
            for topic, line, text in events(jsonl(batch)):
                if not (topic + b" ").startswith(self._wanted):
                    continue
                number = self._numbers[topic] = self._numbers.get(topic, 0) + 1
                entry = b"%b %d %d %b" % (topic, line, number, text)
                if len(entry) > _LARGEST:
                    continue
                if size + len(entry) > GROUP_BYTES and group:
                    self._send(group)
                    group, size = [], 0
                group.append(entry)
                size += len(entry) + 1
            if group:
                self._send(group)
        return batch

    def _hear(self) -> None:
        # Until there is nothing new; or the logger is gone, and the supervisor knows.
        with suppress(OSError):
            while message := self._link.recv(_LARGEST, socket.MSG_DONTWAIT):
                self._wanted = tuple(prefix.encode() for prefix in orjson.loads(message))

    def _send(self, group: list[bytes]) -> None:
        # When it fails the socket is full, and this group is lost; or nobody is there.
        with suppress(OSError):
            self._link.send(b"\n".join(group), 0 if self._lossless else socket.MSG_DONTWAIT)


class TapEnd:
    """The logger's end."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._told: list[str] = []
        self.ended = False
        """Whether the parser has closed its end."""

    def fileno(self) -> int:
        """To wait for groups with."""
        return self._link.fileno()

    def want(self, prefixes: list[bytes]) -> None:
        """Say what is subscribed to now."""
        asked = sorted({prefix.decode("utf-8", "replace") for prefix in prefixes})
        if asked != self._told:
            self._told = asked
            with suppress(OSError):  # the parser has ended
                self._link.send(orjson.dumps(asked))

    def read(self) -> Iterator[tuple[bytes, int, int, bytes]]:
        """What has come: (topic, raw line's number, number, JSON). Empty when there is nothing."""
        while True:
            try:
                group = self._link.recv(_LARGEST, socket.MSG_DONTWAIT)
            except OSError:
                return
            if not group:
                self.ended = True
                return
            for entry in group.split(b"\n"):
                topic, line, number, text = entry.split(b" ", 3)
                yield topic, int(line), int(number), text

"""The sink of a published run: the log, whose lines go to a publisher as well. Pure."""

from __future__ import annotations

from typing import Any, Protocol

from capsule.stage import Sink


class Publishing(Protocol):
    """What the sink needs of a publisher (capsule/fanout.py)."""

    @property
    def sent(self) -> int: ...
    def publish(self, lines: bytes) -> None: ...
    def next_due_ns(self) -> int: ...
    def end(self, *, complete: bool, why: str | None) -> None: ...


class PublishingSink:
    """A sink (the log) whose lines are handed to a publisher as soon as they have reached it."""

    def __init__(self, sink: Sink, publisher: Publishing) -> None:
        self._sink = sink
        self._publisher = publisher
        publisher.publish(sink.last)  # the start record

    def feed(self, batch: bytes | memoryview) -> bytes:
        """As the sink's."""
        return self._published(self._sink.feed(batch))

    def mark(self, mark: dict[str, Any]) -> None:
        """As the sink's."""
        self._sink.mark(mark)

    def gap(self, count: int | None, why: str) -> bytes:
        """As the sink's."""
        return self._published(self._sink.gap(count, why))

    def tick(self, now_ns: int) -> bytes:
        """As the sink's; and what the publisher has to do."""
        return self._published(self._sink.tick(now_ns))

    def next_tick_ns(self) -> int | None:
        """The sink's, or the publisher's when that is sooner."""
        due_ns, publish_ns = self._sink.next_tick_ns(), self._publisher.next_due_ns()
        return publish_ns if due_ns is None else min(due_ns, publish_ns)

    def counters(self) -> dict[str, int]:
        """The sink's, and how many messages were published for somebody."""
        return {**self._sink.counters(), "published": self._publisher.sent}

    def end(self, end: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """As the sink's; and the end of the stream."""
        report, why = self._sink.end(end)
        self._publisher.publish(self._sink.last)
        self._publisher.end(complete=why is None, why=why)
        return report, why

    def abandon(self) -> None:
        """As the sink's; and the end of the stream."""
        self._sink.abandon()
        self._publisher.publish(self._sink.last)
        self._publisher.end(complete=False, why="the run was aborted")

    @property
    def last(self) -> bytes:
        """As the sink's."""
        return self._sink.last

    def _published(self, lines: bytes) -> bytes:
        self._publisher.publish(lines)
        return lines

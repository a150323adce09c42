"""What a stage is to the shell that runs it (capsule/wire.py): four shapes, no code."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


class Stage(Protocol):
    """A pure transformation of batches."""

    def feed(self, batch: bytes | memoryview) -> bytes: ...
    def finish(self) -> bytes: ...
    def counters(self) -> dict[str, int]: ...


@runtime_checkable
class Ticking(Protocol):
    """A stage that also has something to do when no batch comes.

    `tick` is called as soon as the stage is idle, and again at `next_tick_ns` (epoch ns;
    None: not before the next batch). What it returns is passed on.
    """

    def tick(self, now_ns: int) -> bytes: ...
    def next_tick_ns(self) -> int | None: ...


class Source(Stage, Ticking, Protocol):
    """The first stage: also has marks to hand through to the last."""

    def marks(self) -> list[dict[str, Any]]: ...


class Sink(Ticking, Protocol):
    """The last stage: takes batches and keeps them. `last`: see `log.Logger`."""

    @property
    def last(self) -> bytes: ...
    def feed(self, batch: bytes | memoryview) -> bytes: ...
    def mark(self, mark: dict[str, Any]) -> None: ...
    def gap(self, count: int | None, why: str) -> bytes: ...
    def counters(self) -> dict[str, int]: ...
    def end(self, end: dict[str, Any]) -> tuple[dict[str, Any], str | None]: ...
    def abandon(self) -> None: ...

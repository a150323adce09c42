"""When what has been logged is published: at once when idle, in bursts under load. Pure.

While records keep coming they are held for up to `BURST_NS`, so that the publisher's I/O thread
and every subscriber wake once for all of them. To wake twenty processes for each batch takes
more of the machine than to send it. The log waits for none of that.
"""

from __future__ import annotations

BURST_NS = 25_000_000
"""Least time between two bursts."""

BURST_BYTES = 128 << 10
"""As much is published whenever it is there."""

NEVER_NS = 1 << 62


class Burst:
    """Whole lines that wait to be published. Times are monotonic, ns."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0
        self._last_ns = -BURST_NS

    def add(self, lines: bytes) -> None:
        """Hold `lines`, which may be none."""
        if lines:
            self._lines.append(lines)
            self._size += len(lines)

    def due_ns(self) -> int:
        """When what is held is to be published; NEVER_NS when nothing is."""
        if not self._lines:
            return NEVER_NS
        return self._last_ns + (BURST_NS if self._size < BURST_BYTES else 0)

    def take(self, now_ns: int) -> bytes:
        """What is held, to be published now."""
        if not self._lines:
            return b""
        lines = b"".join(self._lines)
        self._lines.clear()
        self._size = 0
        self._last_ns = now_ns
        return lines

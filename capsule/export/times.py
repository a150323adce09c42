"""Nanoseconds since the epoch as other formats write them."""

from __future__ import annotations

import functools
import time


@functools.lru_cache(64)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def rfc3339(ts_ns: int) -> str:
    """Return the stamp in UTC with all its nanoseconds: `2026-01-01T00:00:00.000000001Z`."""
    seconds, rest = divmod(ts_ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest:09d}Z"

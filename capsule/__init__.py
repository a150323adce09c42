"""Capsule Runtime: shows what any Linux program really does, and proves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capsule.reassemble import Record
    from capsule.subscriber import subscribe, subscribe_async

__version__ = "0.1.0"
__all__ = ["Record", "__version__", "subscribe", "subscribe_async"]


def __getattr__(name: str) -> Any:
    """Load ZeroMQ only for those who subscribe (PEP 562)."""
    if name in ("Record", "subscribe", "subscribe_async"):
        from capsule import subscriber

        return getattr(subscriber, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

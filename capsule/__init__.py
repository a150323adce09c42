"""Capsule Runtime: shows what any Linux program really does, and proves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capsule.api.action import Action
    from capsule.api.run import Run, read
    from capsule.api.traced import AttachedRun, TracedRun, attach, trace
    from capsule.errors import CapsuleError
    from capsule.reassemble import Record
    from capsule.subscriber import subscribe, subscribe_async
    from capsule.verify import Report, Verdict

__version__ = "0.1.0"
__all__ = [
    "Action", "AttachedRun", "CapsuleError", "Record", "Report", "Run", "TracedRun", "Verdict",
    "__version__", "attach", "read", "subscribe", "subscribe_async", "trace",
]  # fmt: skip

_ROOMS = {
    "Action": "capsule.api.action",
    "AttachedRun": "capsule.api.traced",
    "CapsuleError": "capsule.errors",
    "Record": "capsule.reassemble",
    "Report": "capsule.verify",
    "Run": "capsule.api.run",
    "TracedRun": "capsule.api.traced",
    "Verdict": "capsule.verify",
    "attach": "capsule.api.traced",
    "read": "capsule.api.run",
    "subscribe": "capsule.subscriber",
    "subscribe_async": "capsule.subscriber",
    "trace": "capsule.api.traced",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for, and ZeroMQ only for those who subscribe (PEP 562)."""
    if name in _ROOMS:
        import importlib

        return getattr(importlib.import_module(_ROOMS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Which files a run used, and which of those that it wrote are still here as it left them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_from_bytes

from capsule.export.runs import Run
from capsule.text import unescape

READS = frozenset(("file.open", "file.read", "dir.list", "proc.exec"))
WRITES = frozenset(("file.create", "file.write", "file.truncate", "file.copy"))
SLACK_NS = 1_000_000_000
"""File systems stamp with a clock that is coarser than ours (a tick, on some a second)."""
_NOT_FILES = ("/dev/", "/proc/", "/sys/")
Action = Mapping[str, Any]
Resource = dict[str, Any]


def uri(path: bytes) -> str:
    """The file: URI of an absolute path (RFC 8089), whatever bytes it has."""
    return "file://" + quote_from_bytes(path)


class Produced:
    """Feed it every Action of a run; then ask for in-toto's ResourceDescriptors."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._used: dict[str, set[str]] = {}  # path → read, write, delete, rename
        self._written: set[str] = set()  # and, as far as is known, still there
        self._last_ns = 0

    def see(self, action: Action) -> None:
        """Take in an Action; of what failed, nothing was used."""
        self._last_ns = max(self._last_ns, action.get("last_ns", 0))
        kind, target = action["kind"], action.get("target")
        failed = sum(action.get("errors", {}).values())
        if target is None or not target.startswith("/") or failed >= action["count"]:
            return
        if kind in WRITES or action.get("access") in ("write", "read-write"):
            self._note(target, "write")
            self._written.add(target)
        elif kind in READS:
            self._note(target, "read")
        elif kind == "file.delete":
            self._note(target, "delete")
            self._written.discard(target)
        elif kind == "file.rename" and str(action.get("to", "")).startswith("/"):
            self._note(target, "rename")
            self._note(action["to"], "write")
            self._written.discard(target)
            self._written.add(action["to"])

    def _note(self, path: str, use: str) -> None:
        self._used.setdefault(path, set()).add(use)

    def accesses(self) -> list[Resource]:
        """Every file that was used, and how."""
        return [
            {"name": path, "uri": uri(_bytes(path)), "annotations": {"use": sorted(uses)}}
            for path, uses in sorted(self._used.items())
        ]

    def subjects(self) -> list[Resource]:
        """The written files that are regular files here and have not changed since the run.

        None where the run was on another machine, or is a text that was imported.
        """
        if self._run.origin.get("host") != os.uname().nodename:
            return []
        from_ns = self._run.time_ns - SLACK_NS
        to_ns = max(self._last_ns, self._run.end.get("time_ns", 0)) + SLACK_NS
        found = []
        for path in sorted(self._written):
            if path.startswith(_NOT_FILES):
                continue
            digest = _digest(_bytes(path), from_ns, to_ns)
            if digest is not None:
                found.append({"name": path, "uri": uri(_bytes(path)), "digest": {"sha256": digest}})
        return found


def _bytes(path: str) -> bytes:
    """The name as the system has it; a log that is not ours may hold what is no escape."""
    try:
        return unescape(path)
    except ValueError:
        return path.encode()


def _digest(path: bytes, from_ns: int, to_ns: int) -> str | None:
    """SHA-256, hex, of a regular file that was last changed in that time; None of anything else.

    What counts is st_ctime, which nobody can set, as they can st_mtime (inode(7)).
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or not from_ns <= found.st_ctime_ns <= to_ns:
            return None
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None

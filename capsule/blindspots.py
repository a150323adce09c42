"""What a trace cannot show, told from the Actions that begin it: each becomes a gap in the log.

The tags `blindspot.*` say it too, but only on the Action, and only to who looks for them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

TAGS = {
    "blindspot.io_uring": "io_uring was used: what a ring carries is done by the kernel and does "
    "not show in a trace",
    "blindspot.untraced": "a child was started with CLONE_UNTRACED: it ran without being traced",
    "blindspot.unparsed": "a line of the trace could not be understood",
}
PTRACE = (
    "ptrace was refused: what is traced cannot be traced twice, so the program may act "
    "otherwise than alone"
)
COMPAT = (
    "32-bit system calls were made: their names are the 32-bit ones, and what depends on the "
    "width of an argument may be wrong"
)
SETUID = (
    "a set-user-ID program ran under a tracer without root's rights: it did not get its "
    "privilege, and may act otherwise than alone (execve(2))"
)

# Bytes that a body must hold to be worth a look. A name that holds such text has its quotes
# escaped, and what is looked at is parsed.
_MARKS = (b'"blindspot.', b'"proc.ptrace"', b" runs in 32 bit mode", b" runs in x32 mode")
_COMPAT_ENDS = (" runs in 32 bit mode. ]", " runs in x32 mode. ]")
_EXEC = b'"kind":"proc.exec"'
_KEPT = 4096


class BlindSpots:
    """Names what the Actions of a batch show to be unseen, each reason once a process.

    `privileged`: strace has root's rights, so that set-user-ID programs keep theirs.
    """

    def __init__(self, *, privileged: bool) -> None:
        self._marks = _MARKS if privileged else (*_MARKS, _EXEC)
        self._said: set[tuple[str, int | None]] = set()

    def look(self, batch: bytes) -> list[tuple[str, dict[str, Any]]]:
        """The reasons that are new, each with the process it is about (`proc`, `pid`)."""
        if not any(mark in batch for mark in self._marks):
            return []
        found = []
        for line in batch.splitlines():
            if not any(mark in line for mark in self._marks):
                continue
            try:
                action = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # the logger keeps it as a gap of its own
            for why in reasons(action):
                key = (why, action.get("proc"))
                if key not in self._said and len(self._said) < _KEPT:
                    self._said.add(key)
                    who = {name: action[name] for name in ("proc", "pid") if name in action}
                    found.append((why, who))
        return found


def reasons(action: Mapping[str, Any]) -> Iterator[str]:
    """Why what follows this Action, or the Action itself, is not all of the truth."""
    for tag in action.get("tags", ()):
        if tag in TAGS:
            yield TAGS[tag]
    kind = action.get("kind")
    if kind == "proc.ptrace" and "EPERM" in action.get("errors", {}):
        yield PTRACE
    elif kind == "sys.note" and action.get("text", "").endswith(_COMPAT_ENDS):
        yield COMPAT
    elif kind == "proc.exec" and _loses_privilege(action.get("target")):
        yield SETUID


def _loses_privilege(path: object) -> bool:
    if not isinstance(path, str) or not path.startswith("/") or os.geteuid() == 0:
        return False
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return False
    return bool(found.st_mode & stat.S_ISUID) and found.st_uid != os.geteuid()

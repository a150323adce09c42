"""The aggregator: fact batches in, Actions out, one JSON object a line (docs/actions.md).

Events of one process, kind, target and access within 50 ms are one Action; kinds in
`syscalls.IMMEDIATE` are written at once, after what their process had pending. Windows run
on event time, so the same facts always give the same Actions, however they are cut into
batches. The inner loop is capsule/_aggregate.pyx.
"""

from __future__ import annotations

from typing import Any

import orjson

from capsule import syscalls
from capsule._aggregate import ActionLoop
from capsule._detail import unpack_detail
from capsule.events import DETAIL_KEYS, DetailValue
from capsule.literals import is_internet
from capsule.tags import Rule, Tagger, shipped_rules
from capsule.text import escape

SHOWN = 1000
COUNTED = 1 << 16
"""Distinct files and hosts the summary tells apart; beyond it counts no new ones."""

_WRITES = frozenset(("file.write", "file.create", "file.copy", "file.truncate", "file.rename"))
_SUMMED = _WRITES | {"net.connect", "net.send", "proc.exit", "proc.exec"}
_ORDER = {key: index for index, key in enumerate(DETAIL_KEYS)}
_YES_OR_NO = frozenset(("argv_cut", "core", "unseen", "setuid_ignored", "kept"))


class Aggregator:
    """Collapses facts into Actions. `rules` say what is tagged (None: the shipped ones)."""

    def __init__(self, rules: tuple[Rule, ...] | None = None) -> None:
        self._tagger = Tagger(shipped_rules() if rules is None else rules)
        self._loop = ActionLoop(
            self, syscalls.KINDS, syscalls.IMMEDIATE, self._tagger.kinds(), _SUMMED
        )
        self._written = Distinct()
        self._hosts = Distinct()
        self._tag_counts: dict[str, int] = {}
        self._root_exit: dict[str, Any] | None = None
        self._root_exec_errno: str | None = None
        self._root_ran = False

    def feed(self, batch: bytes | memoryview) -> bytes:
        """Return the Actions that these facts complete. ValueError if they are no fact batch."""
        return self._loop.feed(batch)

    def tick(self, now_ns: int) -> bytes:
        """Return the Actions whose windows are over at `now_ns` (the clock of the stamps)."""
        return self._loop.tick(now_ns)

    def next_tick_ns(self) -> int | None:
        """Return when the oldest open window is over; None: no window is open."""
        return self._loop.next_tick_ns()

    def finish(self) -> bytes:
        """Return every Action still pending."""
        return self._loop.finish()

    def counters(self) -> dict[str, int]:
        """Return events in, Actions out, and `counted`, the sum of the Actions' counts."""
        return {
            "events_in": self._loop.events_in,
            "actions_out": self._loop.actions_out,
            "counted": self._loop.counted,
            "processes": self._loop.processes,
            "pending_most": self._loop.pending_most,
        }

    def summary(self) -> dict[str, Any]:
        """Return what the run was, for the end of it."""
        errors = sorted(self._loop.errors.items(), key=lambda item: (-item[1], item[0]))
        return {
            "processes": self._loop.processes,
            "events": self._loop.events_in,
            "actions": self._loop.actions_out,
            "errors": {escape(name): count for name, count in errors},
            "files_written": {"count": len(self._written), "paths": self._written.shown()},
            "hosts": {"count": len(self._hosts), "addresses": self._hosts.shown()},
            "tags": dict(sorted(self._tag_counts.items())),
            "alive": self._loop.alive(SHOWN),
            "root_exit": self._root_exit,
            "root_exec_errno": self._root_exec_errno,
        }

    # -- asked by the inner loop ---------------------------------------------------------------

    def quote(self, raw: bytes) -> bytes:
        """Return bytes of the trace as a JSON string (capsule/text.py says how)."""
        return orjson.dumps(escape(raw))

    def detail(self, detail: bytes) -> bytes:
        """Return a detail as JSON keys and values, each after a comma."""
        fields = sorted(unpack_detail(detail), key=lambda item: _ORDER[item[0]])
        return b"," + orjson.dumps({key: _plain(key, value) for key, value in fields})[1:-1]

    def candidates(
        self, kind: int, target: bytes | None, access: int
    ) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
        """Return the tag rules that may apply when no call failed, and when some did."""
        rules = self._tagger.candidates(syscalls.KINDS[kind], target, access)
        return tuple(rule for rule in rules if not rule.errors), rules

    def tags(  # noqa: PLR0917 - called by position from C
        self, rules: tuple[Rule, ...], count: int, amount: int, errors: dict[bytes, int] | None,
        uid: int, detail: bytes | None,
    ) -> bytes | None:  # fmt: skip
        """Return the tags of one Action as JSON after a comma; None if it has none."""
        found = dict.fromkeys(
            rule.tag
            for rule in rules
            if rule.applies(count=count, amount=amount, errors=errors, uid=uid, detail=detail)
        )
        if not found:
            return None
        for tag in found:
            self._tag_counts[tag] = self._tag_counts.get(tag, 0) + 1
        return b',"tags":' + orjson.dumps(list(found))

    def note(  # noqa: PLR0917 - called by position from C
        self, kind: int, proc: int, target: bytes | None, count: int,
        errors: dict[bytes, int] | None, detail: bytes | None, line: int, last_ns: int | None,
    ) -> None:  # fmt: skip
        """Remember what the summary says of one Action."""
        name = syscalls.KINDS[kind]
        failed = errors is not None and sum(errors.values()) >= count
        if name in ("proc.exit", "proc.exec"):
            if proc == 1:
                self._note_root(
                    name=name,
                    failed=failed,
                    errors=errors,
                    detail=detail,
                    line=line,
                    last_ns=last_ns,
                )
        elif name in ("net.connect", "net.send"):
            if target is not None:
                trying = errors is not None and b"EINPROGRESS" in errors
                if (not failed or trying) and is_internet(target):
                    self._hosts.add(target)
        elif not failed:
            if name == "file.rename":
                to = dict(unpack_detail(detail)).get("to") if detail else None
                target = to if isinstance(to, bytes) else None
            special = (b"/dev/", b"/proc/")
            if target is not None and target[:1] == b"/" and not target.startswith(special):
                self._written.add(target)

    def _note_root(
        self, *, name: str, failed: bool, errors: dict[bytes, int] | None, detail: bytes | None,
        line: int, last_ns: int | None,
    ) -> None:  # fmt: skip
        if name == "proc.exec":
            if not failed:
                self._root_ran, self._root_exec_errno = True, None
            elif not self._root_ran and errors:
                self._root_exec_errno = escape(next(iter(errors)))
            return
        self._root_exit = {
            key: _plain(key, value)
            for key, value in unpack_detail(detail or b"")
            if key in ("status", "signal", "core")
        }
        self._root_exit["line"] = line
        if last_ns is not None:
            self._root_exit["ts_ns"] = last_ns


def _plain(key: str, value: DetailValue) -> Any:
    if isinstance(value, int):
        return bool(value) if key in _YES_OR_NO else value
    if isinstance(value, list):
        return [escape(item) for item in value]
    return escape(value)


class Distinct:
    """Counts distinct texts and keeps the first of them; its memory is bounded."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()
        self._first: list[bytes] = []

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, text: bytes) -> None:
        """Count a text, once."""
        key = hash(text)
        if key not in self._hashes and len(self._hashes) < COUNTED:
            self._hashes.add(key)
            if len(self._first) < SHOWN:
                self._first.append(text)

    def shown(self) -> list[str]:
        """Return the first texts, in the order seen."""
        return [escape(text) for text in self._first]

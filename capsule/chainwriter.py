"""The end of a growing chain: makes records, counts them, signs them, holds the current key.

It knows no file and no timer: `emit` takes each finished line, and `log` decides when lines
leave and when the clock asks for a signature. That there are never more unsigned records than
the cadence allows is kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from capsule import chain
from capsule._chain import Appender, check_opened
from capsule.text import escape, jsonable

OWN = ("seq", "type", "format", "checkpoint", "key", "prev", "hash", "sig")
"""Members that only the chain itself writes."""

QUOTED_BYTES = 4096
"""How much of a malformed body is kept."""


class ChainWriter:
    """One run's chain. `emit(lines, records)` gets what is chained, in order.

    `unsigned` counts the records since the last signature; `signatures` collects the signed
    lines, for whoever empties it.
    """

    def __init__(
        self,
        run: str,
        emit: Callable[[bytes, int], None],
        *,
        clock_ns: Callable[[], int],
        cadence_records: int,
        cadence_ns: int,
        new_key: Callable[[], chain.Signer],
    ) -> None:
        if not chain.RUN_ID.fullmatch(run):
            raise ValueError(f"not a run id: {run!r}")
        if not 0 < cadence_records <= chain.MAX_CADENCE_RECORDS:
            raise ValueError(f"not a cadence: {cadence_records} records")
        self._run = run
        self._emit = emit
        self._clock_ns = clock_ns
        self._cadence = {"records": cadence_records, "ns": cadence_ns}
        self._cadence_records = cadence_records
        self._new_key = new_key
        self._key = new_key()
        self.public_key = self._key.public.hex()
        self._end = Appender(0, chain.GENESIS)
        self.unsigned = 0
        self.signatures: list[bytes] = []
        self.signed_extra: Mapping[str, Any] = {}  # members of each checkpoint and of the seal
        self.gaps = 0
        self.checkpoints = 0
        self.refused = 0

    @property
    def records(self) -> int:
        """How many records there are."""
        return self._end.seq

    @property
    def actions(self) -> int:
        """How many of them are Actions."""
        return self._end.actions

    @property
    def count_sum(self) -> int:
        """The sum of the Actions' counts."""
        return self._end.count_sum

    @property
    def head(self) -> str:
        """The hash of the last record, hex."""
        return self._end.head.decode()

    def start(self, start: Mapping[str, Any], **more: Any) -> None:
        """Chain the start record, or that of a rotated log's next file."""
        fields = {key: value for key, value in start.items() if key not in (*OWN, "run")}
        head = {"format": chain.FORMAT, "run": self._run, "time_ns": self._clock_ns()}
        own = {"checkpoint": self._cadence, "key": self._key.public.hex()}
        self._append(self._opened("start", {**head, **more, **fields, **own}))

    def feed(self, bodies: bytes) -> None:
        """Chain newline-terminated Action bodies; what is no Action becomes a gap quoting it."""
        pos = 0
        while pos < len(bodies):
            if self.unsigned >= self._cadence_records:
                self.checkpoint()
            room = self._cadence_records - self.unsigned
            lines, pos, records = self._end.wrap(bodies, pos, room)
            if records:
                self._emit(lines, records)
                self.unsigned += records
            if pos < len(bodies) and records < room:
                pos = self._refuse(bodies, pos)

    def gap(self, count: int | None, why: str, more: Mapping[str, Any]) -> None:
        """Chain a gap record; `more` are further members."""
        if self.unsigned >= self._cadence_records:
            self.checkpoint()
        extra = {key: value for key, value in more.items() if key not in OWN}
        fields = {"time_ns": self._clock_ns(), "count": count, "why": why, **extra}
        self._append(self._opened("gap", fields))
        self.gaps += 1

    def checkpoint(self) -> None:
        """Sign, name the next key, erase this one."""
        following = self._new_key()
        next_key = following.public.hex()
        fields = {"time_ns": self._clock_ns(), **self.signed_extra, "next_key": next_key}
        self._sign("checkpoint", next_key.encode(), self._opened("checkpoint", fields))
        self._key.erase()
        self._key = following
        self.checkpoints += 1

    def end(self, end: Mapping[str, Any]) -> None:
        """Chain the seal, with `end`'s members, and erase the last key."""
        own = (*OWN, "complete", "totals")
        fields = {
            "complete": True,
            "time_ns": self._clock_ns(),
            **self.signed_extra,
            **{key: value for key, value in end.items() if key not in own},
            "totals": {
                "records": self.records + 1,
                "actions": self.actions,
                "gaps": self.gaps,
                "checkpoints": self.checkpoints,
                "count": self.count_sum,
            },
        }
        self._sign("end", chain.GENESIS, self._opened("end", fields))
        self._key.erase()

    def erase_key(self) -> None:
        """Nothing more will be signed."""
        self._key.erase()

    def _refuse(self, bodies: bytes, pos: int) -> int:
        stop = bodies.find(b"\n", pos)
        stop = len(bodies) if stop < 0 else stop
        self.refused += 1
        text = escape(bodies[pos : min(stop, pos + QUOTED_BYTES)])
        self.gap(None, "a malformed record came from the aggregator", {"text": text})
        return stop + 1

    def _opened(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        """A record up to where `sig` or `prev` follow. ValueError if it would not verify."""
        members = _json(fields)[1:-1]
        opened = b'{"seq":%d,"type":"%b",%b' % (self.records, kind.encode(), members)
        fault = check_opened(opened)
        if fault is not None or len(opened) > chain.MAX_LINE - 1024:
            raise ValueError(f"the {kind} record {fault or 'is too long'}: {opened[:200]!r}")
        return opened

    def _append(self, opened: bytes) -> None:
        line, self._end.head = chain.close_line(opened, self._end.head)
        self._end.seq += 1
        self._emit(line, 1)
        self.unsigned += 1

    def _sign(self, kind: str, next_key: bytes, opened: bytes) -> None:
        seal = chain.Seal(kind, self._run, self.records, self._end.head, next_key)
        line, self._end.head = chain.sign_line(seal, opened, self._key)
        self._end.seq += 1
        self._emit(line, 1)
        self.unsigned = 0
        self.signatures.append(line)


def _json(fields: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(fields)
    except TypeError:  # text that is not UTF-8, integers over 64 bits, bytes
        return orjson.dumps(jsonable(fields))

"""Actions → sealed lines in a given file: the pipeline's last stage.

A record is in the chain as soon as `feed` has taken it, and leaves for the file with its
group: when the shell is idle (`tick`), at 256 records, or after 10 ms. What `feed`, `tick`,
`gap` and `close` return are the lines that have just reached the file, for the fan-out to
publish. Every 4096 records, every second, and before the record of an exec, a change of
credentials, a ptrace or a touch of the log directory leaves, a checkpoint is signed and the
key that signed it is erased.

A write that fails (ENOSPC, EIO, a pipe nobody reads) raises LogFailed and leaves a valid
prefix; what was not written is kept, and the next call goes on at the very byte.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from capsule import chain, logdir
from capsule._chain import Appender, check_opened
from capsule._keys import WipedKey
from capsule.errors import LogFailed
from capsule.logfile import LogFile
from capsule.text import escape, escape_arg, jsonable

Fsync = Literal["always", "checkpoint", "never"]

GROUP_RECORDS = 256
GROUP_NS = 10_000_000
URGENT_KINDS = (
    "proc.exec",
    "proc.ptrace",
    "cred.change",
    "sys.module",
    "sys.bpf",
    "sys.mount",
)
_OWN = ("seq", "type", "format", "checkpoint", "key", "prev", "hash", "sig")


@dataclass(frozen=True, slots=True)
class End:
    """A sealed log: what a person pins, and where it is. `head` and `public_key` are hex."""

    seq: int
    head: str
    path: str
    public_key: str
    records: int
    size_bytes: int


class Logger:
    """Writes one run's log. `start` must hold `run`; the other members are kept as they are.

    `target` is a path, created with O_EXCL, or a descriptor to write to (`--log-fd`).
    `clock_ns` is the clock of the time stamps and of `tick`. `rotate_bytes` begins a new
    file at the first checkpoint past that size (0: never; a path only). `guard` is the
    directory whose Actions are signed at once (default: the log's own). `on_checkpoint` gets
    the line of each checkpoint and of the seal once it has reached the file.
    """

    def __init__(
        self,
        target: int | str | Path,
        start: Mapping[str, Any],
        *,
        fsync: Fsync = "checkpoint",
        clock_ns: Callable[[], int] = time.time_ns,
        cadence_records: int = chain.CADENCE_RECORDS,
        cadence_ns: int = chain.CADENCE_NS,
        rotate_bytes: int = 0,
        guard: str | None = None,
        on_checkpoint: Callable[[bytes], None] | None = None,
        new_key: Callable[[], chain.Signer] = WipedKey,
    ) -> None:
        self.run = str(start["run"])
        if not chain.RUN_ID.fullmatch(self.run):
            raise ValueError(f"not a run id: {self.run!r}")
        if not 0 < cadence_records <= chain.MAX_CADENCE_RECORDS:
            raise ValueError(f"not a cadence: {cadence_records} records")
        self._fsync = fsync
        self._clock_ns = clock_ns
        self._cadence_records = cadence_records
        self._cadence_ns = cadence_ns
        self._on_checkpoint = on_checkpoint
        self._new_key = new_key
        self._key = new_key()
        self.public_key = self._key.public.hex()
        self._chain = Appender(0, chain.GENESIS)
        self._queue: list[bytes] = []  # chained, not yet in the file
        self._unanchored: list[bytes] = []  # signatures that are not yet in the file
        self._queued_records = 0
        self._queued_since_ns = 0
        self._unsigned = 0
        self._unsigned_since_ns = 0
        self._gaps = 0
        self._checkpoints = 0
        self._refused = 0
        self.signed_extra: Mapping[str, Any] = {}  # members of each checkpoint and of the seal
        self._part = 0
        self._start = start
        self._rotate_bytes = rotate_bytes
        self.path = None if isinstance(target, int) else Path(target)
        if rotate_bytes and (self.path is None or self.path.suffix != logdir.SUFFIX):
            raise ValueError("only a log in a .jsonl file can rotate")
        self._file = LogFile(target if isinstance(target, int) else Path(target))
        watched = guard if guard is not None else str(self.path.parent) if self.path else None
        self._urgent = tuple(b'{"kind":"%b"' % kind.encode() for kind in URGENT_KINDS)
        if watched is not None:
            text = orjson.dumps(escape_arg(os.path.abspath(watched)))[1:-1]
            self._urgent += tuple(b'"target":"%b%b' % (text, end) for end in (b"/", b'"'))
        self._append(self._opening(start))
        self._flush()
        if self.path is not None:
            with contextlib.suppress(OSError):  # a convenience, which no log depends on
                logdir.set_latest(self.path)

    # -- what the shell calls -------------------------------------------------------------

    def feed(self, batch: bytes | memoryview) -> bytes:
        """Chain a batch of Action bodies; return the lines that have reached the file."""
        data = bytes(batch)
        pos = 0
        urgent = any(mark in data for mark in self._urgent)
        # All of the batch is chained before anything is written: a write that fails loses none.
        while pos < len(data):
            if self._unsigned >= self._cadence_records:
                self._sign_checkpoint()
            room = self._cadence_records - self._unsigned
            lines, pos, records = self._chain.wrap(data, pos, room)
            self._enqueue(lines, records)
            if pos < len(data) and records < room:
                pos = self._refuse(data, pos)
        now_ns = self._clock_ns()
        if urgent or self._cadence_due(now_ns):
            return self.checkpoint()
        if self._queued_records >= GROUP_RECORDS or self._group_due(now_ns):
            return self._flush()
        return b""

    def gap(self, count: int | None, why: str, **more: Any) -> bytes:
        """Record that `count` events (None: unknown) were lost or not seen, and why."""
        self._gap(count, why, more)
        if self._queued_records >= GROUP_RECORDS or self._group_due(self._clock_ns()):
            return self._flush()
        return b""

    def tick(self, now_ns: int | None = None) -> bytes:
        """Write what is queued; sign if the cadence is due. The shell calls it when idle."""
        if self._cadence_due(self._clock_ns() if now_ns is None else now_ns):
            return self.checkpoint()
        return self._flush() if self._queue or self._file.torn else b""

    def next_tick_ns(self) -> int | None:
        """When `tick` is next needed even if nothing arrives; None: not before the next feed."""
        if self._queue:
            return self._queued_since_ns + GROUP_NS
        return self._unsigned_since_ns + self._cadence_ns if self._unsigned else None

    def checkpoint(self) -> bytes:
        """Sign now, write, sync; return the lines that have reached the file."""
        if self._unsigned:
            self._sign_checkpoint()
        written = self._flush(sync=self._fsync != "never")
        self._file.check_in_place()
        if self._rotate_bytes and self._file.size_bytes >= self._rotate_bytes:
            written += self._rotate()
        return written

    def finish(self) -> bytes:
        """Write what is queued, without a seal."""
        return self._flush()

    def close(self, end: Mapping[str, Any]) -> End:
        """Write the sealed `end` record, sync and close. `last` then holds its lines."""
        fields: dict[str, Any] = {key: value for key, value in end.items() if key not in _OWN}
        fields.pop("complete", None)
        fields.pop("totals", None)
        opened = self._opened(
            "end",
            {
                "complete": True,
                "time_ns": self._clock_ns(),
                **self.signed_extra,
                **fields,
                "totals": {
                    "records": self._chain.seq + 1,
                    "actions": self._chain.actions,
                    "gaps": self._gaps,
                    "checkpoints": self._checkpoints,
                    "count": self._chain.count_sum,
                },
            },
        )
        self._sign("end", chain.GENESIS, opened)
        self._key.erase()
        self.last = self._flush(sync=self._fsync != "never")
        self._file.close()
        return End(
            seq=self.seq,
            head=self.head,
            path=str(self.path) if self.path else f"fd {self._file.fd}",
            public_key=self.public_key,
            records=self._chain.seq,
            size_bytes=self._file.total_bytes,
        )

    last: bytes = b""

    def abandon(self) -> None:
        """Write what is queued, as far as that works, and close without a seal."""
        if self._file.closed:
            return
        try:
            with contextlib.suppress(LogFailed):
                self._flush(sync=self._fsync != "never")
        finally:
            self._key.erase()
            self._file.close()

    @property
    def head(self) -> str:
        """The hash of the last record, hex."""
        return self._chain.head.decode()

    @property
    def seq(self) -> int:
        """The number of the last record."""
        return self._chain.seq - 1

    def counters(self) -> dict[str, int]:
        """What has gone in and out so far."""
        return {
            "in": self._chain.actions + self._refused,
            "out": self._chain.seq,
            "count": self._chain.count_sum,
            "gaps": self._gaps,
            "refused": self._refused,
            "checkpoints": self._checkpoints,
            "bytes": self._file.total_bytes,
            "flushes": self._file.flushes,
            "syncs": self._file.syncs,
        }

    # -- records --------------------------------------------------------------------------

    def _opening(self, start: Mapping[str, Any], **more: Any) -> bytes:
        fields = {key: value for key, value in start.items() if key not in (*_OWN, "run")}
        cadence = {"records": self._cadence_records, "ns": self._cadence_ns}
        head = {"format": chain.FORMAT, "run": self.run, "time_ns": self._clock_ns()}
        own = {"checkpoint": cadence, "key": self._key.public.hex()}
        return self._opened("start", {**head, **more, **fields, **own})

    def _opened(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        """A record up to where `sig` or `prev` follow."""
        opened = b'{"seq":%d,"type":"%b",%b' % (
            self._chain.seq,
            kind.encode(),
            _json(fields)[1:-1],
        )
        fault = check_opened(opened)
        if fault is not None or len(opened) > chain.MAX_LINE - 1024:
            raise ValueError(f"the {kind} record {fault or 'is too long'}: {opened[:200]!r}")
        return opened

    def _append(self, opened: bytes) -> None:
        line, self._chain.head = chain.close_line(opened, self._chain.head)
        self._chain.seq += 1
        self._enqueue(line, 1)

    def _enqueue(self, lines: bytes, records: int) -> None:
        if not records:
            return
        now_ns = self._clock_ns()
        if not self._queue:
            self._queued_since_ns = now_ns
        if not self._unsigned:
            self._unsigned_since_ns = now_ns
        self._queue.append(lines)
        self._queued_records += records
        self._unsigned += records

    def _gap(self, count: int | None, why: str, more: Mapping[str, Any]) -> None:
        if self._unsigned >= self._cadence_records:
            self._sign_checkpoint()
        extra = {key: value for key, value in more.items() if key not in _OWN}
        fields = {"time_ns": self._clock_ns(), "count": count, "why": why, **extra}
        self._append(self._opened("gap", fields))
        self._gaps += 1

    def _refuse(self, data: bytes, pos: int) -> int:
        """Keep a body that is no Action as a gap, so that the log stays valid and tells it."""
        stop = data.find(b"\n", pos)
        stop = len(data) if stop < 0 else stop
        self._refused += 1
        text = escape(data[pos : min(stop, pos + 4096)])
        self._gap(None, "a malformed record came from the aggregator", {"text": text})
        return stop + 1

    def _sign_checkpoint(self) -> None:
        following = self._new_key()
        next_key = following.public.hex()
        fields = {"time_ns": self._clock_ns(), **self.signed_extra, "next_key": next_key}
        opened = self._opened("checkpoint", fields)
        self._sign("checkpoint", next_key.encode(), opened)
        self._key.erase()
        self._key = following
        self._checkpoints += 1

    def _sign(self, kind: str, next_key: bytes, opened: bytes) -> None:
        seal = chain.Seal(kind, self.run, self._chain.seq, self._chain.head, next_key)
        line, self._chain.head = chain.sign_line(seal, opened, self._key)
        self._chain.seq += 1
        self._enqueue(line, 1)
        self._unsigned = 0
        self._unanchored.append(line)

    def _cadence_due(self, now_ns: int) -> bool:
        # A clock that was set back counts as due: signing too often harms nothing.
        return self._unsigned > 0 and not 0 <= now_ns - self._unsigned_since_ns < self._cadence_ns

    def _group_due(self, now_ns: int) -> bool:
        return bool(self._queue) and not 0 <= now_ns - self._queued_since_ns < GROUP_NS

    # -- the file -------------------------------------------------------------------------

    def _flush(self, *, sync: bool = False) -> bytes:
        group = b"".join(self._queue)
        self._queue.clear()
        self._queued_records = 0
        written = self._file.write(group)
        if sync or self._fsync == "always":
            self._file.sync()
        # An anchor must never know a checkpoint that the file may not have.
        while self._unanchored:
            line = self._unanchored.pop(0)
            if self._on_checkpoint is not None:
                self._on_checkpoint(line)
        return written

    def _rotate(self) -> bytes:
        assert self.path is not None
        self._part += 1
        name, _ = logdir.split_name(self.path)
        self._file.go_on_in(logdir.log_path(self.path.parent, name, self._part))
        self._append(self._opening(self._start, part=self._part))
        return self._flush()


def _json(fields: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(fields)
    except TypeError:  # text that is not UTF-8, integers over 64 bits, bytes
        return orjson.dumps(jsonable(fields))

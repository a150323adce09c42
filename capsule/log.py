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
from capsule._keys import WipedKey
from capsule.chainwriter import ChainWriter
from capsule.errors import LogFailed
from capsule.logfile import LogFile
from capsule.text import escape_arg

Fsync = Literal["always", "checkpoint", "never"]

GROUP_RECORDS = 256
GROUP_NS = 10_000_000
URGENT_KINDS = (
    "proc.exec",
    "proc.ptrace",
    "proc.memory",
    "proc.namespace",
    "cred.change",
    "dir.root",
    "sys.module",
    "sys.bpf",
    "sys.mount",
    "sys.kexec",
)
"""What may be the step to taking over the machine: signed before anything else can happen."""


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
    file, after a checkpoint, once one is past that size (0: never; a path only). `guard` is the
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
        self._start = start
        self._fsync = fsync
        self._clock_ns = clock_ns
        self._cadence_ns = cadence_ns
        self._on_checkpoint = on_checkpoint
        self._rotate_bytes = rotate_bytes
        self._part = 0
        self._queue: list[bytes] = []  # chained, not yet in the file
        self._queued_records = 0
        self._queued_since_ns = 0
        self._unsigned_since_ns = 0
        self._chain = ChainWriter(
            self.run,
            self._enqueue,
            clock_ns=clock_ns,
            cadence_records=cadence_records,
            cadence_ns=cadence_ns,
            new_key=new_key,
        )
        self.public_key = self._chain.public_key
        self.path = None if isinstance(target, int) else Path(target)
        if rotate_bytes and (self.path is None or self.path.suffix != logdir.SUFFIX):
            raise ValueError("only a log in a .jsonl file can rotate")
        self._file = LogFile(target if isinstance(target, int) else Path(target))
        watched = guard if guard is not None else str(self.path.parent) if self.path else None
        self._urgent = tuple(b'{"kind":"%b"' % kind.encode() for kind in URGENT_KINDS)
        for name in {os.path.abspath(watched), os.path.realpath(watched)} if watched else ():
            text = orjson.dumps(escape_arg(name))[1:-1]
            self._urgent += tuple(b'"target":"%b%b' % (text, end) for end in (b"/", b'"'))
        self._chain.start(start)
        self.last = self._flush()

    # -- what the shell calls -------------------------------------------------------------

    def feed(self, batch: bytes | memoryview) -> bytes:
        """Chain a batch of Action bodies; return the lines that have reached the file."""
        data = bytes(batch)
        urgent = any(mark in data for mark in self._urgent)
        # All of the batch is chained before anything is written: a write that fails loses none.
        self._chain.feed(data)
        now_ns = self._clock_ns()
        if urgent or self._cadence_due(now_ns) or self._rotation_due():
            return self.checkpoint()
        if self._queued_records >= GROUP_RECORDS or self._group_due(now_ns):
            return self._flush()
        return b""

    def gap(self, count: int | None, why: str, **more: Any) -> bytes:
        """Record that `count` events (None: unknown) were lost or not seen, and why."""
        self._chain.gap(count, why, more)
        if self._queued_records >= GROUP_RECORDS or self._group_due(self._clock_ns()):
            return self._flush()
        return b""

    def tick(self, now_ns: int | None = None) -> bytes:
        """Write what is queued; sign if the cadence is due. The shell calls it when idle."""
        now_ns = self._clock_ns() if now_ns is None else now_ns
        if self._cadence_due(now_ns) or self._rotation_due():
            return self.checkpoint()
        return self._flush() if self._queue or self._file.torn else b""

    def next_tick_ns(self) -> int | None:
        """When `tick` is next needed even if nothing arrives; None: not before the next feed."""
        if self._queue:
            return self._queued_since_ns + GROUP_NS
        return self._unsigned_since_ns + self._cadence_ns if self._chain.unsigned else None

    def checkpoint(self) -> bytes:
        """Sign now, write, sync; return the lines that have reached the file."""
        if self._chain.unsigned:
            self._chain.checkpoint()
        written = self._flush(sync=self._fsync != "never")
        self._file.check_in_place()
        if self._rotation_due():
            written += self._rotate()
        return written

    def finish(self) -> bytes:
        """Write what is queued, without a seal."""
        return self._flush()

    def close(self, end: Mapping[str, Any]) -> End:
        """Write the sealed `end` record, sync and close. `last` then holds its lines."""
        self._chain.end(end)
        self.last = self._flush(sync=self._fsync != "never")
        self._file.close()
        return End(
            seq=self.seq,
            head=self.head,
            path=str(self.path) if self.path else f"fd {self._file.fd}",
            public_key=self.public_key,
            records=self._chain.records,
            size_bytes=self._file.total_bytes,
        )

    last: bytes = b""
    """The lines that the constructor, `close` or `abandon` have brought to the file."""

    def abandon(self) -> None:
        """Write what is queued, as far as that works, and close without a seal."""
        if self._file.closed:
            return
        self.last = b""
        try:
            with contextlib.suppress(LogFailed):
                self.last = self._flush(sync=self._fsync != "never")
        finally:
            self._chain.erase_key()
            self._file.close()

    @property
    def head(self) -> str:
        """The hash of the last record, hex."""
        return self._chain.head

    @property
    def seq(self) -> int:
        """The number of the last record."""
        return self._chain.records - 1

    def counters(self) -> dict[str, int]:
        """What has gone in and out so far."""
        return {
            "in": self._chain.actions + self._chain.refused,
            "out": self._chain.records,
            "count": self._chain.count_sum,
            "gaps": self._chain.gaps,
            "refused": self._chain.refused,
            "checkpoints": self._chain.checkpoints,
            "bytes": self._file.total_bytes,
            "flushes": self._file.flushes,
            "syncs": self._file.syncs,
        }

    @property
    def signed_extra(self) -> Mapping[str, Any]:
        """Further members of each checkpoint and of the seal; the owner may set it."""
        return self._chain.signed_extra

    @signed_extra.setter
    def signed_extra(self, members: Mapping[str, Any]) -> None:
        self._chain.signed_extra = members

    # -- when, and the file ---------------------------------------------------------------

    def _enqueue(self, lines: bytes, records: int) -> None:
        now_ns = self._clock_ns()
        if not self._queue:
            self._queued_since_ns = now_ns
        if not self._chain.unsigned:
            self._unsigned_since_ns = now_ns
        self._queue.append(lines)
        self._queued_records += records

    def _cadence_due(self, now_ns: int) -> bool:
        # A clock that was set back counts as due: signing too often harms nothing.
        passed_ns = now_ns - self._unsigned_since_ns
        return self._chain.unsigned > 0 and not 0 <= passed_ns < self._cadence_ns

    def _rotation_due(self) -> bool:
        return 0 < self._rotate_bytes <= self._file.size_bytes

    def _group_due(self, now_ns: int) -> bool:
        return bool(self._queue) and not 0 <= now_ns - self._queued_since_ns < GROUP_NS

    def _flush(self, *, sync: bool = False) -> bytes:
        group = b"".join(self._queue)
        self._queue.clear()
        self._queued_records = 0
        written = self._file.write(group)
        if sync or self._fsync == "always":
            self._file.sync()
        # An anchor must never know a checkpoint that the file may not have.
        while self._chain.signatures:
            line = self._chain.signatures.pop(0)
            if self._on_checkpoint is not None:
                self._on_checkpoint(line)
        return written

    def _rotate(self) -> bytes:
        assert self.path is not None
        self._part += 1
        name, _ = logdir.split_name(self.path)
        self._file.go_on_in(logdir.log_path(self.path.parent, name, self._part))
        self._chain.start(self._start, part=self._part)
        return self._flush()

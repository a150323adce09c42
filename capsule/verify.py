"""Checks a log against docs/log-format.md, as a stream and in constant memory.

`Verifier` is pure: bytes in, a `Report` out. Every record is checked for shape, sequence,
chain, hash and JSON by `_chain.Scanner`; what start, gap, checkpoint and end records say is
judged here. Nothing in the file is trusted: each count is compared with what was counted,
each signature is checked with the key that an earlier signed record named.
"""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from capsule import chain
from capsule._chain import BAD, FAULTS, MORE, Scanner

_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEADER = re.compile(rb'\{"seq":(0|[1-9][0-9]{0,19}),"type":"')
_SUFFIX = re.compile(rb',"prev":"[0-9a-f]{64}","hash":"[0-9a-f]{64}"\}')
_CONTROL = re.compile(rb"[\x00-\x1f]")
_NO_LIMIT = 2**63
_NEVER = 2**64 - 1


class Verdict(enum.IntEnum):
    """What a log is; the value is the exit status of `capsule verify`."""

    INTACT = 0
    TAMPERED = 1
    INCOMPLETE = 3


class Unreadable(Exception):
    """A sound log of a format version that this release does not know."""


@dataclass(frozen=True, slots=True)
class Pins:
    """What the caller knows from elsewhere. `heads`: (seq, or None for the last; 64 hex)."""

    heads: tuple[tuple[int | None, str], ...] = ()
    key: str | None = None
    records: int | None = None

    def __bool__(self) -> bool:
        """Whether anything here rules out a whole rewrite; a size alone does not."""
        return bool(self.heads or self.key)


@dataclass(frozen=True, slots=True)
class Bad:
    """The first bad record: its seq, the offset of its first byte in its file, and why."""

    seq: int
    offset: int
    reason: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `records` and `size_bytes` are those before the first bad record.

    `authenticated_through`: the last seq that a good signature or pin covers."""

    verdict: Verdict
    bad: Bad | None
    authenticated_through: int | None
    records: int
    size_bytes: int
    torn_bytes: int
    head: str
    pinned: bool
    start: dict[str, Any] | None = field(repr=False)
    end: dict[str, Any] | None = field(repr=False)
    parts: int = 1

    @property
    def run(self) -> str | None:
        """The run's id, from the start record."""
        return self.start["run"] if self.start else None

    @property
    def public_key(self) -> str | None:
        """The first public key, hex, from the start record."""
        return self.start["key"] if self.start else None


class Fault(Exception):
    """Why the record at hand is bad."""


class Verifier:
    """Feed it a log's bytes in any chunking, then `finish`.

    A rotated log is fed file after file with `next_part` between. `feed` returns False once
    a fault is found; more bytes change nothing then.
    """

    def __init__(self, pins: Pins | None = None) -> None:
        self._pins = Pins() if pins is None else pins
        self._scan = Scanner(0, chain.GENESIS, _NO_LIMIT)
        self._rest = b""
        self._offset = 0  # of _rest in its file
        self._before = 0  # bytes of the files before this one
        self._part = 0
        self._gaps = 0
        self._checkpoints = 0
        self._authenticated: int | None = None
        self._authenticated_before: int | None = None  # the signature before that one
        self._key = b""
        self._start: dict[str, Any] | None = None
        self._end: dict[str, Any] | None = None
        self._bad: Bad | None = None
        self._heads = sorted(pin for pin in self._pins.heads if pin[0] is not None)
        self._watch()

    # -- bytes in -------------------------------------------------------------------------

    def feed(self, chunk: bytes) -> bool:
        """Check what `chunk` completes. Raises Unreadable for an unknown format version."""
        if self._bad is not None:
            return False
        buf = self._rest + chunk if self._rest else chunk
        scan, pos = self._scan, 0
        while (stop := scan.scan(buf, pos)) != MORE:
            pos, line = scan.pos, buf[scan.pos : scan.line_end]
            if stop == BAD:
                self._rest = b""
                self._fail(scan.seq, pos, self._say(scan.fault, line))
                return False
            before = self._authenticated
            try:
                self._judge(scan.kind, line)
            except Fault as fault:
                self._authenticated = before
                self._fail(scan.seq - 1, pos, str(fault))
                return False
            pos = scan.line_end + 1
        self._rest = buf[scan.pos :]
        self._offset += scan.pos
        if len(self._rest) >= chain.MAX_LINE:
            self._fail(scan.seq, 0, "is longer than a line may be")
        elif self._end is not None and self._rest:
            self._fail(scan.seq, 0, "follows the end record, after which nothing may come")
        return self._bad is None

    def next_part(self) -> bool:
        """The file is at its end and another goes on with the chain."""
        if self._bad is None and self._rest:
            self._fail(self._scan.seq, 0, "is torn, though another file follows")
        if self._bad is None:
            self._part += 1
            self._before += self._offset
            self._offset = 0
        return self._bad is None

    def missing_part(self, part: int) -> None:
        """File `part` of the run is not there, though a later one is."""
        if self._bad is None:
            self._fail(self._scan.seq, 0, f"is missing: file {part} of the run is gone")

    def finish(self) -> Report:
        """All bytes are in: check the end, the torn tail and the pins."""
        if self._bad is None and self._rest:
            self._check_torn(self._rest.rstrip(b"\0"))
        if self._bad is None:
            self._check_pins()
        verdict = Verdict.INTACT if self._end is not None else Verdict.INCOMPLETE
        good_bytes = self._bad.offset if self._bad else self._offset + len(self._rest)
        return Report(
            verdict=verdict if self._bad is None else Verdict.TAMPERED,
            bad=self._bad,
            authenticated_through=self._authenticated,
            records=self._scan.seq,
            size_bytes=self._before + good_bytes,
            torn_bytes=len(self._rest) if self._bad is None else 0,
            head=self._scan.head.decode() if self._scan.seq else "",
            pinned=bool(self._pins),
            start=self._start,
            end=self._end,
            parts=self._part + 1,
        )

    # -- faults ---------------------------------------------------------------------------

    def _fail(self, seq: int, pos: int, reason: str) -> None:
        self._bad = Bad(seq, self._offset + pos, f"record {seq} {reason}", self._part)

    def _say(self, fault: int, line: bytes) -> str:
        reason = FAULTS[fault]
        if self._end is not None:
            return "follows the end record, after which nothing may come"
        header = _HEADER.match(line)
        if "out of sequence" in reason and header:
            return f"is missing: record {header[1].decode()} stands in its place"
        if self._scan.seq == 0 and not header:
            return f"{reason} (is this a Capsule log?)"
        return reason

    def _check_torn(self, tail: bytes) -> None:
        """What a crash leaves is the beginning of the record that was being written.

        A file system that lost its last blocks leaves zero bytes, which are cut off before.
        """
        seq = self._scan.seq
        begins = b'{"seq":%d,"type":"' % seq
        suffix = _SUFFIX.search(tail)
        if tail[: len(begins)] != begins[: len(tail)]:
            self._fail(seq, 0, "is no torn record: it does not begin as one")
        elif _CONTROL.search(tail):
            self._fail(seq, 0, "is no torn record: it holds a control character")
        elif suffix and suffix.end() < len(tail):
            self._fail(seq, 0, "has bytes after its hash")
        elif suffix and Scanner(seq, self._scan.head, _NO_LIMIT).scan(tail + b"\n", 0) == BAD:
            self._fail(seq, 0, "is whole but for its newline, and wrong")

    # -- records --------------------------------------------------------------------------

    def _judge(self, kind: str, line: bytes) -> None:
        if self._end is not None:
            raise Fault("follows the end record, after which nothing may come")
        if kind != "action":
            record: dict[str, Any] = json.loads(line)
            getattr(self, f"_on_{kind}")(record, line)
        self._check_watched(self._scan.seq - 1)

    def _on_start(self, record: dict[str, Any], line: bytes) -> None:
        del line
        if not _whole(record.get("format")):
            raise Fault("has no format version")
        if record["format"] != chain.FORMAT:
            raise Unreadable(
                f"the log has format version {record['format']}, this release reads "
                f"version {chain.FORMAT}; get a newer Capsule"
            )
        run, key, cadence = record.get("run"), record.get("key"), record.get("checkpoint")
        if not isinstance(run, str) or not chain.RUN_ID.fullmatch(run):
            raise Fault("has no run id")
        if not _is_hex(key):
            raise Fault("has no public key")
        if not isinstance(cadence, dict) or not _whole(cadence.get("records")):
            raise Fault("states no checkpoint cadence")
        if not 0 < cadence["records"] <= chain.MAX_CADENCE_RECORDS:
            raise Fault("allows itself too many unsigned records")
        if self._start is None:
            self._start = record
            self._key = key.encode()
            self._scan.limit = cadence["records"]
            if self._pins.key is not None and key != self._pins.key:
                raise Fault(f"names the public key {key}, not the expected one")
        else:
            self._go_on(record)
        self._scan.unsealed = 1

    def _go_on(self, record: dict[str, Any]) -> None:
        """A later file of a rotated log begins with a start record that continues the chain."""
        first = self._start or {}
        if self._scan.unsealed:  # it does not follow a checkpoint directly
            raise Fault("is a second start record")
        if record["run"] != first["run"] or record["checkpoint"] != first["checkpoint"]:
            raise Fault("is a start record of another run")
        if record["key"].encode() != self._key:
            raise Fault("names another public key than the checkpoint before it")

    def _on_gap(self, record: dict[str, Any], line: bytes) -> None:
        del line
        count = record.get("count", "")
        if not (count is None or _whole(count)) or not isinstance(record.get("why"), str):
            raise Fault("is a gap that does not say how many and why")
        self._gaps += 1

    def _on_checkpoint(self, record: dict[str, Any], line: bytes) -> None:
        following = record.get("next_key")
        if not _is_hex(following):
            raise Fault("names no next key")
        self._check_signature("checkpoint", following.encode(), line)
        self._key = following.encode()
        self._checkpoints += 1

    def _on_end(self, record: dict[str, Any], line: bytes) -> None:
        self._check_signature("end", chain.GENESIS, line)
        if record.get("complete") is not True:
            raise Fault("is an end that does not say complete")
        counted = {
            "records": self._scan.seq,
            "actions": self._scan.actions,
            "gaps": self._gaps,
            "checkpoints": self._checkpoints,
            "count": self._scan.count_sum,
        }
        totals = record.get("totals")
        for name, number in counted.items():
            said = totals.get(name) if isinstance(totals, dict) else None
            if said != number or not _whole(said):
                raise Fault(f"says {name} {said}, counted are {number}")
        self._end = record

    def _check_signature(self, kind: str, next_key: bytes, line: bytes) -> None:
        opened, rest = line[: -chain.SUFFIX_LEN], line[-chain.SUFFIX_LEN :]
        prev, opened, part = rest[9:73], opened[: -chain.SIG_LEN], opened[-chain.SIG_LEN :]
        signature = re.fullmatch(rb',"sig":"([0-9a-f]{128})"', part)
        if not signature:
            raise Fault("carries no signature")
        run = (self._start or {})["run"]
        message = chain.Seal(kind, run, self._scan.seq - 1, prev, next_key).message(opened)
        public = bytes.fromhex(self._key.decode())
        if not chain.signature_holds(public, bytes.fromhex(signature[1].decode()), message):
            raise Fault("carries a signature that does not hold")
        self._authenticated_before, self._authenticated = self._authenticated, self._scan.seq - 1
        self._scan.unsealed = 0

    # -- pins -----------------------------------------------------------------------------

    def _watch(self) -> None:
        """Have the scanner stop at the next record that is pinned, or that may not be there."""
        seqs = [seq for seq, _ in self._heads[:1] if seq is not None]
        if self._pins.records is not None:
            seqs.append(self._pins.records)
        self._scan.watch = 0 if self._end is not None else min(seqs, default=_NEVER)

    def _check_watched(self, seq: int) -> None:
        while self._heads and self._heads[0][0] == seq:
            _, head = self._heads.pop(0)
            if head != self._scan.head.decode():
                raise Fault("has another hash than the pinned one")
            self._authenticated = seq
        if seq == self._pins.records:
            raise Fault(f"is one too many: {self._pins.records} records are expected")
        self._watch()

    def _check_pins(self) -> None:
        scan = self._scan
        if self._heads:
            seq = self._heads[0][0]
            self._fail(scan.seq, 0, f"is missing: the log ends before the pinned record {seq}")
        elif self._pins.records is not None and scan.seq < self._pins.records:
            self._fail(scan.seq, 0, f"is missing: {self._pins.records} records are expected")
        elif any(head != scan.head.decode() for seq, head in self._pins.heads if seq is None):
            if self._authenticated == scan.seq - 1:
                self._authenticated = self._authenticated_before
            self._fail(max(scan.seq - 1, 0), 0, "is the last and is not the pinned head")
        elif any(seq is None for seq, _ in self._pins.heads):
            self._authenticated = scan.seq - 1


def _is_hex(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _HEX64.fullmatch(value) is not None


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

"""Checks the chain of records as they come from a publisher. Pure.

From record 0 on, all that `capsule verify` checks is checked. Who joined later, or missed
records, can check less: each record's hash, its tie to the one before, and the signatures
from the second checkpoint on, whose key the first one names.
"""

from __future__ import annotations

from dataclasses import dataclass

from capsule import chain
from capsule.reassemble import Ended, Record
from capsule.verify import Verdict, Verifier


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found. `authenticated_through`: the last record that a good signature covers."""

    verdict: Verdict
    reason: str | None
    first_seq: int | None
    last_seq: int | None
    authenticated_through: int | None
    head: str


class StreamVerifier:
    """Feed it every record in order, `skip` where some are missing, then ask for `result`."""

    def __init__(self) -> None:
        self._whole: Verifier | None = None
        self._first: int | None = None
        self._last: int | None = None
        self._head = b""
        self._key: bytes | None = None
        self._authenticated: int | None = None
        self._skipped = False
        self._holes = 0
        self._bad: str | None = None

    def feed(self, record: Record) -> bool:
        """Check one record; False once something is wrong."""
        if self._bad is not None:
            return False
        if self._first is None:
            self._first = record.seq
            self._whole = Verifier() if record.seq == 0 else None
        elif record.seq != (self._last or 0) + 1:
            if not self._skipped:
                return self._fail(record, f"does not follow record {self._last}")
            self._holes += 1
            self._whole = self._key = None
        self._check(record, tied=self._last is not None and record.seq == self._last + 1)
        if self._bad is None and self._whole is not None:
            if record.topic == "start" and record.seq:
                self._whole.next_part()  # the log went on in a new file
            self._whole.feed(record.line + b"\n")
            found = self._whole.finish()
            if found.bad is not None:
                self._bad = found.bad.reason
        self._last, self._skipped = record.seq, False
        return self._bad is None

    def skip(self) -> None:
        """Records are missing here, and it is known."""
        self._skipped = True

    def result(self, ended: Ended | None) -> Checked:
        """The verdict. `ended`: what the publisher said last; None: it vanished."""
        verdict = Verdict.INTACT
        reason = None
        if ended is None or not ended.complete:
            verdict, reason = Verdict.INCOMPLETE, "the run was cut off"
        elif self._holes or self._skipped or self._first is None:
            verdict, reason = Verdict.INCOMPLETE, "records are missing"
        told = ended.head if ended is not None and ended.seq == self._last else None
        if self._bad is None and told not in (None, self._head.decode()):
            self._bad = f"record {self._last} has not the hash that the publisher says"
        if self._bad is not None:
            verdict, reason = Verdict.TAMPERED, self._bad
        return Checked(
            verdict, reason, self._first, self._last, self._authenticated, self._head.decode()
        )

    def _fail(self, record: Record, reason: str) -> bool:
        self._bad = f"record {record.seq} {reason}"
        return False

    def _check(self, record: Record, *, tied: bool) -> None:
        body, digest = record.line[: -chain.HASH_LEN], record.line[-66:-2]
        if chain.digest_hex(body) != digest:
            self._fail(record, "does not have the hash that it says")
            return
        prev = body[-65:-1]
        if tied and prev != self._head:
            self._fail(record, "does not name the hash of the record before it")
            return
        self._head = digest
        if record.topic == "start":
            self._key = bytes.fromhex(record.data["key"])
        elif record.topic in ("checkpoint", "end"):
            self._check_signature(record, body, prev)

    def _check_signature(self, record: Record, body: bytes, prev: bytes) -> None:
        signed = body[: -chain.PREV_LEN]
        next_key = record.data["next_key"].encode() if record.topic == "checkpoint" else b""
        seal = chain.Seal(record.topic, record.run, record.seq, prev, next_key or chain.GENESIS)
        message = seal.message(signed[: -chain.SIG_LEN])
        signature = bytes.fromhex(signed[-129:-1].decode("ascii", "replace"))
        if self._key is not None:
            if not chain.signature_holds(self._key, signature, message):
                self._fail(record, "has a signature that does not hold")
                return
            self._authenticated = record.seq
        self._key = bytes.fromhex(next_key.decode()) if next_key else None

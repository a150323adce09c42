"""A second verifier, written from docs/log-format.md alone: nothing of Capsule is imported.

Plain and slow on purpose. `python tests/independent_verifier.py FILE…` prints its findings as
JSON; several files are the parts of one rotated log, in order.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

INTACT, TAMPERED, UNREADABLE, INCOMPLETE = "intact", "tampered", "unreadable", "incomplete"
STATUS = {INTACT: 0, TAMPERED: 1, UNREADABLE: 2, INCOMPLETE: 3}
LIMIT = 16_777_216
HEX64 = re.compile("[0-9a-f]{64}")
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
LINE = re.compile(
    rb'\{"seq":(0|[1-9][0-9]*),"type":"(\w+)".*'
    rb',"prev":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}',
    re.DOTALL,
)
SIGNED = re.compile(rb'(.*),"sig":"([0-9a-f]{128})"', re.DOTALL)
ENDING = re.compile(rb',"prev":"[0-9a-f]{64}","hash":"[0-9a-f]{64}"\}')
TYPES = {b"start", b"action", b"gap", b"checkpoint", b"end"}


class BadRecord(Exception):
    pass


class UnknownFormat(Exception):
    pass


def need(condition: object, why: str) -> None:
    if not condition:
        raise BadRecord(why)


def hash_of(data: bytes) -> str:
    return blake3(data).hexdigest()


def whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def hex64(value: object) -> bool:
    return isinstance(value, str) and HEX64.fullmatch(value) is not None


# -- JSON, as the page restricts it: a reader that knows no leniency ------------------------


class Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def take(self, token: str) -> bool:
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def value(self, deep: int) -> Any:
        if self.take("{"):
            return self.object(deep + 1)
        if self.take("["):
            return self.list(deep + 1)
        if self.take('"'):
            return self.string()
        for word, meaning in (("true", True), ("false", False), ("null", None)):
            if self.take(word):
                return meaning
        found = NUMBER.match(self.text, self.at)
        need(found, "no value")
        assert found
        need(len(found[0]) <= 40, "a long number")
        self.at = found.end()
        return float(found[0]) if found[2] or found[3] else int(found[0])

    def object(self, deep: int) -> dict[str, Any]:
        need(deep <= 16, "nested too deeply")
        members: dict[str, Any] = {}
        if self.take("}"):
            return members
        while True:
            need(self.take('"'), "no name")
            begin = self.at
            name = self.string()
            raw = self.text[begin : self.at - 1]
            need(name and name == raw and name.isascii(), "a strange name")
            need(name not in members, "a name twice")
            need(self.take(":"), "no colon")
            members[name] = self.value(deep)
            need(len(members) <= 256, "too many members")
            if self.take("}"):
                return members
            need(self.take(","), "no comma")

    def list(self, deep: int) -> list[Any]:
        need(deep <= 16, "nested too deeply")
        items: list[Any] = []
        if self.take("]"):
            return items
        while True:
            items.append(self.value(deep))
            if self.take("]"):
                return items
            need(self.take(","), "no comma")

    def string(self) -> str:
        """Find where the string ends by hand, let the json module decode what is inside."""
        begin = self.at
        while True:
            need(self.at < len(self.text), "an open string")
            char = self.text[self.at]
            need(char >= " ", "a control character")
            self.at += 2 if char == "\\" else 1
            if char == '"':
                break
        try:
            decoded: str = json.loads(self.text[begin - 1 : self.at])
            decoded.encode()
        except ValueError as error:
            raise BadRecord(f"a bad string: {error}") from None
        return decoded


def parse(line: bytes) -> dict[str, Any]:
    try:
        reader = Reader(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadRecord("not UTF-8") from None
    record = reader.value(0)
    need(reader.at == len(reader.text), "something after the object")
    assert isinstance(record, dict)
    return record


# -- the log --------------------------------------------------------------------------------


class Log:
    def __init__(
        self,
        pinned_key: str | None = None,
        pinned_heads: dict[int, str] | None = None,
        pinned_size: int | None = None,
    ) -> None:
        self.pinned_key, self.pinned_size = pinned_key, pinned_size
        self.pinned_heads = pinned_heads or {}
        self.head = "0" * 64
        self.first: dict[str, Any] = {}
        self.last_type = b""
        self.key = ""
        self.through: int | None = None
        self.through_before: int | None = None
        self.unsigned = 0
        self.totals = {"records": 0, "actions": 0, "gaps": 0, "checkpoints": 0, "count": 0}

    @property
    def seq(self) -> int:
        return self.totals["records"]

    def form(self, line: bytes) -> tuple[bytes, dict[str, Any]]:
        """The rules of "A record" and "JSON", and that its type is known."""
        need(len(line) < LIMIT, "too long")
        found = LINE.fullmatch(line)
        need(found, "not a record")
        assert found
        need(int(found[1]) == self.seq, "out of sequence")
        need(found[3].decode() == self.head, "prev")
        need(found[4].decode() == hash_of(line[:-75]), "hash")
        record = parse(line)
        need(found[2] in TYPES, "unknown type")
        if found[2] == b"action":
            need(list(record)[2] == "kind" and isinstance(record["kind"], str), "no kind")
            need(whole(record.get("count")) and record["count"] < 10**18, "no count")
        need(self.seq > 0 or found[2] == b"start", "no start")
        return found[2], record

    def accept(self, line: bytes) -> None:
        through = self.through
        try:
            self.take(line)
        except BadRecord:
            self.through = through
            raise
        if self.through != through:
            self.through_before = through

    def take(self, line: bytes) -> None:
        need(self.last_type != b"end", "after the end")
        need(self.seq != self.pinned_size, "one too many")
        kind, record = self.form(line)
        if kind in (b"action", b"gap", b"start"):
            self.unsigned += 1
        if kind in (b"action", b"gap"):
            need(self.unsigned <= self.first["checkpoint"]["records"], "cadence")
        counted = {
            **self.totals,
            "records": self.seq + 1,
            "actions": self.totals["actions"] + (kind == b"action"),
            "gaps": self.totals["gaps"] + (kind == b"gap"),
            "checkpoints": self.totals["checkpoints"] + (kind == b"checkpoint"),
        }
        if kind == b"action":
            counted["count"] = (counted["count"] + record["count"]) % 2**64
        if kind == b"gap":
            need("count" in record and isinstance(record.get("why"), str), "gap")
            need(record["count"] is None or whole(record["count"]), "gap count")
        elif kind == b"start":
            self.start(record)
        elif kind == b"checkpoint":
            need(hex64(record.get("next_key")), "next_key")
            self.signature(kind, line, record["next_key"])
            self.key = record["next_key"]
        elif kind == b"end":
            self.signature(kind, line, "0" * 64)
            need(record.get("complete") is True, "complete")
            said = record.get("totals")
            need(isinstance(said, dict), "totals")
            for name, number in counted.items():
                need(whole(said.get(name)) and said[name] == number, "totals")
        digest = line[-66:-2].decode()
        if self.seq in self.pinned_heads:
            need(digest == self.pinned_heads[self.seq], "pinned head")
            self.through = self.seq
        self.head, self.totals, self.last_type = digest, counted, kind

    def start(self, record: dict[str, Any]) -> None:
        need(whole(record.get("format")), "format")
        if record["format"] != 1:
            raise UnknownFormat(record["format"])
        run, cadence = record.get("run"), record.get("checkpoint")
        need(isinstance(run, str) and re.fullmatch("[0-9A-Za-z][0-9A-Za-z._-]{0,63}", run), "run")
        need(hex64(record.get("key")), "key")
        need(isinstance(cadence, dict) and whole(cadence.get("records")), "cadence")
        need(0 < cadence["records"] <= 65536, "cadence")
        if self.seq == 0:
            need(self.pinned_key in (None, record["key"]), "pinned key")
            self.first, self.key = record, record["key"]
            return
        need(self.last_type == b"checkpoint", "a second start")
        need(run == self.first["run"] and cadence == self.first["checkpoint"], "another run")
        need(record["key"] == self.key, "another key")

    def signature(self, kind: bytes, line: bytes, next_key: str) -> None:
        found = SIGNED.fullmatch(line[:-149])
        need(found, "no signature")
        assert found
        run, prev = self.first["run"], self.head
        fields = [kind.decode(), run, str(self.seq), prev, next_key, hash_of(found[1])]
        message = "".join(f"{field}\n" for field in ["capsule-log-v1", *fields])
        try:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key))
            public.verify(bytes.fromhex(found[2].decode()), message.encode())
        except (InvalidSignature, ValueError):
            raise BadRecord("signature") from None
        self.through, self.unsigned = self.seq, 0

    def tail(self, torn: bytes) -> None:
        need(self.last_type != b"end", "after the end")
        need(len(torn) < LIMIT, "too long")
        torn = torn.rstrip(b"\0")
        begins = b'{"seq":%d,"type":"' % self.seq
        need(begins.startswith(torn) or torn.startswith(begins), "no beginning")
        need(all(byte >= 0x20 for byte in torn), "control character")
        if found := ENDING.search(torn):
            need(found.end() == len(torn), "bytes after the hash")
            self.form(torn)


def judge(log: Log, data: bytes, offset: int = 0) -> tuple[str, tuple[int, int] | None]:
    """Take one file's bytes into `log`; its verdict so far and the first bad (seq, offset)."""
    *lines, torn = data.split(b"\n")
    try:
        for line in lines:
            log.accept(line)
            offset += len(line) + 1
        if torn:
            log.tail(torn)
    except BadRecord:
        return TAMPERED, (log.seq, offset)
    except UnknownFormat:
        return UNREADABLE, None
    return (INTACT if log.last_type == b"end" else INCOMPLETE), None


def verify(
    parts: list[bytes],
    *,
    head: str | None = None,
    heads: dict[int, str] | None = None,
    key: str | None = None,
    size: int | None = None,
) -> dict[str, Any]:
    """Findings: verdict, first bad (seq, offset) or None, authenticated through, records."""
    pinned = heads or {}
    log = Log(key, pinned, size)
    verdict, bad, offset = INCOMPLETE, None, 0
    for number, data in enumerate(parts):
        if number and parts[number - 1][-1:] not in (b"\n", b""):
            verdict, bad = TAMPERED, (log.seq, parts[number - 1].rfind(b"\n") + 1)
            break
        verdict, bad = judge(log, data)
        offset = data.rfind(b"\n") + 1
        if bad or verdict == UNREADABLE:
            break
    if verdict in (INTACT, INCOMPLETE):
        if any(seq >= log.seq for seq in pinned) or (size is not None and size > log.seq):
            bad = (log.seq, offset)
        elif head is not None and head != log.head:
            bad = (max(log.seq - 1, 0), offset)
            if log.through == log.seq - 1:
                log.through = log.through_before
        elif head is not None:
            log.through = log.seq - 1
        verdict = TAMPERED if bad else verdict
    return {
        "verdict": verdict,
        "bad": bad,
        "through": log.through,
        "records": log.seq,
        "head": log.head if log.seq else "",
    }


if __name__ == "__main__":
    found = verify([Path(name).read_bytes() for name in sys.argv[1:]])
    print(json.dumps(found))
    sys.exit(STATUS[found["verdict"]])

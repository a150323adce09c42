"""The chain: how a record is hashed, sealed and signed. Pure; no files, no clock.

The format is docs/log-format.md. A record is one line,

    {"seq":7,"type":"action",…,"prev":"<64 hex>","hash":"<64 hex>"}

whose `hash` is BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs) of the line's exact bytes
before `,"hash":"`, and whose `prev` is the hash of the record before it. Nothing is ever
re-serialized: what was hashed is what stands in the file. Checkpoints carry an Ed25519
(RFC 8032) signature and name the key of the next one; the old key is then erased, so a stolen
key forges only what came after it (Bellare and Yee, "Forward-security in private-key
cryptography", CT-RSA 2003; the same idea as in journald's sealing).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = 1
"""The format version this module writes and reads."""

GENESIS = b"0" * 64
"""`prev` of a log's first record, and `next_key` of the last signature."""

CADENCE_RECORDS = 4096
CADENCE_NS = 1_000_000_000
MAX_CADENCE_RECORDS = 65536
"""A log whose start record allows itself more unsigned records than this is refused."""

MAX_LINE = 16 << 20
"""Longest line in bytes, its newline included."""

MAX_DEPTH = 16
"""Deepest nesting of objects and lists; the record itself is depth 1."""

MAX_MEMBERS = 256
"""Most members of one object."""

MAX_NUMBER = 40
"""Longest number in characters."""

RECORD_TYPES = ("start", "action", "gap", "checkpoint", "end")
RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")

PREV_LEN = len(',"prev":""') + 64
HASH_LEN = len(',"hash":""}') + 64
SUFFIX_LEN = PREV_LEN + HASH_LEN
SIG_LEN = len(',"sig":""') + 128


class Signer(Protocol):
    """A private key that can sign, once or more, until it is erased."""

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes."""

    def erase(self) -> None:
        """Overwrite the private key; `sign` raises from now on."""


def digest_hex(data: bytes) -> bytes:
    """BLAKE3 of `data` as 64 lower-case hex digits, ASCII bytes."""
    return blake3(data).hexdigest().encode()


def close_line(opened: bytes, prev: bytes) -> tuple[bytes, bytes]:
    """Finish a record. `opened` is its bytes up to `prev`, without the comma before it.

    Returns the whole line with its newline, and the record's hash (64 hex digits).
    """
    hashed = b'%b,"prev":"%b"' % (opened, prev)
    digest = digest_hex(hashed)
    return b'%b,"hash":"%b"}\n' % (hashed, digest), digest


@dataclass(frozen=True, slots=True)
class Seal:
    """What a signature binds besides its own record. `prev`, `next_key`: 64 hex digits each."""

    kind: str
    run: str
    seq: int
    prev: bytes
    next_key: bytes

    def message(self, opened: bytes) -> bytes:
        """The signed bytes; `opened` is the record's bytes before `,"sig":"`.

        No field can hold a newline, so a message can be read in one way only.
        """
        return b"capsule-log-v1\n%b\n%b\n%d\n%b\n%b\n%b\n" % (
            self.kind.encode(),
            self.run.encode(),
            self.seq,
            self.prev,
            self.next_key,
            digest_hex(opened),
        )


def sign_line(seal: Seal, opened: bytes, key: Signer) -> tuple[bytes, bytes]:
    """Sign and finish a checkpoint or end record; `opened` is its bytes before `,"sig":"`."""
    signature = key.sign(seal.message(opened))
    return close_line(b'%b,"sig":"%b"' % (opened, signature.hex().encode()), seal.prev)


def signature_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` (64 bytes) over `message` is by the raw `public` key (32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True

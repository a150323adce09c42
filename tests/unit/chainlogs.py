"""Logs for tests, made by the real Logger under a clock and keys that a test can foresee."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from capsule.log import End, Logger

START_NS = 1_764_000_000_000_000_000
MS = 1_000_000


class KnownKey:
    """A real Ed25519 key that a test may keep: a stolen one, or one of a golden log."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.erased = False
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def erase(self) -> None:
        """A thief keeps it; only that it was asked for is noted."""
        self.erased = True


@dataclass
class Keys:
    """Hands out keys from seeds that follow from `name`, and remembers them by epoch."""

    name: int = 0
    made: list[KnownKey] = field(default_factory=list)

    def __call__(self) -> KnownKey:
        key = KnownKey(bytes([self.name]) * 31 + bytes([len(self.made)]))
        self.made.append(key)
        return key


def action(number: int, kind: str = "file.read") -> bytes:
    fields: dict[str, Any] = {
        "kind": kind,
        "target": f"/srv/data/{number}\n\u202e",
        "count": number % 3 + 1,
        "bytes": 512 * number,
        "errors": {"ENOENT": 1} if number % 4 == 0 else {},
        "first_ns": START_NS + number * MS,
        "pid": 4242,
        "exe": "/bin/cat",
    }
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def make_log(
    path: Path,
    *,
    actions: int = 20,
    every: int = 8,
    run: str = "20251124T160000Z-0123456789ab",
    keys: Keys | None = None,
    seal: bool = True,
    rotate_bytes: int = 0,
) -> tuple[bytes, End | None]:
    """Write a log with a gap after the fifth Action. Returns its bytes (of its first file)."""
    now = [START_NS]

    def clock_ns() -> int:
        now[0] += MS
        return now[0]

    log = Logger(
        path,
        {"run": run, "argv": ["cat", "caf\\xe9"], "cwd": "/srv", "uid": 1000},
        clock_ns=clock_ns,
        cadence_records=every,
        cadence_ns=3600 * 10**9,
        rotate_bytes=rotate_bytes,
        new_key=keys or Keys(),
    )
    end = None
    for number in range(actions):
        log.feed(action(number))
        if number == 4:
            log.gap(2, "a test wants one")
        if rotate_bytes and number % 5 == 0:
            log.checkpoint()
    if seal:
        end = log.close({"exit": {"status": 0}})
    else:
        log.abandon()
    return path.read_bytes(), end

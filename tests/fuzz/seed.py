"""Write the seeds of the fuzzer into a directory: lines of the recorded logs, and of a corpus.

python tests/fuzz/seed.py DIRECTORY
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CORPUS = Path(os.environ.get("CAPSULE_CORPUS", REPO.parent / "shared/corpus"))
PIECE = 1000
"""Bytes of a seed, more or less: some lines together, so that halves meet."""


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    logs = [*(REPO / "tests/data/parse").glob("*.strace"), *CORPUS.glob("*.strace")]
    seen: set[bytes] = set()
    for log in logs:
        piece = b""
        for line in log.read_bytes().splitlines(keepends=True)[:2000]:
            # One line of a kind is enough: what differs in digits only teaches nothing.
            kind = bytes(byte for byte in line[:120] if not 48 <= byte <= 57)
            if kind in seen:
                continue
            seen.add(kind)
            piece += line
            if len(piece) >= PIECE:
                write(directory, piece)
                piece = b""
        write(directory, piece)
    print(f"{len(list(directory.iterdir()))} seeds from {len(logs)} logs")


def write(directory: Path, piece: bytes) -> None:
    if piece:
        name = hashlib.sha256(piece).hexdigest()[:16]
        (directory / name).write_bytes(b"\x10\xff" + piece[: 4 * PIECE])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Writes the golden logs. Run once for a format version, with PYTHONPATH=..

The bytes follow from the seeds in tests/unit/chainlogs.py; what the files mean is in vectors.json.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from capsule import logdir
from tests import independent_verifier
from tests.unit.chainlogs import make_log
from tests.unit.forge import edited, rechained, swapped

HERE = Path(__file__).parent


def main() -> None:
    where = Path(tempfile.mkdtemp())
    whole, _ = make_log(where / "complete.jsonl", actions=19)
    make_log(where / "rotated.jsonl", actions=19, rotate_bytes=2000)
    lines = whole.splitlines(True)
    fake = swapped(b"/srv/data", b"/srv/fake")
    rotated = [file.read_bytes() for file in logdir.parts(where / "rotated.jsonl")]
    logs: dict[str, list[bytes]] = {
        "complete": [whole],
        "rotated": rotated,
        "empty": [b""],
        "unsealed": [b"".join(lines[:-1])],
        "unsigned": [b"".join(lines[:5])],
        "torn": [whole[: len(whole) // 2]],
        "torn-zeros": [whole[: len(whole) // 2] + b"\0" * 512],
        "edited": [b"".join(edited(lines, 12, fake))],
        "edited-chained": [b"".join(rechained(edited(lines, 12, fake), 12))],
        "dropped": [b"".join(lines[:12] + lines[13:])],
        "signatures-stripped": [
            b"".join(rechained([line for line in lines if b'"type":"checkpoint"' not in line]))
        ],
        "after-the-end": [whole + lines[3]],
        "member-twice": [
            b"".join(rechained(edited(lines, 12, lambda opened: opened + b',"count":9'), 12))
        ],
        "crlf": [whole.replace(b"\n", b"\r\n")],
    }
    vectors = []
    for name, parts in logs.items():
        files = [f"{name}.jsonl", *(f"{name}.{part}.jsonl" for part in range(1, len(parts)))]
        for file, data in zip(files, parts, strict=True):
            (HERE / file).write_bytes(data)
        found = independent_verifier.verify(parts)
        vectors.append(
            {
                "files": files,
                "verdict": found["verdict"],
                "first_bad": found["bad"],
                "authenticated_through": found["through"],
                "head": found["head"],
            }
        )
    about = "first_bad is [seq, byte offset in its file]; head is that of the last good record"
    (HERE / "vectors.json").write_text(
        json.dumps({"about": about, "vectors": vectors}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()

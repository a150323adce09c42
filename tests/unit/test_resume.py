"""A new log says what torn one it goes on from, and never touches that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from blake3 import blake3

from capsule.errors import CapsuleError
from capsule.log import Logger
from capsule.resume import resume_link
from capsule.verify import Verdict, Verifier
from tests.unit.chainlogs import action, make_log


@pytest.mark.parametrize("torn", [b"", b'{"seq":22,"type":"act', b"\0" * 100])
@pytest.mark.parametrize("rotate_bytes", [0, 1500])
def test_the_link_names_the_last_record_and_hashes_what_is_torn(
    tmp_path: Path, torn: bytes, rotate_bytes: int
) -> None:
    old = tmp_path / "old.jsonl"
    make_log(old, actions=19, run="old", seal=False, rotate_bytes=rotate_bytes)
    files = sorted(tmp_path.glob("old*.jsonl"), key=lambda path: (len(path.name), path.name))
    lines = b"".join(path.read_bytes() for path in files).splitlines(True)
    seq = len(lines)
    torn = torn.replace(b"22", str(seq).encode())
    with files[-1].open("ab") as file:
        file.write(torn)
    before = {path: path.read_bytes() for path in files}
    link = resume_link(old)
    assert link == {
        "run": "old",
        "seq": seq - 1,
        "head": json.loads(lines[-1])["hash"],
        "bytes": sum(map(len, lines)),
        "torn_bytes": len(torn),
        "torn_hash": blake3(torn).hexdigest(),
    }
    log = Logger(tmp_path / "new.jsonl", {"run": "new", "resumes": link})
    log.feed(action(1))
    log.close({})
    data = (tmp_path / "new.jsonl").read_bytes()
    verifier = Verifier()
    verifier.feed(data)
    assert verifier.finish().verdict is Verdict.INTACT
    assert json.loads(data.splitlines()[0])["resumes"] == link
    assert {path: path.read_bytes() for path in files} == before


def test_an_empty_log_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "old.jsonl").touch()
    link = resume_link(tmp_path / "old.jsonl")
    assert (link["seq"], link["head"], link["bytes"], link["torn_bytes"]) == (None, None, 0, 0)


def test_what_is_not_torn_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    data, _ = make_log(path, run="r")
    with pytest.raises(CapsuleError, match="is complete: there is nothing to resume"):
        resume_link(path)
    path.write_bytes(data[:2000].replace(b"/srv/data/2", b"/srv/fake/2"))
    with pytest.raises(CapsuleError, match="was tampered with: record 3 does not match its hash"):
        resume_link(path)
    live = Logger(tmp_path / "live.jsonl", {"run": "live"})
    with pytest.raises(CapsuleError, match="is still being written"):
        resume_link(tmp_path / "live.jsonl")
    live.abandon()

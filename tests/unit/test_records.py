"""Reading lines: from a seq on, from the end, after a writer; in one file or many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capsule import logdir, records
from capsule.errors import CapsuleError
from capsule.log import Logger
from capsule.records import Follower, backwards, forwards, seq_of
from tests.unit.chainlogs import action, make_log


@pytest.fixture(params=[0, 700], ids=["one file", "rotated"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "run.jsonl"
    make_log(path, actions=60, run="run", rotate_bytes=request.param)
    assert (len(logdir.parts(path)) > 3) == bool(request.param)
    return path


def whole(path: Path) -> list[bytes]:
    return b"".join(part.read_bytes() for part in logdir.parts(path)).splitlines()


@pytest.mark.parametrize("block", [1 << 16, 512, 64])
def test_from_any_seq(log: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(records, "BLOCK", block)
    lines = whole(log)
    for seq in range(len(lines) + 2):
        assert list(forwards(log, seq)) == lines[seq:]


@pytest.mark.parametrize("block", [1 << 16, 512, 64, 1])
def test_from_the_end(log: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(records, "BLOCK", block)
    assert list(backwards(log)) == whole(log)[::-1]


@pytest.mark.parametrize("torn", [b"{", b'{"seq":99,"type":"action","kind":"x', b"\0" * 900])
def test_a_torn_line_is_never_handed_out(log: Path, torn: bytes) -> None:
    lines = whole(log)
    with logdir.parts(log)[-1].open("ab") as file:
        file.write(torn)
    assert list(forwards(log)) == lines
    assert list(forwards(log, len(lines) - 1)) == lines[-1:]
    assert list(backwards(log)) == lines[::-1]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.touch()
    assert list(forwards(path)) == list(forwards(path, 3)) == list(backwards(path)) == []
    path.write_bytes(b"torn")
    assert list(forwards(path)) == list(backwards(path)) == []


def test_following_across_files(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    log = Logger(path, {"run": "run"}, rotate_bytes=600)
    follower = Follower(path)
    seen = follower.read()
    assert [seq_of(line) for line in seen] == [0]
    for number in range(12):
        log.feed(action(number))
        log.tick() if number % 3 else log.checkpoint()
        seen += follower.read()
        assert seq_of(seen[-1]) == log.seq
        assert follower.writer_lives()
    log.close({})
    seen += follower.read()
    assert not follower.writer_lives()
    follower.close()
    assert len(logdir.parts(path)) > 2
    assert seen == whole(path)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(CapsuleError, match=r"cannot read .*nowhere\.jsonl: No such file"):
        list(forwards(tmp_path / "nowhere.jsonl"))
    (tmp_path / "r.jsonl").write_bytes(b"hello\n" * 40_000)
    with pytest.raises(CapsuleError, match="is not a record; `capsule verify`"):
        list(forwards(tmp_path / "r.jsonl", 3))
    fifo = tmp_path / "dir"
    fifo.mkdir()
    with pytest.raises(CapsuleError, match="cannot read"):
        list(backwards(fifo))
    assert os.listdir(fifo) == []

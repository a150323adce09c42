"""The logger: what it writes, when it writes, when it signs."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from capsule import chain, logdir, syscalls
from capsule.errors import LogDirRefused, LogFailed
from capsule.log import URGENT_KINDS, Logger
from capsule.logfile import is_live
from tests.unit.chainlogs import Keys

SECOND = 1_000_000_000


def body(kind: str = "file.read", target: str = "/etc/passwd", count: int = 1) -> bytes:
    return (
        json.dumps({"kind": kind, "target": target, "count": count}, separators=(",", ":")).encode()
        + b"\n"
    )


def records(lines: bytes) -> list[dict[str, object]]:
    assert not lines or lines.endswith(b"\n")
    return [json.loads(line) for line in lines.splitlines()]


def types(lines: bytes) -> list[object]:
    return [record["type"] for record in records(lines)]


class Clock:
    now_ns = 1_000 * SECOND

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[Logger]:
    logger = Logger(tmp_path / "r1.jsonl", {"run": "r1"}, clock_ns=clock)
    yield logger
    logger.abandon()


def test_start_is_in_the_file_at_once(log: Logger, tmp_path: Path) -> None:
    (start,) = records((tmp_path / "r1.jsonl").read_bytes())
    assert start["type"] == "start"
    assert start["seq"] == 0
    assert start["prev"] == "0" * 64
    assert start["run"] == "r1"
    assert start["key"] == log.public_key
    assert start["checkpoint"] == {"records": 4096, "ns": SECOND}


def test_a_body_is_wrapped_byte_for_byte(log: Logger) -> None:
    text = b'{"kind":"file.open","target":"/\xc3\xa9\\n","x":1.50,"count":2}\n'
    log.feed(text)
    line = log.tick()
    assert line.startswith(b'{"seq":1,"type":"action",' + text[1:-2] + b',"prev":"')
    hashed = line[: line.index(b',"hash":"')]
    assert chain.digest_hex(hashed).decode() == log.head


def test_group_commit(log: Logger, clock: Clock) -> None:
    assert log.feed(body()) == b""  # waits for company
    assert len(records(log.tick())) == 1  # nothing more came: the shell is idle
    assert log.feed(body() * 255) == b""
    assert len(records(log.feed(body()))) == 256
    log.feed(body())
    clock.now_ns += 10_000_000
    assert len(records(log.feed(body()))) == 2  # 10 ms after the first
    assert log.tick() == b""


def test_grave_kinds_are_kinds() -> None:
    assert set(URGENT_KINDS) <= set(syscalls.KINDS)


@pytest.mark.parametrize("kind", URGENT_KINDS)
def test_a_grave_record_leaves_signed(log: Logger, kind: str) -> None:
    lines = log.feed(body() + body(kind) + body())
    assert types(lines) == ["action", "action", "action", "checkpoint"]


def test_a_touch_of_the_log_directory_leaves_signed(log: Logger, tmp_path: Path) -> None:
    assert types(log.feed(body(target=f"{tmp_path}/r1.jsonl"))) == ["action", "checkpoint"]
    assert types(log.feed(body(target=str(tmp_path)))) == ["action", "checkpoint"]
    assert log.feed(body(target=f"{tmp_path}x")) == b""


def test_a_log_directory_reached_by_a_link_is_guarded_by_its_real_name(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    log = Logger(tmp_path / "link" / "r.jsonl", {"run": "r"})
    assert types(log.feed(body(target=f"{real}/r.jsonl"))) == ["action", "checkpoint"]
    log.abandon()


def test_cadence_in_records(tmp_path: Path, clock: Clock) -> None:
    log = Logger(tmp_path / "r.jsonl", {"run": "r"}, clock_ns=clock, cadence_records=4)
    log.feed(body() * 10)
    log.close({})
    found = types((tmp_path / "r.jsonl").read_bytes())
    assert found == [
        "start", "action", "action", "action", "checkpoint",
        "action", "action", "action", "action", "checkpoint",
        "action", "action", "action", "end",
    ]  # fmt: skip


def test_gaps_keep_the_cadence(tmp_path: Path, clock: Clock) -> None:
    log = Logger(tmp_path / "r.jsonl", {"run": "r"}, clock_ns=clock, cadence_records=2)
    for _ in range(4):
        log.gap(None, "why")
    log.close({})
    assert types((tmp_path / "r.jsonl").read_bytes()) == [
        "start", "gap", "checkpoint", "gap", "gap", "checkpoint", "gap", "end",
    ]  # fmt: skip


def test_cadence_in_time(log: Logger, clock: Clock) -> None:
    log.feed(body())
    log.tick()
    clock.now_ns += SECOND - 1
    assert log.tick() == b""
    assert log.next_tick_ns() == clock.now_ns + 1
    clock.now_ns += 1
    assert types(log.tick()) == ["checkpoint"]
    clock.now_ns += 10 * SECOND
    assert log.tick() == b""  # nothing unsigned, nothing to sign
    assert log.next_tick_ns() is None


def test_a_clock_set_back_does_not_stop_the_signing(log: Logger, clock: Clock) -> None:
    log.feed(body())
    clock.now_ns -= 3600 * SECOND
    assert types(log.tick()) == ["action", "checkpoint"]


def test_the_seal_counts_what_was_logged(log: Logger, tmp_path: Path) -> None:
    log.feed(body(count=3) + body(count=4))
    log.gap(5, "lost")
    end = log.close({"exit": 7, "complete": False, "seq": 99})
    last = records((tmp_path / "r1.jsonl").read_bytes())[-1]
    assert last["type"] == "end"
    assert last["seq"] == end.seq == 4
    assert last["complete"] is True
    assert last["exit"] == 7
    assert last["totals"] == {
        "records": 5, "actions": 2, "gaps": 1, "checkpoints": 0, "count": 7,
    }  # fmt: skip
    assert last["hash"] == end.head
    assert end.public_key == log.public_key
    assert end.size_bytes == (tmp_path / "r1.jsonl").stat().st_size


def test_abandon_leaves_no_seal(log: Logger, tmp_path: Path) -> None:
    log.feed(body())
    log.abandon()
    assert types((tmp_path / "r1.jsonl").read_bytes()) == ["start", "action"]


@pytest.mark.parametrize(
    "bad",
    [
        b'{"kind":"x","count":1,"count":1}\n',
        b'{"kind":"x","count":1,"hash":"0"}\n',
        b'{"kind":"x","count":1}}\n',
        b'{"kind":"x","count":-1}\n',
        b'{"kind":"x"}\n',
        b'{"count":1,"kind":"x"}\n',
        b'{"kind":"\xff","count":1}\n',
        b"not json\n",
        b"\n",
        b'{"kind":"x","count":1}',
    ],
)
def test_a_malformed_body_becomes_a_gap_that_quotes_it(log: Logger, bad: bytes) -> None:
    log.feed(body() + bad + (body() if bad.endswith(b"\n") else b""))
    found = records(log.tick())
    assert [record["type"] for record in found][:2] == ["action", "gap"]
    assert "malformed" in str(found[1]["why"])
    assert log.counters()["refused"] == 1


def test_text_that_is_not_utf8_and_huge_integers_do_not_stop_it(tmp_path: Path) -> None:
    argv = [os.fsdecode(b"caf\xe9"), "back\\slash"]
    log = Logger(tmp_path / "r.jsonl", {"run": "r", "argv": argv, "big": 2**70, "raw": b"\xff"})
    log.abandon()
    (start,) = records((tmp_path / "r.jsonl").read_bytes())
    assert start["argv"] == ["caf\\xe9", "back\\slash"]
    assert start["big"] == str(2**70)
    assert start["raw"] == "\\xff"


def test_the_file_is_private_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    Logger(path, {"run": "r"}).abandon()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(LogDirRefused, match="never written over"):
        Logger(path, {"run": "r"})
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LogDirRefused):
        Logger(link, {"run": "r"})
    assert not (tmp_path / "elsewhere").exists()


def test_a_live_log_is_known_by_its_lock(log: Logger, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "r1.jsonl", os.O_RDONLY)
    try:
        assert is_live(fd)
        log.abandon()
        assert not is_live(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("what", ["delete", "replace", "add", "cut"])
def test_a_log_changed_under_us_is_noticed_at_the_next_checkpoint(
    log: Logger, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "r1.jsonl"
    if what in ("delete", "replace"):
        path.unlink()
    if what == "replace":
        path.write_bytes(b"")
    if what == "add":
        with path.open("ab") as file:
            file.write(b"x\n")
    if what == "cut":
        os.truncate(path, 10)
    with pytest.raises(LogFailed, match=r"deleted|replaced|changed"):
        log.feed(body("proc.exec"))


def test_a_descriptor_can_be_a_pipe(clock: Clock) -> None:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 20)
    log = Logger(write, {"run": "r"}, clock_ns=clock)
    log.feed(body())
    end = log.close({})
    os.close(write)
    with os.fdopen(read, "rb") as file:
        assert types(file.read()) == ["start", "action", "end"]
    assert end.path == f"fd {write}"


def test_a_pipe_nobody_reads_is_a_clear_error(clock: Clock) -> None:
    read, write = os.pipe()
    log = Logger(write, {"run": "r"}, clock_ns=clock)
    os.close(read)
    with pytest.raises(LogFailed, match="reader of the log's descriptor is gone"):
        log.feed(body("proc.exec"))
    log.abandon()
    os.close(write)


def test_each_checkpoint_is_handed_to_the_anchor(tmp_path: Path) -> None:
    anchored: list[bytes] = []
    log = Logger(tmp_path / "r.jsonl", {"run": "r"}, on_checkpoint=anchored.append)
    log.feed(body("proc.exec"))
    assert types(b"".join(anchored)) == ["checkpoint"]
    assert logdir.log_path(tmp_path, "r").read_bytes().endswith(anchored[0])
    log.close({})
    assert types(b"".join(anchored)) == ["checkpoint", "end"]


def test_every_key_is_erased_as_soon_as_it_has_signed(tmp_path: Path) -> None:
    keys = Keys()
    log = Logger(tmp_path / "r.jsonl", {"run": "r"}, new_key=keys)
    for number in range(3):
        log.feed(body("proc.exec"))
        assert [key.erased for key in keys.made] == [True] * (number + 1) + [False]
    log.close({})
    assert all(key.erased for key in keys.made)
    other = Keys()
    log = Logger(tmp_path / "s.jsonl", {"run": "s"}, new_key=other)
    log.abandon()
    assert [key.erased for key in other.made] == [True]

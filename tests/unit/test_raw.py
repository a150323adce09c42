"""The raw trace: any text comes back line by line, and the marks say what is in the file."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from capsule import raw
from capsule.errors import CapsuleError
from capsule.log import Logger
from capsule.raw import RawWriter, check, hash_prefix, read_lines, units

TEXT = st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=60)


@settings(max_examples=60, deadline=None)
@given(TEXT, st.integers(1, 64), st.booleans(), st.data())
def test_any_range_of_lines_comes_back(
    lines: list[bytes], unit_bytes: int, newline: bool, data: st.DataObject
) -> None:
    text = b"".join(line + b"\n" for line in lines)
    text = text if newline else text[:-1]
    expected = list(enumerate(text.split(b"\n")[: -1 if text.endswith(b"\n") else None], 1))
    expected = expected if text else []
    first = data.draw(st.integers(1, len(lines) + 2))
    last = data.draw(st.integers(first, len(lines) + 4))
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw, "UNIT_BYTES", unit_bytes)
        path = Path(directory) / "x.raw.zst"
        writer = RawWriter(path, sync=False)
        at = 0
        while at < len(text):
            size = data.draw(st.integers(1, 100))
            writer.feed(text[at : at + size])
            at += size
        writer.close()
        assert list(read_lines(path, first, last)) == expected[first - 1 : last]


def test_every_mark_is_the_hash_of_what_the_file_had_then(tmp_path: Path) -> None:
    path = tmp_path / "x.raw.zst"
    clock = [0]
    writer = RawWriter(path, clock_ns=lambda: clock[0])
    writer.feed(b"one\ntwo\nthr")
    writer.tick(raw.UNIT_AGE_NS - 1)
    assert writer.marks() == []
    writer.tick(raw.UNIT_AGE_NS)
    [mark] = writer.marks()
    assert (mark["bytes"], mark["lines"]) == (path.stat().st_size, 2)
    writer.feed(b"ee\n")
    writer.close()
    [last] = writer.marks()
    data = path.read_bytes()
    assert (last["bytes"], last["lines"]) == (len(data), 3)
    for each in (mark, last):
        assert each["blake3"] == blake3(data[: each["bytes"]]).hexdigest()
        assert each["blake3"] == hash_prefix(path, each["bytes"])
    assert hash_prefix(path, len(data) + 1) is None


def test_zstd_itself_gives_the_text_back(tmp_path: Path) -> None:
    path = tmp_path / "x.raw.zst"
    writer = RawWriter(path)
    text = b"".join(b"%d line\n" % number for number in range(300_000))
    for at in range(0, len(text), 70_000):
        writer.feed(text[at : at + 70_000])
    writer.close()
    assert subprocess.run(["zstd", "-dcq", path], capture_output=True, check=True).stdout == text


def test_a_torn_unit_ends_the_trace_and_rubbish_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.raw.zst"
    writer = RawWriter(path)
    writer.feed(b"one\n")
    writer.close()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    assert list(read_lines(path, 1, 9)) == [(1, b"one")]
    path.write_bytes(b"x" * 100)
    with path.open("rb") as file, pytest.raises(CapsuleError, match="not a raw trace"):
        list(units(file.fileno()))


def test_only_the_units_that_hold_the_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.raw.zst"
    writer = RawWriter(path)
    for number in range(200_000):
        writer.feed(b"%08d %s\n" % (number, b"x" * 20))
    writer.close()
    damaged = bytearray(path.read_bytes())
    damaged[raw.HEADER.size + 20] ^= 0xFF
    path.write_bytes(damaged)
    assert [n for n, _ in read_lines(path, 190_000, 190_002)] == [190_000, 190_001, 190_002]
    with pytest.raises(CapsuleError, match="damaged"):
        list(read_lines(path, 1, 1))


@pytest.mark.parametrize("mark", [5, "x", [], {}, {"lines": 1}, {"lines": "a", "bytes": 1}])
def test_a_forged_mark_is_altered_and_stops_nothing(tmp_path: Path, mark: object) -> None:
    log = Logger(tmp_path / "r.jsonl", {"run": "r"})
    log.signed_extra = {"raw": mark}
    log.close({})
    found = check(tmp_path / "r.jsonl")
    assert found is not None
    assert found.state == "altered"

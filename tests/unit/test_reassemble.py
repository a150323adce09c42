"""What a subscriber makes of messages when some are lost, and of a stream that it verifies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule.frames import END, HEARTBEAT, Frame, records
from capsule.logdir import parts
from capsule.reassemble import Ended, Gap, Item, Reassembler, Record
from capsule.streamverify import StreamVerifier
from capsule.verify import Verdict
from tests.unit.chainlogs import make_log

RUN = "20261124T160000Z-0123456789ab"
KINDS = ("file.open", "file.read", "net.connect", "proc.exec")


# -- losses


def line(seq: int, kind: str) -> bytes:
    return b'{"seq":%d,"type":"action","kind":"%b","count":1}' % (seq, kind.encode())


def published(kinds: Sequence[str], beats: Sequence[int]) -> list[Frame]:
    """The messages of a run with Actions of `kinds`, heartbeats after those in `beats`."""
    numbers: Counter[str] = Counter()
    frames = []
    for seq, kind in enumerate(kinds):
        numbers[f"action.{kind}"] += 1
        topic = f"action.{kind}"
        frames.append(Frame(topic, seq, numbers[topic], RUN, line(seq, kind)))
        if seq in beats:
            frames.append(about(HEARTBEAT, seq, numbers))
    frames.append(about(END, len(kinds) - 1, numbers, complete=True, why=None))
    return frames


def about(topic: str, seq: int, numbers: dict[str, int], **more: Any) -> Frame:
    facts = {"run": RUN, "seq": seq, "head": "", "log": None, "topics": dict(numbers), **more}
    return Frame(topic, seq, 1, RUN, orjson.dumps(facts))


def log_of(kinds: Sequence[str]) -> Any:
    def read(facts: dict[str, Any], first: int, last: int) -> Iterator[bytes]:
        return (line(seq, kinds[seq]) for seq in range(first, last + 1))

    return read


def seqs(items: Sequence[Item]) -> list[int]:
    return [item.seq for item in items if isinstance(item, Record)]


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[str], list[Frame], int, list[int], tuple[str, ...]]:
    """(kinds, messages, index of the heartbeat that joins, lost messages, topics)."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=40))
    beats = draw(st.lists(st.integers(0, len(kinds) - 1), min_size=1, max_size=6))
    frames = published(kinds, beats)
    joins = [at for at, frame in enumerate(frames) if frame.topic == HEARTBEAT]
    join = draw(st.sampled_from(joins))
    losable = st.integers(join + 1, max(join + 1, len(frames) - 2))
    lost = draw(st.lists(losable, unique=True, max_size=20))
    topics = draw(st.sampled_from([(), ("action.net",), ("action.file", "end"), ("action.",)]))
    return kinds, frames, join, [at for at in lost if at < len(frames) - 1], topics


def wanted(kinds: Sequence[str], topics: tuple[str, ...], after: int) -> list[int]:
    return [
        seq
        for seq, kind in enumerate(kinds)
        if seq > after and f"action.{kind}".startswith(topics or ("action.",))
    ]


@given(runs())
def test_what_is_lost_comes_from_the_log_once(run: Any) -> None:
    kinds, frames, join, lost, topics = run
    state = Reassembler(topics, read_log=log_of(kinds))
    items = [
        item
        for at, frame in enumerate(frames)
        if at >= join and at not in lost
        for item in state.feed(frame)
    ]
    got = seqs(items)
    assert sorted(got) == wanted(kinds, topics, frames[join].seq)
    if not topics:
        assert got == sorted(got)
    assert all(item.filled for item in items if isinstance(item, Gap))
    assert isinstance(items[-1], Ended)


@given(runs())
def test_what_is_lost_is_counted_when_there_is_no_log(run: Any) -> None:
    kinds, frames, join, lost, topics = run
    state = Reassembler(topics)
    items = [
        item
        for at, frame in enumerate(frames)
        if at >= join and at not in lost
        for item in state.feed(frame)
    ]
    got = seqs(items)
    assert got == sorted(set(got))
    missing = set(wanted(kinds, topics, frames[join].seq)) - set(got)
    gaps = [item for item in items if isinstance(item, Gap)]
    assert sum(gap.count or 0 for gap in gaps) == len(missing)
    assert not any(gap.filled for gap in gaps)


@given(runs(), st.integers(0, 40))
def test_from_the_start_there_is_no_gap_and_no_duplicate(run: Any, heard: int) -> None:
    """Whatever of the messages before the first heartbeat has arrived."""
    kinds, frames, join, lost, topics = run
    state = Reassembler(topics, from_start=True, read_log=log_of(kinds))
    beats = [at for at, frame in enumerate(frames[:join]) if frame.topic == HEARTBEAT]
    begin = max([join - heard, 0, *(at + 1 for at in beats)])
    items = [
        item
        for at, frame in enumerate(frames)
        if at >= begin and at not in lost
        for item in state.feed(frame)
    ]
    assert sorted(seqs(items)) == wanted(kinds, topics, -1)
    assert len(set(seqs(items))) == len(seqs(items))


def test_a_log_that_is_out_of_reach_is_told_to_who_wants_the_start() -> None:
    state = Reassembler(from_start=True)
    assert list(state.feed(published(["file.open"], [0])[1])) == []
    assert state.missing_start


def test_a_second_run_at_the_same_address_is_a_gap_of_unknown_size() -> None:
    state = Reassembler()
    for frame in published(["file.open", "file.read"], [0])[1:3]:
        list(state.feed(frame))
    other = [
        Frame(f.topic, f.seq, f.number, "other", f.payload.replace(RUN.encode(), b"other"))
        for f in published(["proc.exec", "proc.exec"], [0])
    ]
    items = [item for frame in other for item in state.feed(frame)]
    assert items[0] == Gap(RUN, None, 0, filled=False)
    assert [item.seq for item in items if isinstance(item, Record)] == [0, 1]


def test_a_missing_event_is_counted_and_not_looked_for() -> None:
    state = Reassembler(["event."])
    list(state.feed(about(HEARTBEAT, 0, {})))
    items: list[Item] = []
    for number in (5, 6, 9):
        items += state.feed(Frame("event.openat", number, number, RUN, b"{}"))
    assert [i.count for i in items if isinstance(i, Gap)] == [2]
    assert seqs(items) == [5, 6, 9]


# -- verifying what comes


def as_records(data: bytes) -> list[Record]:
    return [Record(topic.decode(), seq, RUN, text) for topic, seq, text in records(data)]


def verdict(found: Sequence[Record], head: str, last: int) -> tuple[Verdict, str | None]:
    state = StreamVerifier()
    for record in found:
        state.feed(record)
    checked = state.result(Ended(RUN, last, head, complete=True, why=None))
    return checked.verdict, checked.reason


@pytest.fixture(scope="module")
def run_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Record], str]:
    data, end = make_log(tmp_path_factory.mktemp("log") / f"{RUN}.jsonl", run=RUN)
    assert end is not None
    return as_records(data), end.head


@pytest.mark.parametrize("begin", [0, 1, 7, 12])
def test_a_stream_verifies_from_wherever_it_is_joined(
    begin: int, run_log: tuple[list[Record], str]
) -> None:
    found, head = run_log
    assert verdict(found[begin:], head, found[-1].seq) == (Verdict.INTACT, None)


@pytest.mark.parametrize("begin", [0, 3])
def test_a_rotated_log_verifies_as_a_stream(begin: int, tmp_path: Path) -> None:
    path = tmp_path / f"{RUN}.jsonl"
    _, end = make_log(path, run=RUN, rotate_bytes=3000)
    assert end is not None
    files = parts(path)
    assert len(files) > 1
    found = as_records(b"".join(file.read_bytes() for file in files))
    assert verdict(found[begin:], end.head, found[-1].seq) == (Verdict.INTACT, None)


@pytest.mark.parametrize("begin", [0, 5])
def test_a_changed_byte_anywhere_is_seen(begin: int, run_log: tuple[list[Record], str]) -> None:
    found, head = run_log
    for at in range(begin, len(found)):
        text = found[at].line
        middle = len(text) // 3
        changed = text[:middle] + bytes([text[middle] ^ 1]) + text[middle + 1 :]
        forged = [*found]
        forged[at] = Record(found[at].topic, found[at].seq, RUN, changed)
        assert verdict(forged[begin:], head, found[-1].seq)[0] is Verdict.TAMPERED, at


def test_a_record_left_out_without_a_word_is_seen(run_log: tuple[list[Record], str]) -> None:
    found, head = run_log
    for at in range(1, len(found) - 1):
        assert verdict(found[:at] + found[at + 1 :], head, found[-1].seq)[0] is Verdict.TAMPERED


def test_a_last_record_that_is_missing_is_incomplete(run_log: tuple[list[Record], str]) -> None:
    found, _ = run_log
    state = StreamVerifier()
    for record in found[:-1]:
        assert state.feed(record)
    assert state.result(None).verdict is Verdict.INCOMPLETE


def test_a_known_gap_is_incomplete_and_what_follows_is_still_checked(
    run_log: tuple[list[Record], str],
) -> None:
    found, head = run_log
    state = StreamVerifier()
    for record in found[:6]:
        assert state.feed(record)
    state.skip()
    for record in found[8:]:
        assert state.feed(record)
    checked = state.result(Ended(RUN, found[-1].seq, head, complete=True, why=None))
    assert (checked.verdict, checked.reason) == (Verdict.INCOMPLETE, "records are missing")

"""Published messages, and what a subscriber makes of them when some are lost."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule._parse import Parser
from capsule.anchor import open_anchors
from capsule.endpoints import parse_endpoint, prepare_socket_path, socket_mode
from capsule.errors import UsageError
from capsule.fanout import Publisher, PublishingSink
from capsule.frames import END, HEARTBEAT, Frame, events, overlaps, pack_head, records, unpack
from capsule.logdir import parts
from capsule.reassemble import Ended, Gap, Item, Reassembler, Record
from capsule.seal import LogSink
from capsule.streamverify import StreamVerifier
from capsule.syscalls import NAMES
from capsule.tap import Tap, TapEnd, tap_pair
from capsule.verify import Verdict
from tests.unit.chainlogs import action, make_log

RUN = "20261124T160000Z-0123456789ab"
KINDS = ("file.open", "file.read", "net.connect", "proc.exec")


# -- messages


@given(
    topic=st.from_regex(r"[a-z]+(\.[a-z_0-9]+)*", fullmatch=True),
    seq=st.integers(-1, 2**63),
    number=st.integers(0, 2**63),
    payload=st.binary(),
)
def test_a_message_says_what_was_put_in(topic: str, seq: int, number: int, payload: bytes) -> None:
    head = pack_head(topic.encode(), seq, number, RUN.encode())
    assert unpack([head, payload]) == Frame(topic, seq, number, RUN, payload)


@pytest.mark.parametrize(
    "message", [[], [b"action.x 1 1 r"], [b"a", b""], [b"a b c d", b""], [b"\xff 1 1 r", b""]]
)
def test_a_message_of_somebody_else_is_refused(message: list[bytes]) -> None:
    with pytest.raises(ValueError):
        unpack(message)


def test_records_of_a_real_log_have_their_topics_and_exact_lines(tmp_path: Path) -> None:
    data, _ = make_log(tmp_path / f"{RUN}.jsonl")
    found = list(records(data))
    assert b"".join(line + b"\n" for _, _, line in found) == data
    assert [seq for _, seq, _ in found] == list(range(len(found)))
    for topic, _, line in found:
        record = orjson.loads(line)
        kind = record.get("kind")
        assert topic.decode() == (
            f"action.{kind}" if record["type"] == "action" else record["type"]
        )


def test_events_have_the_topics_of_their_names() -> None:
    lines = (
        b'{"line":7,"pid":1,"ts":"1.0","kind":"syscall","name":"openat","args":["\\"kind\\":"]}\n'
        b'{"line":8,"kind":"signal","name":"SIGCHLD"}\n'
        b'{"line":9,"kind":"exit","ret":"0"}\n'
        b'{"line":10,"kind":"unparsed","raw":"\\"name\\":\\"x\\""}\n'
    )
    assert [(topic, line) for topic, line, _ in events(lines)] == [
        (b"event.openat", 7),
        (b"event.SIGCHLD", 8),
        (b"event.exit", 9),
        (b"event.unparsed", 10),
    ]


def test_a_subscription_overlaps_topics_it_begins_and_topics_that_begin_it() -> None:
    assert overlaps(b"", b"event.")
    assert overlaps(b"ev", b"event.")
    assert overlaps(b"event.open", b"event.")
    assert not overlaps(b"action.", b"event.")


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


# -- addresses


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("tcp://127.0.0.1:5555", True),
        ("tcp://127.9.9.9:1", True),
        ("tcp://localhost:5555", True),
        ("tcp://[::1]:5555", True),
        ("tcp://lo:5555", True),
        ("tcp://*:5555", False),
        ("tcp://0.0.0.0:5555", False),
        ("tcp://[::]:5555", False),
        ("tcp://10.0.0.1:5555", False),
        ("tcp://example.org:5555", False),
        ("tcp://127.0.0.1.example.org:5555", False),
        ("tcp://localhost.example.org:5555", False),
        ("ipc:///run/x.sock", True),
    ],
)
def test_only_loopback_and_files_are_local(url: str, local: bool) -> None:
    assert parse_endpoint(url).local is local


@pytest.mark.parametrize(
    "url",
    ["", "x", "tcp://", "tcp://host", "tcp://host:", "tcp://:1", "tcp://h:0", "tcp://h:65536",
     "tcp://h:x", "tcp://::1:5", "udp://h:1", "inproc://x", "ipc://", "ipc://@name", "ipc://*",
     "ipc:///" + "x" * 107],
)  # fmt: skip
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse_endpoint(url)


def test_a_file_in_the_way_of_a_socket_is_left_alone(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("precious")
    with pytest.raises(UsageError, match="no socket"):
        prepare_socket_path(plain)
    assert plain.read_text() == "precious"


@pytest.mark.parametrize(
    ("directory", "expected"), [(0o700, 0o700), (0o755, 0o755), (0o770, 0o770), (0o1777, 0o700)]
)
def test_a_socket_has_its_directorys_rights_but_not_in_a_shared_one(
    directory: int, expected: int, tmp_path: Path
) -> None:
    os.chmod(tmp_path, directory)
    assert socket_mode(tmp_path) == expected
    os.chmod(tmp_path, 0o700)


# -- events from the parser


TRACE = b'7 1.0 openat(AT_FDCWD, "/x", O_RDONLY) = 3\n7 1.1 close(3) = 0\n7 1.2 close(9) = 0\n'


@pytest.fixture
def tap() -> Iterator[tuple[Tap, TapEnd]]:
    parser, logger = tap_pair()
    with parser, logger:
        yield Tap(Parser(NAMES), parser, lossless=False), TapEnd(logger)


def test_no_event_is_encoded_while_nobody_wants_any(
    tap: tuple[Tap, TapEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(batch: bytes) -> bytes:
        raise AssertionError("encoded")

    monkeypatch.setattr("capsule.tap.jsonl", never)
    stage, end = tap
    assert stage.feed(TRACE) == Parser(NAMES).feed(TRACE)
    assert list(end.read()) == []


def test_only_what_is_wanted_is_sent_and_numbered(tap: tuple[Tap, TapEnd]) -> None:
    stage, end = tap
    end.want([b"event.close"])
    stage.feed(TRACE)
    end.want([b"event."])
    stage.feed(TRACE)
    found = [(topic, line, number) for topic, line, number, _ in end.read()]
    assert found == [
        (b"event.close", 2, 1),
        (b"event.close", 3, 2),
        (b"event.openat", 4, 1),
        (b"event.close", 5, 3),
        (b"event.close", 6, 4),
    ]


def test_a_full_tap_loses_groups_and_the_numbers_say_how_many(tap: tuple[Tap, TapEnd]) -> None:
    stage, end = tap
    end.want([b"event."])
    rounds = 20_000
    for _ in range(rounds // 100):
        stage.feed(TRACE * 100)
    list(end.read())
    stage.feed(TRACE)
    last = {topic: number for topic, _, number, _ in end.read()}
    assert last == {b"event.openat": rounds + 1, b"event.close": 2 * (rounds + 1)}


def test_a_logger_that_is_gone_does_not_stop_the_parser(tap: tuple[Tap, TapEnd]) -> None:
    parser, logger = tap_pair()
    stage, end = Tap(Parser(NAMES), parser, lossless=True), TapEnd(logger)
    end.want([b"event."])
    logger.close()
    assert stage.feed(TRACE)
    parser.close()


# -- the sink that publishes


class Recorded:
    """As much of a Publisher as PublishingSink uses; keeps what it is given."""

    def __init__(self) -> None:
        self.lines = b""
        self.ended: tuple[bool, str | None] | None = None
        self.sent = 0

    def publish(self, lines: bytes) -> None:
        self.lines += lines

    def next_beat_ns(self) -> int:
        return 10**18

    def end(self, *, complete: bool, why: str | None) -> None:
        self.ended = (complete, why)


def stages_that_agree(actions: int) -> dict[str, dict[str, int]]:
    same = dict.fromkeys(("lines", "bytes", "lines_in", "bytes_in", "events", "events_in",
                          "events_out", "counted"), actions)  # fmt: skip
    names = ("tracer", "parser", "enricher", "aggregator", "logger")
    return {name: {**same, "actions_out": actions} for name in names}


@pytest.mark.parametrize("how", ["end", "disagree", "abandon"])
def test_what_is_published_is_the_file_whatever_the_end(how: str, tmp_path: Path) -> None:
    path, recorded = tmp_path / f"{RUN}.jsonl", Recorded()
    log = LogSink(path, {"run": RUN}, anchors=open_anchors(RUN, (), syslog=False))
    sink = PublishingSink(log, cast(Publisher, recorded))
    for number in range(300):
        sink.feed(re.sub(rb'"count":\d', b'"count":1', action(number)))
    sink.tick(0)
    sink.gap(1, "a test wants one")
    if how == "abandon":
        sink.abandon()
    else:
        stages = stages_that_agree(300)
        stages["logger"] = {**sink.counters(), **({"count": 1} if how == "disagree" else {})}
        sink.end({"stages": stages, "exit": None})
    assert recorded.lines == path.read_bytes()
    assert recorded.ended is not None
    assert recorded.ended[0] is (how == "end")

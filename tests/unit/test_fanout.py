"""What is published: messages, addresses, events from the parser, the sink, and when."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule._parse import Parser
from capsule.anchor import open_anchors
from capsule.burst import BURST_BYTES, BURST_NS, NEVER_NS, Burst
from capsule.endpoints import parse_endpoint, prepare_socket_path, socket_mode
from capsule.errors import UsageError
from capsule.frames import Frame, events, overlaps, pack_head, records, unpack
from capsule.publishsink import PublishingSink
from capsule.seal import LogSink
from capsule.syscalls import NAMES
from capsule.tap import Tap, TapEnd, tap_pair
from tests.unit.chainlogs import action, make_log

RUN = "20261124T160000Z-0123456789ab"


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

    def next_due_ns(self) -> int:
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
    sink = PublishingSink(log, recorded)
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


# -- when it is published


def test_what_comes_after_a_silence_is_published_at_once() -> None:
    burst = Burst()
    for now_ns in (0, BURST_NS, 10 * BURST_NS):
        burst.add(b"{}\n")
        assert burst.due_ns() <= now_ns
        assert burst.take(now_ns) == b"{}\n"


def test_under_load_it_is_published_in_bursts_and_none_is_late() -> None:
    burst = Burst()
    every_ns = BURST_NS // 10
    taken: list[tuple[int, bytes]] = []
    for at in range(100):
        burst.add(b"%d\n" % at)
        if burst.due_ns() <= at * every_ns:
            taken.append((at, burst.take(at * every_ns)))
    assert b"".join(lines for _, lines in taken) == b"".join(b"%d\n" % at for at in range(91))
    assert [at for at, _ in taken] == list(range(0, 100, 10))
    assert burst.due_ns() == 100 * every_ns


def test_a_full_burst_does_not_wait() -> None:
    burst = Burst()
    burst.add(b"{}\n")
    burst.take(0)
    burst.add(b"x" * BURST_BYTES)
    assert burst.due_ns() <= 0


def test_nothing_is_due_while_nothing_is_held() -> None:
    burst = Burst()
    assert burst.due_ns() == NEVER_NS
    assert burst.take(5) == b""
    burst.add(b"{}\n")
    burst.take(5)
    burst.add(b"")
    assert burst.due_ns() == NEVER_NS

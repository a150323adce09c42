"""Sizes: nothing takes quadratic time (such a test would not end), and memory has bounds."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from capsule._parse import Parser
from capsule.events import EventFlag, EventKind, read_events
from tests.parsing import one, parse

MANY = 1_000_000
LONG = 10 << 20


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(b'"' + b"x" * LONG + b'"', id="a string of 10 MB"),
        pytest.param(b'"' + b'\\"' * (LONG // 2) + b'"', id="escaped quotes"),
        pytest.param(b'"' + b"\\\\" * (LONG // 2) + b'"', id="backslashes"),
        pytest.param(b"3</" + b"x" * LONG + b">", id="a path of 10 MB"),
        pytest.param(b"(" * MANY + b")" * MANY, id="nested parentheses"),
        pytest.param(b"{" * MANY, id="braces never closed"),
        pytest.param(b"/* " * MANY, id="comments never closed"),
        pytest.param(b"/* " * MANY + b"*/ " * MANY, id="nested comments"),
        pytest.param(b"1<" * MANY, id="decorations never closed"),
        pytest.param(b"1</" + b"<" * MANY, id="nested decorations"),
        pytest.param(b"1</x>" * MANY, id="decorations"),
        pytest.param(b"AT_FDCWD<[" * MANY, id="brackets in decorations"),
        pytest.param(b") " * MANY, id="closing parentheses"),
        pytest.param(b")" + b" " * LONG, id="blanks after a parenthesis"),
        pytest.param(b"() = x" * MANY, id="returns of nothing"),
        pytest.param(b"(f() = 1, " * MANY, id="returns below the top level"),
    ],
)
def test_one_long_argument_takes_linear_time(inner: bytes) -> None:
    event = one(b"7 call(" + inner + b") = 5\n")
    assert (event.kind, event.name, event.retval) == (EventKind.SYSCALL, b"call", 5)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"1" * LONG, id="digits"),
        pytest.param(b"[" * LONG, id="brackets"),
        pytest.param(b"[ 1] " * MANY, id="groups"),
        pytest.param(b" " * LONG, id="blanks"),
        pytest.param(b"7<" * MANY, id="comms never closed"),
        pytest.param(b"call" * MANY, id="a name"),
        pytest.param(b"call(" * MANY, id="names"),
        pytest.param(b'call("' + b"x" * LONG, id="a string never closed"),
        pytest.param(b"call(" + b"<unfinished ...> " * MANY, id="markers"),
        pytest.param(b"--- SIG" + b" ---" * MANY + b" x", id="a signal"),
        pytest.param(b"\x1b[" + b"1;" * MANY, id="a colour never closed"),
        pytest.param(b"\x1b[1m" * MANY, id="colours"),
        pytest.param(b"\0" * LONG, id="zeros"),
    ],
)
def test_one_long_line_of_nothing_is_unparsed(line: bytes) -> None:
    event = one(line)
    assert (event.kind, event.raw) == (EventKind.UNPARSED, line)


def test_a_million_arguments() -> None:
    assert len(one(b"7 call(" + b"1, " * MANY + b"2) = 5").args) == MANY + 1


def test_a_million_unfinished_calls() -> None:
    """Each of another tracee; all end, the oldest first."""
    parser = Parser()
    parser.feed(b"".join(b"%d read(3,  <unfinished ...>\n" % pid for pid in range(MANY)))
    assert parser.counters()["open"] == MANY
    parser.feed(b"".join(b'%d <... read resumed>"ab", 2) = 2\n' % pid for pid in range(MANY)))
    assert parser.counters() == {
        "bytes_in": parser.counters()["bytes_in"],
        "lines_in": 2 * MANY,
        "cut": 0,
        "events": MANY,
        "joined": MANY,
        "open": 0,
        "unparsed": 0,
        "notes": 0,
        "orphans": 0,
    }


def test_a_million_halves_without_pid_among_a_thousand_open_calls() -> None:
    text = b"".join(b"%d read(3,  <unfinished ...>\n" % pid for pid in range(1000))
    parser = Parser()
    parser.feed(text + b"<... write resumed>) = 7\n" * MANY)
    assert parser.counters()["orphans"] == MANY


def test_a_call_broken_by_a_million_lines() -> None:
    parser = Parser()
    parser.feed(b"7 write(1, " + b"x" * LONG + b"\n" + b"text\n" * MANY + b") = 5\n")
    assert parser.counters()["joined"] == 1


def test_a_call_interrupted_a_million_times() -> None:
    text = b"7 read(3 <unfinished ...>\n" + b"7 <... read resumed> <unfinished ...>\n" * MANY
    (event,) = parse(text + b"7 <... read resumed>) = 5\n")
    assert (event.args, event.retval) == ((b"3",), 5)


def test_a_long_line_byte_by_byte() -> None:
    text = b'7 read(3, "' + b"x" * 200_000 + b'", 9) = 5\n'
    assert parse(text, range(1, len(text))) == parse(text)


def test_lines_over_64_kib_are_lines() -> None:
    text = b'7 write(1, "' + b"x" * 70_000 + b'", 70000) = 70000\n'
    assert [event.retval for event in parse(text * 3, range(0, 3 * len(text), 4096))] == [70000] * 3


@pytest.mark.parametrize("step", [1, 3, 100])
def test_a_line_over_the_limit_becomes_pieces(step: int) -> None:
    text = b"close(1234567890) = 5\nclose(3) = 5\n"
    events = parse(text, range(0, len(text), step), max_line=12)
    assert [(event.line, event.raw, event.retval) for event in events] == [
        (1, b"close(123456", None), (1, b"7890) = 5", None), (2, None, 5),
    ]  # fmt: skip


def test_a_call_over_the_limit_is_not_put_together() -> None:
    first = '7 read(3, "' + "x" * 25 + '", '  # 37 bytes of the call itself
    for second, flags in (
        ("1234567890123456) = 5", [EventFlag.RETVAL | EventFlag.JOINED]),
        ("1234567890123456789) = 5", [EventFlag.RETVAL | EventFlag.ORPHAN, EventFlag.ORPHAN]),
    ):
        text = f"{first} <unfinished ...>\n7 <... read resumed>{second}\n"
        assert sorted(event.flags for event in parse(text, max_line=60))[::-1] == flags


def test_memory_is_bounded_by_what_is_open() -> None:
    """200 MB of calls that open and end leave nothing behind."""
    parser = Parser()
    text = b'7 read(3,  <unfinished ...>\n8 close(3) = 0\n7 <... read resumed>"ab", 2) = 2\n' * 9000
    parser.feed(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        parser.feed(text)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 20_000
    assert parser.counters()["open"] == 0


def test_one_huge_line_leaves_no_memory_behind() -> None:
    parser = Parser()
    resident = Path("/proc/self/statm")
    page = resource.getpagesize()
    parser.feed(b"close(3) = 5\n")
    before = int(resident.read_text().split()[1]) * page
    for _ in range(3):
        parser.feed(b'7 write(1, "')
        for _ in range(100):
            parser.feed(b"x" * (1 << 20))
        parser.feed(b'", 1) = 5\n')
    assert int(resident.read_text().split()[1]) * page - before < 50 << 20


def test_a_feed_over_1_gib_is_refused() -> None:
    parser = Parser()
    with pytest.raises(ValueError, match="1 GiB"):
        parser.feed(memoryview(bytearray((1 << 30) + 1)))
    assert list(read_events(parser.feed(b"close(3) = 5\n")))

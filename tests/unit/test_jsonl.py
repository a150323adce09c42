"""Events as JSON lines: against orjson and capsule.text."""

from __future__ import annotations

import io
import json
import struct

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule._jsonl import jsonl
from capsule._parse import Parser
from capsule.commands.parse import convert
from capsule.errors import CapsuleError
from capsule.events import EVENT, EVENT_HEADER, Event, EventFlag, EventKind
from capsule.text import escape
from tests.parsing import parse
from tests.unit.test_reference import SOUP


def batch_of(text: bytes) -> bytes:
    """All events of a text in one batch; what `finish` would give is not in it."""
    return Parser().feed(text)


def expected(event: Event) -> dict[str, object]:
    """One event as a dict, keys in the order of the format."""
    values = {
        "line": event.line,
        "pid": event.pid,
        "ts": event.ts,
        "ts_ns": event.ts_ns,
        "kind": event.kind.name.lower(),
        "name": event.name,
        "args": list(map(escape, event.args))
        if event.args or event.kind is EventKind.SYSCALL
        else None,
        "ret": b"?" if EventFlag.SELF_NUMBER in event.flags else event.ret,
        "retval": event.retval,
        "errno": event.errno,
        "dur_ns": event.dur_ns,
        "raw": event.raw,
    }
    return {
        key: escape(value) if isinstance(value, bytes) else value
        for key, value in values.items()
        if value is not None
    }


def test_keys_come_in_the_order_of_the_format_and_only_when_known() -> None:
    text = (
        b'7 1795541433.084596 openat(AT_FDCWD, "a\\n", O_RDONLY) = -1 ENOENT (No) <0.000006>\n'
        b"+++ exited with 0 +++\n"
        b"caf\xe9\n"
    )
    assert jsonl(batch_of(text)).decode().splitlines() == [
        (
            '{"line":1,"pid":7,"ts":"1795541433.084596","ts_ns":1795541433084596000,'
            '"kind":"syscall","name":"openat","args":["AT_FDCWD","\\"a\\\\\\\\n\\"","O_RDONLY"],'
            '"ret":"-1 ENOENT (No)","retval":-1,"errno":"ENOENT","dur_ns":6000}'
        ),
        '{"line":2,"kind":"exit","ret":"0","retval":0}',
        '{"line":3,"kind":"unparsed","raw":"caf\\\\xe9"}',
    ]


def test_a_call_that_seccomp_stopped_has_no_value() -> None:
    text = b"7 mkdir(NULL, 0) = 83\n7 +++ killed by SIGSYS +++\n"
    mkdir = json.loads(jsonl(batch_of(text)).splitlines()[0])
    assert mkdir == {
        "line": 1, "pid": 7, "kind": "syscall", "name": "mkdir", "args": ["NULL", "0"], "ret": "?",
    }  # fmt: skip


@given(st.lists(st.one_of(SOUP, st.binary(max_size=40)), max_size=5).map(b"\n".join))
def test_every_event_is_the_json_that_orjson_would_write(text: bytes) -> None:
    parser = Parser()
    lines = jsonl(parser.feed(text)) + jsonl(parser.finish())
    wanted = b"".join(orjson.dumps(expected(event)) + b"\n" for event in parse(text))
    assert lines == wanted


def test_no_batch_is_no_lines() -> None:
    assert jsonl(b"") == b""


@pytest.mark.parametrize(
    "blob", [b"x", b"CEB1", b"CEB2" + bytes(12), b"CEB1" + bytes(11), b"CEB1" + bytes(13)]
)
def test_what_is_no_batch_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="not an event batch"):
        jsonl(blob)


@given(st.data())
def test_a_damaged_batch_is_refused_or_read_but_never_overrun(data: st.DataObject) -> None:
    blob = bytearray(batch_of(b'7 read(3, "a", 1) = 5\nx\n--- SIGHUP {a} ---\n'))
    rows = len(blob) - EVENT_HEADER.size
    at = EVENT_HEADER.size + data.draw(st.integers(0, rows // 4 - 1)) * 4
    struct.pack_into("<I", blob, at, data.draw(st.integers(0, 2**32 - 1)))
    try:
        jsonl(bytes(blob))
    except ValueError as error:
        assert "outside its batch" in str(error)


def test_a_row_is_as_long_as_the_format_says() -> None:
    blob = batch_of(b"x\n")
    assert len(blob) == EVENT_HEADER.size + EVENT.size + len(b"x\n")


class Trickle(io.RawIOBase):
    """A pipe that gives what there is."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)

    def read(self, size: int = -1) -> bytes:
        return self.parts.pop(0) if self.parts else b""


def test_parse_prints_what_can_be_had_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    class Sink(io.BytesIO):
        flushed: list[int] = []

        def flush(self) -> None:
            self.flushed.append(self.getvalue().count(b"\n"))

    sink = Sink()
    source = Trickle(b"close(3) = 5\nclo", b"se(4) = 5\nwhat\n", b"7 read(3, <unfinished ...>\n")
    assert convert(source, sink, "-") == 0
    assert sink.flushed == [1, 3, 3, 4]
    assert capsys.readouterr().err == "capsule: -: 1 line is not understood and kept as unparsed\n"


def test_parse_says_why_it_cannot_read() -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(CapsuleError, match="cannot read x: Input/output error"):
        convert(Broken(), io.BytesIO(), "x")

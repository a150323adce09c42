"""Kinds of lines, and what stands before a call."""

from __future__ import annotations

import pytest

from capsule._parse import Parser
from capsule.events import EVENT, EVENT_HEADER, Event, EventFlag, EventKind
from tests.parsing import one, parse

STAMP_NS = 1795541433_084596000


def test_a_call_of_the_base_options() -> None:
    event = one(
        '17296 1795541433.084596 openat(AT_FDCWD</tmp>, "/etc/passwd", O_RDONLY) = 3</etc/passwd>\n'
    )
    assert event == Event(
        line=1,
        pid=17296,
        ts=b"1795541433.084596",
        ts_ns=STAMP_NS,
        kind=EventKind.SYSCALL,
        name=b"openat",
        args=(b"AT_FDCWD</tmp>", b'"/etc/passwd"', b"O_RDONLY"),
        ret=b"3</etc/passwd>",
        retval=3,
        errno=None,
        dur_ns=None,
        raw=None,
        flags=EventFlag.RETVAL,
    )


@pytest.mark.parametrize(
    ("prefix", "pid", "ts", "ts_ns"),
    [
        ("", None, None, None),
        ("123 ", 123, None, None),
        ("123   ", 123, None, None),
        ("[pid 123] ", 123, None, None),
        ("[pid   123] ", 123, None, None),
        ("123<sh> ", 123, None, None),
        ("[pid 123<sh>] ", 123, None, None),
        (r"123<a\76 b> ", 123, None, None),
        ("123 [u:r:t:s0-s0:c0.c1023] ", 123, None, None),
        ("[unconfined_t] ", None, None, None),
        ("12:34:56 ", None, b"12:34:56", None),
        ("123 12:34:56.789012 ", 123, b"12:34:56.789012", None),
        ("0:0:0.000001 ", None, b"0:0:0.000001", None),
        ("1795541433 ", None, b"1795541433", 1795541433 * 10**9),
        ("123 1795541433.084 ", 123, b"1795541433.084", 1795541433_084000000),
        ("123 1795541433.084596 ", 123, b"1795541433.084596", STAMP_NS),
        ("123 1795541433.084596001 ", 123, b"1795541433.084596001", STAMP_NS + 1),
        ("     0.000123 ", None, b"0.000123", None),
        ("123      0.000123 ", 123, b"0.000123", None),
        ("123        0 ", 123, b"0", None),
        ("12:34:56 (+     0.000123) ", None, b"12:34:56", None),
        ("123 1795541433.084596 (+     0.1) ", 123, b"1795541433.084596", STAMP_NS),
        ("[ 257] ", None, None, None),
        ("[00007f3d5915db1d] ", None, None, None),
        ("[????????????????] ", None, None, None),
        ("[0x40000053] ", None, None, None),
        (
            "9<sh> [u:r:t:s0] 12:34:56 (+     0.1) [  59] [00007f3d5915db1d] ",
            9, b"12:34:56", None,
        ),
    ],
)  # fmt: skip
def test_prefixes_stand_in_a_fixed_order(
    prefix: str, pid: int | None, ts: bytes | None, ts_ns: int | None
) -> None:
    event = one(f"{prefix}close(3) = 0\n")
    assert (event.pid, event.ts, event.ts_ns) == (pid, ts, ts_ns)
    assert (event.name, event.args, event.retval) == (b"close", (b"3",), 0)


def test_a_clock_has_one_fraction() -> None:
    """`21:32:42.1674.31` was taken for a time of day."""
    assert one("7 21:32:42.1674.31 close(3) = 0").kind is EventKind.UNPARSED


def test_a_stamp_beyond_64_bits_of_nanoseconds_is_text_only() -> None:
    event = one("9223372036.0 close(3) = 0")
    assert (event.ts, event.ts_ns) == (b"9223372036.0", None)
    assert one("9223372035.999999999 close(3) = 0").ts_ns == 9223372035_999999999


@pytest.mark.parametrize(
    ("line", "kind", "name", "args", "end"),
    [
        ("--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---", "SIGNAL", b"SIGCHLD",
         (b"{si_signo=SIGCHLD, si_code=CLD_EXITED}",), (None, 0)),
        ("--- SIGINT (Interrupt) @ 0 (0) ---", "SIGNAL", b"SIGINT",
         (b"(Interrupt) @ 0 (0)",), (None, 0)),
        ("--- {si_signo=SIGCHLD, si_code=CLD_EXITED} (Child exited) ---", "SIGNAL", b"SIGCHLD",
         (b"{si_signo=SIGCHLD, si_code=CLD_EXITED} (Child exited)",), (None, 0)),
        ("--- SIGRT_3 {si_signo=SIGRT_3} ---", "SIGNAL", b"SIGRT_3",
         (b"{si_signo=SIGRT_3}",), (None, 0)),
        ("--- SIGTRAP ---", "SIGNAL", b"SIGTRAP", (), (None, 0)),
        ("--- stopped by SIGSTOP ---", "STOPPED", b"SIGSTOP", (), (None, 0)),
        ("+++ exited with 3 +++", "EXIT", None, (), (b"3", EventFlag.RETVAL)),
        ("+++ exited with 3 +++ <0.000058>", "EXIT", None, (), (b"3", EventFlag.RETVAL)),
        ("+++ killed by SIGKILL +++", "KILLED", b"SIGKILL", (), (None, 0)),
        ("+++ killed by SIGSEGV (core dumped) +++", "KILLED", b"SIGSEGV", (),
         (None, EventFlag.CORE)),
        ("+++ superseded by execve in pid 8 +++", "SUPERSEDED", None, (),
         (b"8", EventFlag.RETVAL)),
    ],
)  # fmt: skip
def test_signals_and_ends(
    line: str, kind: str, name: bytes, args: tuple[bytes, ...], end: tuple[bytes | None, int]
) -> None:
    ret, flags = end
    event = one(f"7 1795541433.084596 {line}\n")
    assert (event.kind.name, event.pid, event.ts_ns) == (kind, 7, STAMP_NS)
    assert (event.name, event.args, event.ret, event.flags) == (name, args, ret, flags)
    assert event.retval == (int(ret) if ret else None)


@pytest.mark.parametrize(
    "line",
    [
        "strace: Process 54168 attached with 12 threads",
        "strace: Process 7 attached",
        "Process 25557 attached with 4 threads - interrupt to quit",
        "Process 25557 detached",
        "Process 7 suspended",
        "[ Process PID=7 runs in 32 bit mode. ]",
        "7 1795541433.084596 [ Process PID=7 runs in x32 mode. ]",
        " > /usr/lib/x86_64-linux-gnu/libc.so.6(__write+0x10) [0xf8350]",
        " > unexpected_backtracing_error [0x7f]",
        " | 00000  68 65 6c 6c 6f 0a                                 hello.           |",
        " | <Cannot fetch 4 bytes from pid 7 @0x7f>",
        " * 2 bytes in buffer 0",
        " = 2 buffers in vector 0",
        " VCPU:0> {exit_reason=KVM_EXIT_IO}",
        "System call usage summary for 32 bit mode:",
    ],
)
def test_notes(line: str) -> None:
    event = one(line + "\n")
    assert (event.kind, event.raw) == (EventKind.NOTE, line.encode())


TABLES = (
    """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 36.84    0.000105          26         4           mmap
100.00    0.000285           0        29         1 total-recall
------ ----------- ----------- --------- --------- ----------------
100.00    0.000285                    29         1 total
""",
    """\
syscall              calls  longest
---------------- --------- --------
read                     1 0.000000
---------------- --------- --------
total                   29 0.000000
""",
)


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_notes(table: str) -> None:
    *notes, after = parse(table + "read  1\n")
    assert [(event.kind, event.raw) for event in notes] == [
        (EventKind.NOTE, line.encode()) for line in table.splitlines()
    ]
    assert after.kind is EventKind.UNPARSED


def test_a_table_ends_where_a_call_begins() -> None:
    head, divider, row, *_ = TABLES[0].splitlines()
    kinds = [e.kind.name for e in parse(f"{head}\n{divider}\nclose(3) = 0\n{row}\n{divider}\n")]
    assert kinds == ["NOTE", "NOTE", "SYSCALL", "UNPARSED", "UNPARSED"]
    assert [e.kind.name for e in parse(f"{head}\n{row}\n")] == ["NOTE", "UNPARSED"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"hello, world",
        b"7 hello(world) = x",
        b"--- not a signal ---",
        b"--- SIGCHLD {si_signo=SIGCHLD}",
        b"+++ exited with x +++",
        b"+++ exited with 99999999999999999999 +++",
        b"<... read resumed",
        b"= 0",
        b"(3) = 0",
        b"\x7fELF\x02\x01\x01\x00\x00",
        b"\xff\xfe\x00",
        b"9" * 40 + b" close(3) = 0",
    ],
)
def test_what_is_not_understood_is_kept(line: bytes) -> None:
    event = one(line + b"\n")
    assert (event.kind, event.raw, event.pid, event.line) == (EventKind.UNPARSED, line, None, 1)


def test_an_empty_file_has_no_events() -> None:
    parser = Parser()
    assert (parser.feed(b""), parser.finish()) == (b"", b"")
    assert set(parser.counters().values()) == {0}


def test_a_last_line_needs_no_newline() -> None:
    assert parse("close(3) = 0\nclose(4) = 0") == parse("close(3) = 0\nclose(4) = 0\n")


def test_lines_may_end_in_carriage_return_and_newline() -> None:
    text = '7 read(3, "a", 1) = 1\n7 read(4,  <unfinished ...>\n7 <... read resumed>) = 0\nx\n'
    assert parse(text.replace("\n", "\r\n")) == parse(text)


def test_colours_hide_nothing() -> None:
    """`--color=always` of 7.x: SGR sequences around every part; raw text keeps them."""
    plain = '7 openat(AT_FDCWD, "a", O_RDONLY) = 3</tmp/a> <0.000006>\n'
    shown = (
        "7 \x1b[1;34mopenat\x1b[0m(\x1b[33mAT_FDCWD\x1b[0m, \x1b[32m\"a\"\x1b[0m, O_RDONLY\x1b[36m)"
        "\x1b[0m = \x1b[32m3\x1b[36m</tmp/a>\x1b[0m <0.000006>\x1b[0m\n"
    )  # fmt: skip
    assert parse(shown) == parse(plain)
    assert one("\x1b[1mhello\n").raw == b"\x1b[1mhello"


def test_names_get_ids_in_the_callers_order() -> None:
    parser = Parser(["close", b"read", "close"])
    blob = parser.feed(b"read(3) = 4\nclose(3) = 0\nmmap(3) = 0\n")
    rows = [EVENT.unpack_from(blob, EVENT_HEADER.size + i * EVENT.size) for i in range(3)]
    assert [row[5] for row in rows] == [2, 1, 0]


def test_a_wrong_table_or_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="65535"):
        Parser(["x"] * 65536)
    for bad in (0, 2**28 + 1):
        with pytest.raises(ValueError, match="max_line"):
            Parser(max_line=bad)


def test_feed_takes_any_bytes_like_object() -> None:
    text = b"close(3) = 0\n"
    batches = {bytes(Parser().feed(kind(text))) for kind in (bytes, bytearray, memoryview)}
    assert len(batches) == 1
    with pytest.raises(TypeError):
        Parser().feed("close(3) = 0\n")  # type: ignore[arg-type]

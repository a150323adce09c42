"""Lines of strace and the events they become, kind by kind."""

from __future__ import annotations

import pytest

from capsule._parse import Parser
from capsule.events import Event, EventFlag, EventKind, read_events


def parse(text: str | bytes, **options: int) -> list[Event]:
    """The events of a whole text; the counters have to account for each of its lines."""
    data = text.encode() if isinstance(text, str) else text
    parser = Parser(**options)
    events = [*read_events(parser.feed(data)), *read_events(parser.finish())]
    count = parser.counters()
    assert count["lines_in"] + count["cut"] == count["events"] + count["joined"]
    assert (count["events"], count["open"]) == (len(events), 0)
    return events


def one(line: str | bytes) -> Event:
    (event,) = parse(line)
    return event


def test_a_call_of_the_base_options() -> None:
    event = one(
        '17296 1795541433.084596 openat(AT_FDCWD</tmp>, "/etc/passwd", O_RDONLY) = 3</etc/passwd>\n'
    )
    assert event == Event(
        line=1,
        pid=17296,
        ts=b"1795541433.084596",
        ts_ns=1795541433_084596000,
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
    ("halves", "args"),
    [
        pytest.param(
            ("clock_gettime(CLOCK_MONOTONIC,  <unfinished ...>", "{tv_sec=1}) = 0"),
            (b"CLOCK_MONOTONIC", b"{tv_sec=1}"),
            id="4.26: one blank to drop",
        ),
    ],
)
def test_halves_join_as_text_in_three_dialects(
    halves: tuple[str, str], args: tuple[bytes, ...]
) -> None:
    first, second = halves
    for blank in (" ", ""):
        event = one(f"7 {first}\n7 <... clock_gettime resumed>{blank}{second}\n")
        assert (event.args, event.retval) == (args, 0)
        assert EventFlag.JOINED in event.flags


def test_the_end_of_a_process() -> None:
    assert [(e.kind.name, e.name, e.ret) for e in parse(
        "7 +++ exited with 3 +++\n8 +++ killed by SIGSEGV (core dumped) +++\n"
        "9 --- stopped by SIGSTOP ---\n9 --- SIGCHLD {si_signo=SIGCHLD} ---\n"
    )] == [
        ("EXIT", None, b"3"),
        ("KILLED", b"SIGSEGV", None),
        ("STOPPED", b"SIGSTOP", None),
        ("SIGNAL", b"SIGCHLD", None),
    ]  # fmt: skip

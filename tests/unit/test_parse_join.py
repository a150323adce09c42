"""Calls of more than one line: halves, a thread's execve, seccomp, lines broken by other text."""

from __future__ import annotations

import pytest

from capsule._parse import Parser
from capsule.events import Event, EventFlag, EventKind, read_events
from tests.parsing import one, parse

JOINED, ORPHAN, TORN = EventFlag.JOINED, EventFlag.ORPHAN, EventFlag.TORN


def brief(event: Event) -> str:
    """One event as a line to compare: `line pid name(args) = ret`."""
    pid = "-" if event.pid is None else event.pid
    if event.kind in (EventKind.NOTE, EventKind.UNPARSED):
        return f"{event.line} {event.kind.name} {(event.raw or b'').decode()}"
    name, ret = (text.decode() if text else "" for text in (event.name, event.ret))
    if event.kind is not EventKind.SYSCALL:
        return f"{event.line} {pid} {event.kind.name} {name}{ret}"
    args = ", ".join(arg.decode() for arg in event.args)
    return f"{event.line} {pid} {name}({args}) = {ret}"


def transcript(text: str) -> list[str]:
    return [brief(event) for event in parse(text)]


READ = ("read(3, ", '"a", 8', ") = 1")
WAIT = ("wait4(-1, ", "[{WIFEXITED(s) && WEXITSTATUS(s) == 0}], 0, NULL", ") = 5")
NOTHING = ("futex(0x1, FUTEX_WAIT, 0, NULL", "", ") = 0")
CLONE3 = ("clone3({flags=0}", " => {parent_tid=[5]}, 88", ") = 5")
STRUCT = ("recvmsg(3, {msg_name=NULL", ", msg_namelen=128 => 0}, 0", ") = 9")
STRINGS = ('execve("a", ["b"', ', "c"], 0x7f /* 2 vars */', ") = 0")


@pytest.mark.parametrize("dialect", ["up to 4.26", "5.0 to 6.15", "from 6.16"])
@pytest.mark.parametrize("call", [READ, WAIT, NOTHING, CLONE3, STRUCT, STRINGS])
def test_halves_join_to_what_one_line_would_be(dialect: str, call: tuple[str, str, str]) -> None:
    """Up to 4.26 a blank follows `resumed>`; from 6.16 the comma is on the second half."""
    first, second, end = call
    (whole,) = parse(f"7 {first}{second}{end}\n")
    if dialect == "from 6.16" and first.endswith(", "):
        first, second = first[:-2], f", {second}"
    blank = " " if dialect == "up to 4.26" else ""
    name = first.partition("(")[0]
    (joined,) = parse(f"7 {first} <unfinished ...>\n7 <... {name} resumed>{blank}{second}{end}\n")
    assert (joined.args, joined.ret, joined.retval) == (whole.args, whole.ret, whole.retval)
    assert joined.flags == whole.flags | JOINED
    assert joined.line == 1


def test_the_opening_line_gives_number_and_stamp_the_closing_one_the_duration() -> None:
    text = (
        "7 1795541433.1 read(3,  <unfinished ...>\n"
        "8 1795541433.2 close(3) = 0 <0.1>\n"
        '7 1795541433.3 <... read resumed>"", 8) = 0 <0.2>\n'
    )
    close, read = parse(text + "7 1795541433.4 close(3) = 0\n")[:2]
    assert (close.line, close.ts) == (2, b"1795541433.2")
    assert (read.line, read.ts, read.dur_ns) == (1, b"1795541433.1", 200000000)


def test_events_come_in_the_order_of_completion() -> None:
    assert transcript(
        "7 read(3,  <unfinished ...>\n"
        "8 read(4,  <unfinished ...>\n"
        '9 write(5, "xy", 2 <unfinished ...>\n'
        '8 <... read resumed>"b", 1) = 1\n'
        "9 <... write resumed>) = 2\n"
        '7 <... read resumed>"a", 1) = 1\n'
    ) == ['2 8 read(4, "b", 1) = 1', '3 9 write(5, "xy", 2) = 2', '1 7 read(3, "a", 1) = 1']


def test_a_call_may_be_interrupted_more_than_once() -> None:
    assert transcript(
        "7 read(3 <unfinished ...>\n"
        "7 <... read resumed>, <unfinished ...>\n"
        "7 <... read resumed>\"ab\", 2) = 2\n"
    ) == ['1 7 read(3, "ab", 2) = 2']  # fmt: skip


@pytest.mark.parametrize(
    ("second", "ret"),
    [
        ("<... epoll_wait resumed> <unfinished ...>) = ?", "?"),
        ("<... epoll_wait resumed>  <unfinished ...>) = ?", "?"),
        ("<... epoll_wait resumed>) = ? <unavailable>", "? <unavailable>"),
        ("<... epoll_wait resumed>0x7f, 1, -1) = ? ERESTARTSYS (To be restarted)",
         "? ERESTARTSYS (To be restarted)"),
    ],
)  # fmt: skip
def test_a_second_half_without_a_value(second: str, ret: str) -> None:
    (event,) = parse(f"7 epoll_wait(4,  <unfinished ...>\n7 {second}\n")
    assert (event.args[0], event.ret, event.retval) == (b"4", ret.encode(), None)
    assert event.flags == JOINED


def test_detached_in_a_call() -> None:
    assert transcript(
        "7 read(3,  <detached ...>\n"
        "8 read(4,  <unfinished ...>\n"
        "8 <... read resumed> <detached ...>\n"
        "9 <... read resumed> <detached ...>\n"
        "10 exit_group(0 <unfinished ... exit status 0>\n"
        "11 read(5 <Cannot restart pid 11 with ptrace(PTRACE_CONT, x): No such process>\n"
    ) == [
        "1 7 read(3) = ?", "2 8 read(4) = ?", "4 9 read() = ?", "5 10 exit_group(0) = ?",
        "6 11 read(5) = ?",
    ]  # fmt: skip


def test_attached_in_a_call() -> None:
    (first, second) = parse(
        "7 ???( <unfinished ...>\n"
        "7 <... restart_syscall resumed>) = 5\n"
        "8 restart_syscall(<... resuming interrupted read ...> <unfinished ...>\n"
        "8 <... restart_syscall resumed>) = 1\n"
    )
    assert (first.name, first.args, first.retval) == (b"restart_syscall", (), 5)
    assert second.args == (b"<... resuming interrupted read ...>",)


def test_halves_without_the_other() -> None:
    events = parse(
        "7 read(3,  <unfinished ...>\n"  # its tracee goes on with another call
        "7 close(3) = 0\n"
        "7 <... write resumed>) = 1\n"  # no such call is open
        "8 read(4,  <unfinished ...>\n"
        "8 <... write resumed>) = 2\n"  # another call is open
        '9 <... read resumed>, "ab", 2) = 2\n'  # 6.16 begins with the comma
        "8 read(5,  <unfinished ...>\n"  # its tracee ends
        "8 +++ exited with 0 +++\n"
        "8 read(6,  <unfinished ...>\n"  # the text ends
    )
    assert [(brief(event), ORPHAN in event.flags) for event in events] == [
        ("1 7 read(3) = ?", True),
        ("2 7 close(3) = 0", False),
        ("4 8 read(4) = ?", True),
        ("5 8 write() = 2", True),
        ('6 9 read("ab", 2) = 2', True),
        ("7 8 read(5) = ?", True),
        ("8 8 EXIT 0", False),
        ("3 7 write() = 1", True),  # its value is its number: held to the end
        ("9 8 read(6) = ?", True),
    ]


def test_a_signal_leaves_a_call_open() -> None:
    assert transcript(
        "7 read(3,  <unfinished ...>\n"
        "7 --- SIGCHLD {si_signo=SIGCHLD} ---\n"
        "strace: Process 9 attached\n"
        "7 <... read resumed>\"ab\", 2) = 2\n"
    ) == [
        "2 7 SIGNAL SIGCHLD", "3 NOTE strace: Process 9 attached", '1 7 read(3, "ab", 2) = 2',
    ]  # fmt: skip


def test_pids_come_with_the_second_tracee_and_go_with_it() -> None:
    """Without -o there is no pid while there is one tracee."""
    assert transcript(
        "clone(child_stack=NULL <unfinished ...>\n"
        "[pid 8] close(3) = 0\n"
        "[pid 7] <... clone resumed>) = 8\n"
        "[pid 7] wait4(-1,  <unfinished ...>\n"
        "[pid 8] +++ exited with 0 +++\n"
        "<... wait4 resumed>NULL, 0, NULL) = 8\n"
    ) == [
        "2 8 close(3) = 0", "1 7 clone(child_stack=NULL) = 8", "5 8 EXIT 0",
        "4 7 wait4(-1, NULL, 0, NULL) = 8",
    ]  # fmt: skip


def test_a_threads_execve_takes_the_leaders_pid() -> None:
    assert transcript(
        "7 futex(0x1, FUTEX_WAIT <unfinished ...>\n"
        '9 execve("/bin/true", ["true"], NULL <unfinished ...>\n'
        "7 <... futex resumed>) = ?\n"
        "7 +++ superseded by execve in pid 9 +++\n"
        "7 <... execve resumed>) = 0\n"
    ) == [
        "1 7 futex(0x1, FUTEX_WAIT) = ?",
        "4 7 SUPERSEDED 9",
        '2 7 execve("/bin/true", ["true"], NULL) = 0',
    ]


def test_a_threads_execve_while_the_leaders_call_never_returns() -> None:
    """`<pid changed to …>` ends the thread's line in a log of its own (-ff)."""
    assert transcript(
        "7 pause( <unfinished ...>\n"
        '9 execve("/bin/true", ["true"], NULL <pid changed to 7 ...>\n'
        "7 +++ superseded by execve in pid 9 +++\n"
        "7 <... execve resumed>) = 0\n"
        "9 close(3) = 0\n"
    ) == [
        "1 7 pause() = ?", "3 7 SUPERSEDED 9", '2 7 execve("/bin/true", ["true"], NULL) = 0',
        "5 9 close(3) = 0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "after",
    [
        "7 +++ killed by SIGSYS +++",
        "7 +++ killed by SIGSYS (core dumped) +++",
        "7 --- SIGSYS {si_signo=SIGSYS, si_code=SYS_SECCOMP, si_syscall=__NR_mkdir} ---",
        "7 --- SIGSYS (Bad system call) @ 0 (0) ---",
    ],
)
@pytest.mark.parametrize("value", [83, 39, 1073741907])
def test_a_call_that_seccomp_stopped_returned_nothing(value: int, after: str) -> None:
    """The kernel leaves the call's number where its value would be (x86-64, i386, x32)."""
    mkdir, _ = parse(f'7 mkdir("a", 0700) = {value}\n{after}\n')
    assert (mkdir.retval, mkdir.flags) == (None, EventFlag.SELF_NUMBER)


@pytest.mark.parametrize(
    "after",
    [
        "7 close(3) = 0",
        "7 --- SIGSYS {si_signo=SIGSYS, si_code=SI_USER, si_pid=9, si_uid=0} ---",
        "7 --- SIGCHLD {si_signo=SIGCHLD} ---",
        "8 +++ killed by SIGSYS +++",
        "",
    ],
)
def test_a_value_that_happens_to_be_the_calls_number_stays(after: str) -> None:
    write = next(e for e in parse(f'7 write(1, "a", 1) = 1\n{after}\n') if e.name == b"write")
    assert (write.retval, write.flags) == (1, EventFlag.RETVAL)


def test_a_held_call_is_let_go_when_its_tracees_next_call_begins() -> None:
    """A live trace ends in the middle of the line of the call that blocks."""
    parser = Parser()
    assert parser.feed(b'7 write(1, "a", 1) = 1\n8 close(3) = 0\n7 rea').count(b"write") == 1
    (write,) = read_events(parser.feed(b"d("))
    assert (write.name, write.retval) == (b"write", 1)
    assert parser.feed(b"3, ") == b""


@pytest.mark.parametrize("step", [1, 7, 100])
def test_a_held_call_comes_before_a_line_that_is_cut(step: int) -> None:
    """It came after the pieces when they came whole, and before them when they came in part."""
    text = 'write(2, "kind", 4kind) = 4\nwrite(2, "Uncategorized", 13Uncategorized) = 13\n'
    events = parse(text, range(0, len(text), step), max_line=40)
    assert [(event.line, event.kind.name) for event in events] == [
        (1, "SYSCALL"), (2, "UNPARSED"), (2, "UNPARSED"),
    ]  # fmt: skip


def test_strace_writes_into_its_own_line() -> None:
    """Without -o its messages come between the parts of a line."""
    assert transcript(
        "prlimit64(0, RLIMIT_AS, NULL, strace: Process 9 attached\n"
        "{rlim_cur=1}) = 0\n"
        "[pid 7] clone3({flags=0}strace: Process 10 attached\n"
        " => {parent_tid=[10]}, 88) = 10\n"
        "[pid 7] futex(0x1, FUTEX_WAITstrace: Process 11 attached\n"
        " <unfinished ...>\n"
        "[pid 11] close(3) = 0\n"
        "[pid 7] <... futex resumed>) = 0\n"
    ) == [
        "1 - prlimit64(0, RLIMIT_AS, NULL, {rlim_cur=1}) = 0",
        "3 7 clone3({flags=0} => {parent_tid=[10]}, 88) = 10",
        "7 11 close(3) = 0",
        "5 7 futex(0x1, FUTEX_WAIT) = 0",
    ]


def test_the_tracee_writes_into_straces_line() -> None:
    """Its text cannot be told from an argument; the call is kept and marked."""
    events = parse('write(2, "hi\\n", 3hi\n)      = 3\nwrite(1, "\\n", 1\nmore\n)  = 1\n')
    assert [(brief(event), TORN in event.flags) for event in events] == [
        (r'1 - write(2, "hi\n", 3hi) = 3', True),
        ("4 UNPARSED more", False),
        (r'3 - write(1, "\n", 1) = 1', True),
    ]


def test_a_torn_call_without_its_end_is_unparsed() -> None:
    assert transcript("7 write(2, 3hi\n7 close(3) = 0\nread(3, \n") == [
        "1 UNPARSED 7 write(2, 3hi", "2 7 close(3) = 0", "3 UNPARSED read(3, ",
    ]  # fmt: skip


def test_old_releases_lost_braces() -> None:
    event = one('7 recvmsg(3, {msg_name(0)=NULL, msg_iov(1)=[{"a", 1}], 0) = 1\n')
    assert (event.args[0], event.retval) == (b"3", 1)

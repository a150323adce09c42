"""Arguments, decorations and return values of one complete line."""

from __future__ import annotations

import pytest

from capsule.events import EventFlag, EventKind
from tests.parsing import one


@pytest.mark.parametrize(
    ("inner", "args"),
    [
        ("", []),
        ("3", ["3"]),
        ("3, 4", ["3", "4"]),
        ("3,  4 ", ["3", "4"]),
        ("3, ", ["3"]),
        ("fd=0, buf=NULL", ["fd=0", "buf=NULL"]),  # -N
        ('"a, b", 1', ['"a, b"', "1"]),
        (r'"a\", b", 1', [r'"a\", b"', "1"]),
        (r'"a\\", 1', [r'"a\\"', "1"]),
        ('"a) = 0", 1', ['"a) = 0"', "1"]),
        (r'"\x61\x62"..., 9', [r'"\x61\x62"...', "9"]),
        ('["a", "b", ...], 1', ['["a", "b", ...]', "1"]),
        ("[/* 60 vars */], 1", ["[/* 60 vars */]", "1"]),
        ("{a=[1, 2], b={c, d}}, 1", ["{a=[1, 2], b={c, d}}", "1"]),
        ("[{WIFEXITED(s) && WEXITSTATUS(s) == 0}], 0", ["[{WIFEXITED(s) && WEXITSTATUS(s) == 0}]",
                                                        "0"]),
        ("makedev(0x88, 0x1), 2", ["makedev(0x88, 0x1)", "2"]),
        ("~[KILL, STOP], 8", ["~[KILL, STOP]", "8"]),
        ("{x} => {y}, 88", ["{x} => {y}", "88"]),
        ("1<<CAP_KILL|1<<CAP_CHOWN, 0", ["1<<CAP_KILL|1<<CAP_CHOWN", "0"]),
        ("0x3 /* A|B, C) = 0 */, 1", ["0x3 /* A|B, C) = 0 */", "1"]),
        ("1 /* a /* b */, c */, 2", ["1 /* a /* b */, c */", "2"]),
        ("1164 /* 2 in strace's PID NS */, 0", ["1164 /* 2 in strace's PID NS */", "0"]),
        ("1 /* never closed, 2", ["1 /* never closed", "2"]),
        ("3</tmp/a b>, 1", ["3</tmp/a b>", "1"]),
        ("3</tmp/a, b>, 1", ["3</tmp/a, b>", "1"]),
        ("3</tmp/a) = 0>, 1", ["3</tmp/a) = 0>", "1"]),
        (r"3</tmp/a\74b\76>, 1", [r"3</tmp/a\74b\76>", "1"]),
        (r'3</tmp/a\"b>, 1', [r'3</tmp/a\"b>', "1"]),
        (r"3</tmp/a\\>, 1", [r"3</tmp/a\\>", "1"]),
        ('3</tmp/a"b>, 1', ['3</tmp/a"b>', "1"]),  # releases that did not escape it
        ("3</f>(deleted), 1", ["3</f>(deleted)", "1"]),
        ("0</dev/null<char 1:3>>, 1", ["0</dev/null<char 1:3>>", "1"]),
        ("AT_FDCWD</home/a (b>, 1", ["AT_FDCWD</home/a (b>", "1"]),
        ("3<TCP:[1.2.3.4:5->6.7.8.9:10]>, 1", ["3<TCP:[1.2.3.4:5->6.7.8.9:10]>", "1"]),
        ("3<TCPv6:[[::1]:5->[::1]:6]>, 1", ["3<TCPv6:[[::1]:5->[::1]:6]>", "1"]),
        (r'3<UNIX-STREAM:[9,"s>) = 0, \"x"]>, 1', [r'3<UNIX-STREAM:[9,"s>) = 0, \"x"]>', "1"]),
        ('3<UNIX:[1->2,@"/tmp/.X11->0"]>, 1', ['3<UNIX:[1->2,@"/tmp/.X11->0"]>', "1"]),
        ("3<pipe:[5]>, 4<anon_inode:inotify>", ["3<pipe:[5]>", "4<anon_inode:inotify>"]),
        ("3<pid:7<sh> /* 9 in strace's PID NS */>, 1",
         ["3<pid:7<sh> /* 9 in strace's PID NS */>", "1"]),
        ("3</dev/ptmx<char 5:2 @/dev/pts/3>>, 1", ["3</dev/ptmx<char 5:2 @/dev/pts/3>>", "1"]),
        ("3<anon_inode:[eventfd]{eventfd-count=0, eventfd-id=1}>, 1",
         ["3<anon_inode:[eventfd]{eventfd-count=0, eventfd-id=1}>", "1"]),
        ("3<signalfd:[HUP USR1]>, 1", ["3<signalfd:[HUP USR1]>", "1"]),
        ("7<sh>, SIGTERM", ["7<sh>", "SIGTERM"]),
        ("7<a, b>, SIGTERM", ["7<a, b>", "SIGTERM"]),
        ("{fd=3</a, b>, events=POLLIN}", ["{fd=3</a, b>, events=POLLIN}"]),
        ("3<never closed, 2", ["3<never closed", "2"]),
        ("AT_FDCWD [u:r:t:s0:c1,c2], 1", ["AT_FDCWD [u:r:t:s0:c1,c2]", "1"]),  # --secontext
        ("{msg_name(0)=NULL, msg_iov(1)=[{x}], 0", ["{msg_name(0)=NULL, msg_iov(1)=[{x}], 0"]),
        ("a}, b", ["a}", "b"]),
        ("f) , 1", ["f)", "1"]),
        ("<... resuming interrupted nanosleep ...>", ["<... resuming interrupted nanosleep ...>"]),
    ],
)  # fmt: skip
def test_arguments_split_at_the_top_level_only(inner: str, args: list[str]) -> None:
    event = one(f"7 call({inner}) = 0\n")
    assert [arg.decode() for arg in event.args] == args
    assert (event.name, event.retval) == (b"call", 0)


@pytest.mark.parametrize(
    ("value", "ret", "retval", "errno", "dur_ns"),
    [
        ("0", "0", 0, None, None),
        ("-1", "-1", -1, None, None),
        ("007", "007", 7, None, None),
        ("022", "022", 18, None, None),
        ("0x7f3d", "0x7f3d", 0x7F3D, None, None),
        ("9223372036854775807", "9223372036854775807", 2**63 - 1, None, None),
        ("9223372036854775808", "9223372036854775808", None, None, None),
        ("0xffffffffff600000", "0xffffffffff600000", None, None, None),
        ("089", "089", None, None, None),
        ("12abc", "12abc", None, None, None),
        ("?", "?", None, None, None),
        ("? <unavailable>", "? <unavailable>", None, None, None),
        ("? ERESTARTSYS (To be restarted if SA_RESTART is set)",
         "? ERESTARTSYS (To be restarted if SA_RESTART is set)", None, "ERESTARTSYS", None),
        ("? ERESTART_RESTARTBLOCK (Interrupted by signal)",
         "? ERESTART_RESTARTBLOCK (Interrupted by signal)", None, "ERESTART_RESTARTBLOCK", None),
        ("-1 ENOENT (No such file or directory)", "-1 ENOENT (No such file or directory)", -1,
         "ENOENT", None),
        ("-1 ENOENT (Нет такого файла)", "-1 ENOENT (Нет такого файла)", -1, "ENOENT", None),
        ("-1 ENOENT", "-1 ENOENT", -1, "ENOENT", None),
        ("-1 EAGAIN (Try (again) = 0)", "-1 EAGAIN (Try (again) = 0)", -1, "EAGAIN", None),
        ("-1 (errno 530)", "-1 (errno 530)", -1, "530", None),
        ("3</etc/a b>", "3</etc/a b>", 3, None, None),
        ("3</tmp/f>(deleted)", "3</tmp/f>(deleted)", 3, None, None),
        ("3</tmp/a <0.5>", "3</tmp/a", 3, None, 500000000),  # a name that 4.x did not escape
        ("7<sh> /* 9 in strace's PID NS */", "7<sh> /* 9 in strace's PID NS */", 7, None, None),
        ("0 (Timeout)", "0 (Timeout)", 0, None, None),
        ("1 ([{fd=3, revents=POLLIN}])", "1 ([{fd=3, revents=POLLIN}])", 1, None, None),
        ("0x8002 (flags O_RDWR|O_LARGEFILE)", "0x8002 (flags O_RDWR|O_LARGEFILE)", 0x8002, None,
         None),
        ("0 <0.000006>", "0", 0, None, 6000),
        ("0 <0.000006123>", "0", 0, None, 6123),
        ("0 <540>", "0", 0, None, 540 * 10**9),
        ("-1 EINTR (Interrupted) <1.5>", "-1 EINTR (Interrupted)", -1, "EINTR", 1500000000),
        ("? <0.1>", "?", None, None, 100000000),
    ],
)  # fmt: skip
def test_what_a_call_returned(
    value: str, ret: str, retval: int | None, errno: str | None, dur_ns: int | None
) -> None:
    event = one(f"call(1, 2) = {value}\n")
    assert event.ret is not None
    assert (event.ret.decode(), event.retval, event.dur_ns) == (ret, retval, dur_ns)
    assert event.errno == (errno.encode() if errno else None)
    assert (EventFlag.RETVAL in event.flags) == (retval is not None)


@pytest.mark.parametrize(
    ("value", "injected"),
    [
        ("-1 EPERM (Operation not permitted) (INJECTED)", True),
        ("-1 EPERM (Operation not permitted) (INJECTED) (DELAYED)", True),
        ("7 (INJECTED: args, retval)", True),
        ("7 (INJECTED: args) <0.1>", True),
        ("3</a> (INJECTED)", True),
        ("3</a (INJECTED)>", False),
        ("7 (DELAYED)", False),
    ],
)
def test_injected_values_are_marked(value: str, injected: bool) -> None:
    assert (EventFlag.INJECTED in one(f"call() = {value}\n").flags) == injected


@pytest.mark.parametrize(
    "line",
    [
        "close(3)                                = 0",
        "close(3) = 0",
        "close(3)= 0",
        "close(3) = 0   ",
    ],
)
def test_blanks_around_the_value_mean_nothing(line: str) -> None:
    event = one(line)
    assert (event.args, event.ret, event.retval) == ((b"3",), b"0", 0)


@pytest.mark.parametrize(
    "name", ["read", "_llseek", "syscall_0x1b8", "syscall_1073742344", "SYS_318", "???", "????"]
)
def test_names_of_calls(name: str) -> None:
    event = one(f"{name}(0x1) = -1 ENOSYS (Function not implemented)\n")
    assert (event.kind, event.name) == (EventKind.SYSCALL, name.encode())


def test_a_name_of_more_than_63_bytes_is_none() -> None:
    assert one(f"{'a' * 63}(1) = 0").kind == EventKind.SYSCALL
    assert one(f"{'a' * 64}(1) = 0").kind == EventKind.UNPARSED


def test_bytes_that_are_not_utf8_come_through() -> None:
    event = one(b'open("caf\xe9", O_RDONLY) = -1 ENOENT (pas trouv\xe9)\n')
    assert event.args[0] == b'"caf\xe9"'
    assert event.ret == b"-1 ENOENT (pas trouv\xe9)"


def test_a_killed_call_prints_its_marker_inside() -> None:
    event = one("7 read(3,  <unfinished ...>) = ?\n")
    assert (event.args, event.ret, event.flags) == ((b"3",), b"?", 0)

"""The parser and its naive oracle agree, on what strace may print and on what it may not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parsing import parse
from tests.reference import NUMBERS, Reference
from tests.reference import parse as reference

REPO = Path(__file__).resolve().parents[2]

# A grammar of what strace prints. Few pids and names, so that halves meet.
PIDS = st.sampled_from(["7 ", "8   ", "[pid 7] ", "[pid    9] ", "7<sh> ", ""])
TIMES = st.sampled_from(
    ["", "", "12:00:01 ", "1795541433.084596 ", "     0.000123 ", "12:00:01.5 (+     0.1) "]
)
EXTRAS = st.sampled_from(["", "", "", "[ 257] ", "[00007f3d5915db1d] ", "[u:r:t:s0:c1,c2] "])
PREFIXES = st.builds("{}{}{}".format, PIDS, TIMES, EXTRAS)
NAMES = st.sampled_from(["read", "mkdir", "write", "execve", "futex", "???", "syscall_0x1b8"])
STRINGS = st.text(alphabet=st.sampled_from(list("ab,()[]{}<>= 0/*'\\\"é")), max_size=8).map(
    lambda text: '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
)
PATHS = st.text(alphabet=st.sampled_from(list("ab,() =0[]'")), max_size=6).map("/{}".format)
DECORATIONS = st.one_of(
    PATHS.map("<{}>".format),
    PATHS.map("<{}>(deleted)".format),
    STRINGS.map("<UNIX-STREAM:[1->2,{}]>".format),
    st.sampled_from(["</dev/null<char 1:3>>", "<TCP:[1.2.3.4:5->6.7.8.9:10]>", "<pipe:[5]>", ""]),
)
FDS = st.builds("{}{}".format, st.sampled_from(["0", "3", "AT_FDCWD"]), DECORATIONS)
SIMPLE = st.one_of(
    STRINGS,
    FDS,
    st.sampled_from(["NULL", "0x7f", "1<<CAP_KILL", "O_RDONLY|O_CLOEXEC", "~[KILL STOP]", "..."]),
    st.builds("{} /* {} */".format, st.just("5"), st.sampled_from(["x", "2 in strace's PID NS"])),
)
ARGUMENTS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.lists(inner, max_size=3).map(lambda items: "{a=" + ", b=".join(items) + "}"),
        st.builds("{} => {}".format, inner, inner),
    ),
    max_leaves=5,
)
VALUES = st.one_of(
    st.sampled_from(
        ["0", "1", "39", "83", "-1 ENOENT (No such file)", "?", "? ERESTARTSYS (To be)", "0644",
         "0x7f3d", "-1 (errno 530)", "1 ([{fd=3, revents=POLLIN}])", "7 (INJECTED) (DELAYED)"]
    ),
    FDS.filter(lambda fd: not fd.startswith("A")),
)  # fmt: skip
DURATIONS = st.sampled_from(["", "", " <0.000006>"])
TEXTS = st.builds(
    lambda args, value, duration, pad: (", ".join(args), f"){pad}= {value}{duration}"),
    st.lists(ARGUMENTS, max_size=4), VALUES, DURATIONS, st.sampled_from([" ", "     "]),
)  # fmt: skip


@st.composite
def whole_calls(draw: st.DrawFn) -> list[str]:
    args, end = draw(TEXTS)
    return [f"{draw(PREFIXES)}{draw(NAMES)}({args}{end}"]


@st.composite
def split_calls(draw: st.DrawFn) -> list[str]:
    """Two halves of one call, in one of three dialects, or only one of them."""
    args, end = draw(TEXTS)
    cut = draw(st.integers(0, len(args)))
    if args[cut:].startswith(" ") and not args[cut:].startswith((" =>", " /*")):
        cut += 1
    name, blank = draw(NAMES), draw(st.sampled_from(["", " "]))
    marker = draw(st.sampled_from(["unfinished ...", "unfinished ...", "detached ..."]))
    if draw(st.booleans()) and marker.startswith("un"):
        end = " <unfinished ...>) = ?"
    first = f"{draw(PREFIXES)}{name}({args[:cut]} <{marker}>"
    second = f"{draw(PREFIXES)}<... {name} resumed>{blank}{args[cut:]}{end}"
    return draw(st.sampled_from([[first, second], [first, second], [first], [second]]))


OTHERS = st.builds(
    "{}{}".format,
    PREFIXES,
    st.sampled_from(
        [
            "--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---",
            "--- SIGSYS {si_signo=SIGSYS, si_code=SYS_SECCOMP, si_syscall=__NR_mkdir} ---",
            "--- SIGSYS {si_signo=SIGSYS, si_code=SI_USER} ---",
            "--- stopped by SIGSTOP ---",
            "+++ exited with 0 +++",
            "+++ killed by SIGSYS (core dumped) +++",
            "+++ superseded by execve in pid 9 +++",
            "+++ superseded by execve in pid 7 +++",
            "[ Process PID=7 runs in 32 bit mode. ]",
            "strace: Process 9 attached",
            "read(3, strace: Process 9 attached",
            " <unfinished ...>",
            "\x1b[1mread\x1b[0m(3) = \x1b[32m5\x1b[0m",
            ")     = 1",
            "hello",
            "",
        ]
    ),
).map(lambda line: [line])


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    """Events whose lines are interleaved, each event's own in order."""
    parts = draw(st.lists(st.one_of(whole_calls(), split_calls(), split_calls(), OTHERS),
                          max_size=10))  # fmt: skip
    lines: list[str] = []
    while parts:
        part = draw(st.sampled_from(range(min(len(parts), 3))))
        lines.append(parts[part].pop(0))
        if not parts[part]:
            del parts[part]
    ending = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return (ending.join(lines) + draw(st.sampled_from(["", ending]))).encode()


TOKENS = [
    b"7 ", b"[pid 8] ", b"9<sh> ", b"  ", b" ", b"12:00:01.5 ", b"1700000000.123 ", b"     0.5 ",
    b"(+ 0.1) ", b"[ 257] ", b"[00007f] ", b"[u:r:t:s0] ", b"read(", b"mkdir(", b"???(", b"write(",
    b"<... read resumed>", b"<... mkdir resumed>", b"<... write resumed> ", b" <unfinished ...>",
    b"<... execve resumed>", b" <detached ...>", b" <pid changed to 7 ...>", b"execve(",
    b"<unfinished ... exit status 1>", b") = 0", b") = 83", b")  = ?", b") = -1 ENOENT (No)",
    b") = 3</a b>", b") = 1 ([{fd=3}])", b" <0.000006>", b" (INJECTED)", b" (DELAYED)", b") = 0644",
    b"(errno 5)", b" ? ERESTARTSYS (x)", b") = 0x7f", b")", b"(", b"[", b"]", b"{", b"}", b",",
    b'"', b"\\", b'"a, )"', b'"x\\"', b"...", b"/*", b"*/", b"/* x */", b"<", b">", b"1<<CAP_X",
    b"3</dev/null<char 1:3>>", b'4<UNIX:[1->2,"/a>b"]>', b"5<TCP:[1:2->3:4]>", b"AT_FDCWD</x>",
    b"-", b"=", b" = ", b"0", b"12", b"abc", b"\n", b"\n", b"\n", b"\r\n", b"\n7 ", b"\n[pid 8] ",
    b"\n8 ", b"--- SIGSYS {si_code=SYS_SECCOMP} ---", b"--- SIGCHLD {si_code=SI_USER} ---",
    b"--- stopped by SIGSTOP ---", b"+++ exited with 0 +++", b" > /lib", b" | 0000", b"NULL",
    b"+++ killed by SIGSYS (core dumped) +++", b"+++ superseded by execve in pid 8 +++",
    b"+++ superseded by execve in pid 7 +++", b"strace: Process 9 attached", b"\x1b[1m", b"\x1b[0m",
    b"[ Process PID=7 runs in 32 bit mode. ]", b"\xff", b"\0", b" ---", b" +++", b"read(3",
    b"Process 5 detached", b"\n% time calls\n", b"\n--- ---\n", b" * 2 bytes in buffer ",
]  # fmt: skip
SOUP = st.lists(st.sampled_from(TOKENS), max_size=60).map(b"".join)
"""Pieces of the grammar in no order: what a parser can be confused by."""

CUTS = st.lists(st.integers(0, 400), max_size=20).map(sorted)


@given(logs(), CUTS)
def test_any_log_in_any_pieces(log: bytes, cuts: list[int]) -> None:
    assert parse(log, cuts) == reference(log)


@given(logs())
def test_any_log_byte_by_byte(log: bytes) -> None:
    assert parse(log, range(1, len(log))) == reference(log)


@settings(max_examples=1000)
@given(SOUP, CUTS, st.sampled_from([1 << 28, 1 << 28, 40, 5]))
def test_any_mixture_of_strace_and_garbage(text: bytes, cuts: list[int], max_line: int) -> None:
    assert parse(text, cuts, max_line) == Reference(max_line).parse(text)


@given(st.binary(max_size=200), CUTS)
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    assert parse(data, cuts) == reference(data)


@given(st.data())
def test_any_damage_to_a_real_log(data: st.DataObject) -> None:
    """Bytes of a recorded log lost, doubled or changed."""
    path = data.draw(st.sampled_from(sorted((REPO / "tests/data/parse").glob("*.strace"))))
    log = bytearray(path.read_bytes()[:6000])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(log) - 1))
        log[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    assert parse(bytes(log)) == reference(bytes(log))


@pytest.mark.parametrize("bits", [64, 32])
def test_the_parser_knows_the_numbers_of_the_kernels_headers(bits: int) -> None:
    header = Path(f"/usr/include/x86_64-linux-gnu/asm/unistd_{bits}.h").read_text()
    for name, number in re.findall(r"#define __NR_(\w+) (\d+)", header):
        assert int(number) in NUMBERS[name.encode()], name
        log = f"7 {name}() = {number}\n7 +++ killed by SIGSYS +++\n"
        assert parse(log)[0].retval is None, name

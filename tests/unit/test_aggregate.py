"""What becomes one Action, when it is written, and that nothing is lost or counted twice."""

from __future__ import annotations

import contextlib
import random

from hypothesis import given
from hypothesis import strategies as st

from capsule._parse import Parser
from capsule.aggregate import Aggregator
from capsule.enrich import Enricher
from capsule.syscalls import NAMES
from tests.unit.stages import Run, actions, run, stamped


def kinds(found: list[dict[str, object]]) -> list[object]:
    return [action["kind"] for action in found]


def test_reads_of_one_file_are_one_action_with_their_bytes() -> None:
    (read,) = actions(
        stamped("""
        10 read(3</etc/hosts>, "a", 4096) = 100
        10 read(3</etc/hosts>, "b", 4096) = 28
        10 read(3</etc/hosts>, "", 4096) = 0
        10 read(3</etc/hosts>, 0x1, 4096) = -1 EFAULT (Bad address)
    """)
    )
    assert list(read)[:10] == [
        "kind", "target", "count", "bytes", "errors", "first_ns", "last_ns", "proc", "pid", "lines",
    ]  # fmt: skip
    assert (read["kind"], read["target"]) == ("file.read", "/etc/hosts")
    assert (read["count"], read["bytes"], read["errors"]) == (4, 128, {"EFAULT": 1})
    assert read["last_ns"] - read["first_ns"] == 3000
    assert read["lines"] == [1, 4]


def test_window_closes_when_event_time_passes_50_ms() -> None:
    trace = stamped("10 getpid() = 10\n" * 3, step_ns=30_000_000)
    assert [action["count"] for action in actions(trace)] == [2, 1]


def test_pending_is_written_before_an_immediate_kind_of_the_same_process() -> None:
    done = Run()
    found = done.feed(
        stamped("""
        10 getpid() = 10
        10 execve("/bin/true", ["true"], 0x1) = 0
    """)
    )
    assert kinds(found) == ["proc.info", "proc.exec"]


def test_exit_call_and_end_are_one_action() -> None:
    found = actions(
        stamped("""
        10 getpid() = 10
        10 exit_group(3) = ?
        10 +++ exited with 3 +++
    """)
    )
    assert kinds(found) == ["proc.info", "proc.exit"]
    assert (found[1]["count"], found[1]["lines"], found[1]["status"]) == (2, [2, 3], 3)


def test_exit_call_whose_end_was_not_seen_is_written_by_itself() -> None:
    assert kinds(actions("10 exit_group(3) = ?\n")) == ["sys.exit"]


def test_tick_closes_what_event_time_would_have_closed() -> None:
    done = Run()
    assert done.feed(stamped("10 getpid() = 10\n", start_ns=10**18)) == []
    assert done.aggregator.tick(10**18 + 49_999_999) == b""
    assert b"proc.info" in done.aggregator.tick(10**18 + 50_000_000)
    assert done.aggregator.finish() == b""


def test_events_without_stamps_close_by_number() -> None:
    found = actions("10 getpid() = 10\n" * 5000)
    assert [action["count"] for action in found] == [4096, 904]
    assert "first_ns" not in found[0]


def test_clock_that_is_set_back_does_not_stop_the_windows() -> None:
    early = stamped("10 getpid() = 10\n" * 2, start_ns=10**18, step_ns=60_000_000)
    late = stamped("10 getpid() = 10\n", start_ns=2 * 10**18)
    assert [action["count"] for action in actions(late + early)] == [1, 1, 1]


def test_name_that_is_not_utf8_is_escaped_and_counted() -> None:
    (made,) = actions('10 mkdir("/tmp/caf\\351", 0777) = 0\n')
    assert made["target"] == "/tmp/caf\\xe9"


def test_values_over_63_bits_do_not_stop_the_count() -> None:
    trace = "10 read(3</x>, 0x1, 1) = 9223372036854775807\n" * 3
    (read,) = actions(trace)
    assert read["bytes"] == 2**63 - 1


def test_notes_unparsed_lines_and_unknown_calls_are_counted() -> None:
    trace = (
        "10 syscall_0x1b8(0, 0) = -1 ENOSYS (Function not implemented)\n"
        "strace: Process 11 attached\n"
        "some words of the program itself\n"
    )
    found = actions(trace)
    assert sorted(action["kind"] for action in found) == ["sys.note", "sys.unknown", "sys.unparsed"]


LINES = (
    "getpid() = {pid}",
    'openat(AT_FDCWD</w>, "a/b", O_RDONLY) = 3</w/a/b>',
    'openat(AT_FDCWD</w>, "n", O_RDONLY) = -1 ENOENT (No such file or directory)',
    'read(3</w/a/b>, "x"..., 4096) = 4096',
    "close(3</w/a/b>) = 0",
    "clone(child_stack=NULL, flags=SIGCHLD) = {other}",
    "clone(child_stack=NULL, flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD) = {other}",
    "vfork( <unfinished ...>",
    "<... vfork resumed>) = {other}",
    'execve("/bin/x", ["x", "y"], 0x1 /* 3 vars */) = 0',
    "exit_group(1) = ?",
    "+++ exited with 1 +++",
    "+++ killed by SIGKILL +++",
    "--- SIGCHLD {{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid={other}, si_uid=0}} ---",
    "+++ superseded by execve in pid {other} +++",
    "unshare(CLONE_NEWPID) = 0",
    'chdir("q") = 0',
    "setresuid(1, 1, 1) = 0",
    "socket(AF_INET, SOCK_STREAM, 0) = 4<socket:[7]>",
    (
        "connect(4<socket:[7]>, {{sa_family=AF_INET, "
        'sin_port=htons(80), sin_addr=inet_addr("1.2.3.4")}}, 16) = 0'
    ),
    "dup(5) = 6",
    "close(6) = 0",
    "pipe2([5, 6], O_CLOEXEC) = 0",
    "setuid({huge}) = 0",
    "setresuid({huge}, -1, {huge}) = 0",
    "getuid() = {huge}",
    "getresuid([{huge}], [{huge}], [{huge}]) = 0",
    "clone(child_stack=NULL, flags=SIGCHLD) = {huge}",
    "vfork() = {huge} /* {huge} in strace's PID NS */",
    "--- SIGTERM {{si_signo=SIGTERM, si_code=SI_USER, si_pid={huge}}} ---",
    "+++ exited with {huge} +++",
    "umask({huge}) = 0",
    "close({huge}) = 0",
    "dup2({huge}, 3) = {huge}",
    "close_range(0, {huge}, 0) = 0",
    "kill({huge}, SIGKILL) = 0",
    "read({huge}, 0x1, {huge}) = {huge}",
    "mmap(NULL, {huge}, PROT_READ, MAP_PRIVATE, {huge}, 0) = {huge}",
    'openat({huge}, "x", O_RDONLY) = {huge}',
    "execve({huge}, {huge}, {huge}) = 0",
    'chroot("/j") = 0',
    "bind({huge}, {huge}, {huge}) = 0",
    "what is this",
    "nosuchcall(1) = 0",
    "wait4(-1, [{{WIFEXITED(s) && WEXITSTATUS(s) == 1}}], 0, NULL) = {other}",
)

PIDS = st.integers(10, 14)
STEPS = st.lists(
    st.tuples(st.sampled_from(LINES), PIDS, PIDS, st.sampled_from([0, 1, 1000, 60_000, 2_000_000])),
    max_size=80,
)


def text_of(steps: list[tuple[str, int, int, int]], with_pid: bool = True) -> bytes:
    now_us = 1_700_000_000_000_000
    out = []
    for line, pid, other, step_us in steps:
        now_us += step_us
        stamp = f"{now_us // 10**6}.{now_us % 10**6:06d}"
        prefix = f"{pid} {stamp} " if with_pid else f"{stamp} "
        huge = (2**31, 2**32, 2**63, 2**64, 10**30, -1, -(2**63))[(pid + other) % 7]
        out.append(prefix + line.format(pid=pid, other=other, huge=huge) + "\n")
    return "".join(out).encode()


@given(STEPS, st.booleans())
def test_every_event_is_counted_in_exactly_one_action(
    steps: list[tuple[str, int, int, int]], with_pid: bool
) -> None:
    run(text_of(steps, with_pid))  # `finish` holds the sums together


@given(STEPS, st.data())
def test_batch_that_is_damaged_is_refused_or_survived(
    steps: list[tuple[str, int, int, int]], data: st.DataObject
) -> None:
    """A stage may refuse what no stage before it writes (ValueError); nothing else may happen."""
    parser = Parser(NAMES)
    batch = parser.feed(text_of(steps)) + b""
    facts = Enricher().feed(batch)
    for whole, stage in ((batch, Enricher()), (facts, Aggregator())):
        damaged = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 4))):
            if damaged:
                at = data.draw(st.integers(0, len(damaged) - 1))
                damaged[at] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(damaged)))
        for blob in (bytes(damaged), bytes(damaged[:cut])):
            with contextlib.suppress(ValueError):
                stage.feed(blob)
                stage.finish()


@given(STEPS, st.integers(0, 2**32))
def test_same_trace_gives_the_same_actions_however_it_is_cut(
    steps: list[tuple[str, int, int, int]], seed: int
) -> None:
    text = text_of(steps)
    chance = random.Random(seed)
    pieces = []
    at = 0
    while at < len(text):
        size = chance.randint(1, 400)
        pieces.append(text[at : at + size])
        at += size
    assert run(pieces).out == run(text).out

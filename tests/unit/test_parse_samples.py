"""Real logs: those recorded beside tests/data/parse/record.py, and a corpus where there is one."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from capsule.events import Event, EventFlag, EventKind
from tests.parsing import parse
from tests.reference import parse as reference

REPO = Path(__file__).resolve().parents[2]
SAMPLES = sorted((REPO / "tests/data/parse").glob("*.strace"))
CORPUS_DIR = Path(os.environ.get("CAPSULE_CORPUS", REPO.parent / "shared/corpus"))
CORPUS = sorted(CORPUS_DIR.glob("*.strace"))


def name_of(path: Path) -> str:
    return path.stem


def sample(name: str) -> list[Event]:
    return parse((REPO / f"tests/data/parse/{name}.strace").read_bytes())


def calls(events: list[Event], name: bytes) -> list[Event]:
    return [event for event in events if event.name == name and event.kind is EventKind.SYSCALL]


@pytest.mark.parametrize("path", SAMPLES, ids=name_of)
def test_every_line_of_a_sample_is_understood(path: Path) -> None:
    events = parse(path.read_bytes())
    assert events == reference(path.read_bytes())
    assert not [event.raw for event in events if event.kind is EventKind.UNPARSED]
    # strace saw each call from its beginning, but for those it attached in or detached in.
    orphans = [event.name for event in events if EventFlag.ORPHAN in event.flags]
    assert orphans == ([b"restart_syscall"] if path.stem == "attach" else [])


def test_base_gives_every_event_its_pid_and_time() -> None:
    events = sample("base")
    assert all(event.pid and event.ts_ns for event in events)
    execs = calls(events, b"execve")
    assert [event.args[0] for event in execs if event.retval == 0] == [
        b'"/usr/bin/sh"', b'"/usr/bin/ls"', b'"/usr/bin/cat"', b'"/bin/false"',
    ]  # fmt: skip
    assert [event.retval for event in events if event.kind is EventKind.EXIT] == [0, 0, 1, 1]


def test_thread_execve_is_the_leaders() -> None:
    events = sample("thread-execve")
    pids = {event.pid for event in events if event.kind is EventKind.EXIT}
    assert {event.pid for event in calls(events, b"execve")} == pids


@pytest.mark.parametrize("name", ["seccomp-kill", "seccomp-trap"])
def test_seccomp_is_no_success(name: str) -> None:
    (mkdir,) = calls(sample(name), b"mkdir")
    assert (mkdir.ret, mkdir.retval, mkdir.flags) == (b"83", None, EventFlag.SELF_NUMBER)


@pytest.mark.parametrize("name", ["paths-y", "paths-x", "paths-xx"])
def test_paths_hide_delimiters(name: str) -> None:
    events = sample(name)
    assert {len(event.args) for event in calls(events, b"openat")} <= {3, 4}
    assert {len(event.args) for event in calls(events, b"newfstatat")} == {4}
    assert {len(event.args) for event in calls(events, b"write")} == {3}
    assert {len(event.args) for event in calls(events, b"close")} == {1}


def test_a_unix_socket_name_with_all_delimiters() -> None:
    events = sample("sockets-yy")
    (listen,) = calls(events, b"listen")
    assert re.fullmatch(rb'3<UNIX-STREAM:\[\d+,"s>\) = 0, \\"x"\]>', listen.args[0])
    assert [event.ret for event in calls(events, b"poll")] == [
        b"0 (Timeout)", b"1 ([{fd=3, revents=POLLIN}])",
    ]  # fmt: skip


def test_odd_calls() -> None:
    events = sample("odd")
    assert [event.retval for event in calls(events, b"umask")] == [0o22, 0o22]
    (unknown,) = calls(events, b"syscall_0x270f")
    assert unknown.errno == b"ENOSYS"
    (flags,) = calls(events, b"fcntl")
    assert (flags.retval, flags.ret) == (0x8000, b"0x8000 (flags O_RDONLY|O_LARGEFILE)")


def test_all_prefixes_at_once() -> None:
    events = sample("all-prefixes")
    assert all(event.pid and re.fullmatch(rb"\d\d:\d\d:\d\d\.\d{6}", event.ts or b"")
               for event in events)  # fmt: skip
    assert all(event.dur_ns for event in events if event.kind is EventKind.SYSCALL)


def test_pids_of_another_namespace() -> None:
    (getpid,) = calls(sample("pid-namespace"), b"getpid")
    assert getpid.retval == 1
    assert re.fullmatch(rb"1<sh> /\* \d+ in strace's PID NS \*/", getpid.ret or b"")


def test_injected_values_say_so() -> None:
    events = sample("inject")
    for name in (b"umask", b"fcntl"):
        assert {EventFlag.INJECTED in event.flags for event in calls(events, name)} == {True}


@pytest.mark.parametrize(
    ("name", "notes"), [("stack", b" > "), ("dump", b" | "), ("summary", b"-% 1 ")]
)
def test_what_strace_adds_is_notes(name: str, notes: bytes) -> None:
    raws = [event.raw or b"" for event in sample(name) if event.kind is EventKind.NOTE]
    assert raws
    assert all(raw[:3] == notes or raw[:1] in notes for raw in raws)


# What of the corpus is not strace's text, and why. All of it came to a terminal that strace
# shared with its tracee (no -o), or was put there by who kept the log.
UNPARSED: dict[str, tuple[int, str]] = {
    "container-alpine": (3, "the container runtime tells what it does"),
    "cuda-saxpy-f": (24, "nvprof's report of the tracee"),
    "dirac-processpool-threads": (87, "a letter that quotes several traces and the tracee's code"),
    "pip-socrates": (2, "pip's error messages"),
    "sh-pipeline-i386-f": (3, "a heading that the keeper of the log wrote, and blank lines"),
    "tokio-uring-cat": (2, 'the tracee wrote a lone `"` into the line: no string of it is certain'),
}


@pytest.mark.skipif(not CORPUS, reason=f"no corpus in {CORPUS_DIR}")
@pytest.mark.parametrize("path", CORPUS, ids=name_of)
def test_every_line_of_the_corpus_is_classified(path: Path) -> None:
    events = parse(path.read_bytes())
    assert events == reference(path.read_bytes())
    unparsed = [event.raw for event in events if event.kind is EventKind.UNPARSED]
    count, _reason = UNPARSED.get(path.stem, (0, ""))
    assert len(unparsed) == count, unparsed

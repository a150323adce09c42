"""capsule tail, runs, show: what people and machines get to see of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from capsule.cli import main
from capsule.commands import tail as tail_command
from capsule.commands._lines import Lines, harmless
from capsule.log import Logger
from capsule.records import Follower
from tests.unit.chainlogs import action, make_log

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def capsule_main(
    log_dir: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.setenv("TZ", "UTC")

    def run(*args: object) -> tuple[int, str, str]:
        status = main([str(arg) for arg in args])
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture
def log(log_dir: Path) -> Path:
    path = log_dir / "20251124T160000Z-0123456789ab.jsonl"
    make_log(path, actions=19)
    return path


def seqs(text: str) -> list[int]:
    return [json.loads(line)["seq"] for line in text.splitlines()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], range(14, 24)),
        (["-n", "3"], range(21, 24)),
        (["-n", "0"], []),
        (["-n", "all"], range(24)),
        (["--from", "20"], range(20, 24)),
        (["--from", "4", "-n", "2"], range(4, 6)),
        (["--from", "99"], []),
        (["--kind", "cred.change"], []),
        (["--kind", "file.read", "-n", "2"], [22, 21][::-1]),
        (["--kind", "file", "-n", "1"], [22]),
        (["--kind", "f*.r*", "--from", "21"], [21, 22]),
        (["-f"], range(14, 24)),  # it has ended: nothing to wait for
        (["-f", "-n", "2"], [22, 23]),
        (["-f", "--from", "22"], [22, 23]),
        (["-f", "-n", "all"], range(24)),
    ],
)
def test_which_records(capsule_main: Run, log: Path, words: list[str], expected: list[int]) -> None:
    status, out, _ = capsule_main("tail", "--json", *words)
    assert status == 0
    assert seqs(out) == list(expected)


def test_json_is_the_exact_lines(capsule_main: Run, log: Path) -> None:
    _, out, _ = capsule_main("tail", "--json", "-n", "all")
    assert out.encode() == log.read_bytes()


def test_lines_for_people(capsule_main: Run, log: Path) -> None:
    _, out, _ = capsule_main("tail", "-n", "all")
    lines = out.splitlines()
    assert lines[0].split(maxsplit=4)[3:] == ["start", lines[0].split(maxsplit=4)[4]]
    assert "cat caf\\xe9" in lines[0]
    assert lines[1].split() == [
        "16:00:00.000000", "4242", "cat", "file.read", "/srv/data/0\\x0a\\u{202e}", "ENOENT",
    ]  # fmt: skip
    assert lines[2].endswith("  x2 512B")
    assert lines[6].endswith("2 lost: a test wants one")
    assert "\x1b" not in out
    assert all(line.isprintable() for line in lines)
    assert {line.index("file.read") for line in lines if "file.read" in line} == {37}


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"type": "action", "kind": "file.open", "errors": {"EPERM": 2}}
    assert "\x1b[31mEPERM x2\x1b[0m" in Lines(colour=True).render(record)
    assert "\x1b" not in Lines(colour=False).render(record)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢", "plain é 漢"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb\u2066c", "a\\u{202e}b\\u{2066}c"),
        ("\x9b31m\x7f\0", "\\x9b31m\\x7f\\x00"),
        ("line\u2028sep\u200b", "line\\u{2028}sep\\u{200b}"),
    ],
)
def test_a_name_cannot_drive_the_terminal(text: str, shown: str) -> None:
    assert harmless(text) == shown
    line = Lines(colour=False).render({"type": "action", "kind": text, "exe": text, "target": text})
    assert line.isprintable()


def test_hostile_members_do_not_stop_it() -> None:
    lines = Lines(colour=True)
    for value in (None, -1, 2**80, [], {}, "x", True, {"a": [1]}, 1.5):
        for kind in ("action", "start", "gap", "checkpoint", "end", "other"):
            names = ("kind", "target", "count", "bytes", "errors", "first_ns", "pid", "exe",
                     "argv", "why", "exit", "time_ns", "seq", "run")  # fmt: skip
            lines.render({"type": kind, **dict.fromkeys(names, value)})
            lines.render({"type": kind})


class Tail:
    """A real `capsule tail -f`."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "capsule", "tail", "-f", "--json", *words]
        self.process = subprocess.Popen(command, stdout=-1, stderr=-1, bufsize=0)

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def next_seq(self) -> int:
        assert self.process.stdout is not None
        seq: int = json.loads(self.process.stdout.readline())["seq"]
        return seq

    def end(self) -> tuple[int, bytes, bytes]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def test_following_until_the_end_record(log_dir: Path) -> None:
    log = Logger(log_dir / "live.jsonl", {"run": "live"})
    with Tail() as tail:
        assert tail.next_seq() == 0
        for seq in range(1, 6):
            log.feed(action(seq))
            log.tick()
            assert tail.next_seq() == seq
        log.feed(action(9))
        log.close({})
        assert tail.next_seq() == 6
        assert tail.next_seq() == 7
        assert tail.end() == (0, b"", b"")


def test_following_stops_when_the_writer_is_gone(log_dir: Path) -> None:
    log = Logger(log_dir / "live.jsonl", {"run": "live"})
    with Tail("--from", "1") as tail:
        log.feed(action(1))
        log.tick()
        assert tail.next_seq() == 1
        log.abandon()
        with (log_dir / "live.jsonl").open("ab") as file:
            file.write(b'{"seq":2')  # torn, as a crash leaves it
        status, out, err = tail.end()
    assert (status, out) == (3, b"")
    assert b"the writer is gone; the log has no end record" in err


def test_following_across_rotation(log_dir: Path) -> None:
    log = Logger(log_dir / "live.jsonl", {"run": "live"}, rotate_bytes=300)
    with Tail("live", "--kind", "file.read") as tail:
        for number in range(6):
            expected = log.seq + 1
            log.feed(action(number))
            log.checkpoint()
            assert tail.next_seq() == expected
        log.close({})
        assert tail.end()[0] == 0
    assert (log_dir / "live.3.jsonl").exists()


def test_a_rotation_while_tail_f_starts_skips_nothing(
    log_dir: Path, capsule_main: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Logger(log_dir / "live.jsonl", {"run": "live"}, rotate_bytes=300)
    look_back = tail_command.backwards
    ended: list[int] = []

    def rotated_meanwhile(path: Path) -> Iterator[bytes]:
        found = list(look_back(path))
        if not ended:
            for number in range(6):
                log.feed(action(number))
                log.checkpoint()
            ended.append(log.close({}).seq)
        return iter(found)

    monkeypatch.setattr(tail_command, "backwards", rotated_meanwhile)
    status, out, _ = capsule_main("tail", "-f", "--json", "-n", "all")
    assert (status, seqs(out)) == (0, list(range(ended[0] + 1)))


def test_what_is_written_between_the_end_of_a_file_and_its_successor_is_read(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log_dir / "live.jsonl"
    log = Logger(path, {"run": "live"}, rotate_bytes=800)
    follower = Follower(path)
    read = os.read

    def written_behind(fd: int, count: int) -> bytes:
        block = read(fd, count)
        if not block and not (log_dir / "live.1.jsonl").exists():
            log.feed(action(1))
            log.checkpoint()
            log.feed(action(2))
            log.close({})
        return block

    monkeypatch.setattr(os, "read", written_behind)
    lines = [*follower.read(), *follower.read()]
    follower.close()
    assert (log_dir / "live.1.jsonl").exists()
    assert [json.loads(line)["seq"] for line in lines] == list(range(log.seq + 1))


def test_a_reader_that_leaves_is_no_error(log: Path) -> None:
    command = [sys.executable, "-m", "capsule", "tail", "-n", "all", "--json"]
    with subprocess.Popen(command, stdout=-1, stderr=-1) as tail:
        assert tail.stdout is not None
        tail.stdout.close()
        assert tail.stderr is not None
        assert tail.stderr.read() == b""
    assert tail.returncode == 0


# -- runs ---------------------------------------------------------------------------------


def test_runs(capsule_main: Run, log: Path, log_dir: Path) -> None:
    make_log(log_dir / "20260101T000000Z-cut.jsonl", run="20260101T000000Z-cut", seal=False)
    live = Logger(log_dir / "20270101T000000Z-live.jsonl", {"run": "20270101T000000Z-live"})
    (log_dir / "0.jsonl").write_bytes(b"no log\n")
    (log_dir / "1.jsonl").write_bytes(b"")
    status, out, err = capsule_main("runs", "--json")
    found = {entry["run"]: entry for entry in map(json.loads, out.splitlines())}
    assert (status, err) == (0, "")
    assert [(run, entry["state"]) for run, entry in found.items()] == [
        ("20270101T000000Z-live", "live"),
        ("20260101T000000Z-cut", "incomplete"),
        ("20251124T160000Z-0123456789ab", "complete"),
        ("1", "incomplete"),
        ("0", "unreadable"),
    ]
    complete = found["20251124T160000Z-0123456789ab"]
    assert complete["records"] == 24
    assert complete["bytes"] == log.stat().st_size
    assert complete["exit"] == {"status": 0}
    assert complete["argv"] == ["cat", "caf\\xe9"]
    assert complete["duration_ns"] > 0
    live.abandon()
    _, out, _ = capsule_main("runs")
    rows = out.splitlines()
    assert rows[0].split() == [
        "RUN",
        "STARTED",
        "TOOK",
        "SIZE",
        "RECORDS",
        "EXIT",
        "STATE",
        "COMMAND",
    ]
    assert rows[1].split()[-2:] == ["incomplete", "-"]
    assert "complete    cat 'caf\\xe9'" in rows[3]
    assert "2025-11-24 16:00:00" in rows[3]


@pytest.mark.parametrize("value", [None, -1, 2**80, 2**63, [], {}, "x", True, 1.5, {"seq": 0}])
def test_hostile_starts_and_ends_do_not_stop_the_list(
    capsule_main: Run, log: Path, log_dir: Path, value: object
) -> None:
    fields = ("time_ns", "argv", "run", "exit", "kind", "count", "seq", "clocks", "uid")
    text = json.dumps(dict.fromkeys(fields, value))[1:-1]
    for name, kinds in (("3-a", ("start", "end")), ("3-b", ("start", "checkpoint", "action"))):
        lines = [f'{{"seq":{seq},"type":"{kind}",{text}}}\n' for seq, kind in enumerate(kinds)]
        (log_dir / f"{name}.jsonl").write_text("".join(lines))
    for words in (
        ["runs"],
        ["runs", "--json"],
        ["tail", "3-a"],
        ["tail", "3-b"],
        ["show", "3-a", "0"],
    ):
        status, out, err = capsule_main(*words)
        assert (status, err) == (0, ""), words
        assert len(out.splitlines()) >= 2
    assert capsule_main("verify", "3-a")[0] == 1


def test_no_runs(capsule_main: Run, log_dir: Path) -> None:
    assert capsule_main("runs") == (0, "", f"capsule: no run in {log_dir} yet\n")


# -- show ---------------------------------------------------------------------------------


def test_show(capsule_main: Run, log: Path) -> None:
    line = log.read_bytes().splitlines()[3]
    status, out, _ = capsule_main("show", "2025", "3", "--json")
    assert (status, out.encode()) == (0, line + b"\n")
    status, out, _ = capsule_main("show", "latest", "3")
    shown = dict(row.split(maxsplit=1) for row in out.splitlines())
    assert shown["target"] == "/srv/data/2\\x0a\\u{202e}"
    assert shown["first_ns"] == "1764000000002000000  (2025-11-24 16:00:00.002000000 UTC)"
    assert shown["errors"] == "{}"
    assert shown["hash"] == json.loads(line)["hash"]


@pytest.mark.parametrize("seq", [24, 10**30, -1])
def test_show_what_is_not_there(capsule_main: Run, log: Path, seq: int) -> None:
    words = ["show", "latest", "--", str(seq)] if seq < 0 else ["show", "latest", str(seq)]
    status, out, err = capsule_main(*words)
    assert (status, out) == (2, "")
    assert f"has no record {seq}" in err


def test_tail_of_nothing_says_what_to_do(capsule_main: Run, log_dir: Path) -> None:
    status, _, err = capsule_main("tail")
    assert status == 2
    assert "record one with `capsule trace -- COMMAND`" in err
    (log_dir / "x.jsonl").write_bytes(b"[1]\n")
    status, _, err = capsule_main("tail", "x")
    assert status == 2
    assert "is not a record" in err
    assert os.listdir(log_dir) == ["x.jsonl"]

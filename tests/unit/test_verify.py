"""capsule verify: what it prints and returns; rotated logs; golden logs; resuming."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from capsule import logdir
from capsule.cli import main
from capsule.log import Logger
from capsule.verify import Verifier
from tests import independent_verifier
from tests.unit.chainlogs import Keys, action, make_log
from tests.unit.forge import edited, rechained, resealed, swapped

GOLDEN = Path(__file__).parents[1] / "data" / "log"
RUN = "20251124T160000Z-0123456789ab"
Verify = Callable[..., tuple[int, str, str]]


@pytest.fixture
def verify(log_dir: Path, capfd: pytest.CaptureFixture[str]) -> Verify:
    def run(*args: object) -> tuple[int, str, str]:
        status = main(["verify", *map(str, args)])
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture
def log(log_dir: Path) -> Path:
    path = log_dir / f"{RUN}.jsonl"
    make_log(path, actions=19)
    return path


def head_of(path: Path, seq: int = -1) -> str:
    return str(json.loads(path.read_bytes().splitlines()[seq])["hash"])


def test_intact(verify: Verify, log: Path) -> None:
    status, out, err = verify()
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{log}: intact and complete"
    assert "  authenticated through seq 23" in lines
    assert f"  head           {head_of(log)}" in lines
    assert f"  public key     {json.loads(log.read_bytes().splitlines()[0])['key']}" in lines
    assert lines[-2].startswith("no pin was given: whoever can write this file could have replaced")


def test_pinned_says_nothing_of_pins(verify: Verify, log: Path) -> None:
    status, out, _ = verify("--expect-head", head_of(log).upper())
    assert status == 0
    assert "no pin" not in out
    key = json.loads(log.read_bytes().splitlines()[0])["key"]
    words = ["--expect-key", key, "--expect-size", 24, "--expect-head", f"3:{head_of(log, 3)}"]
    assert verify(*words, "--require-pin", "-q") == (0, "", "")


def test_size_alone_is_no_pin(verify: Verify, log: Path) -> None:
    status, out, _ = verify("--expect-size", 24)
    assert status == 0
    assert "no pin was given" in out
    assert verify("--expect-size", 24, "--require-pin")[0] == 2


def test_tampered(verify: Verify, log: Path) -> None:
    lines = log.read_bytes().splitlines(True)
    offset = sum(map(len, lines[:12]))
    log.write_bytes(b"".join(edited(lines, 12, swapped(b"/srv/data", b"/srv/fake"))))
    status, out, err = verify()
    assert (status, err) == (1, "")
    rows = out.splitlines()
    assert rows[:4] == [
        f"{log}: TAMPERED",
        f"  first bad      seq 12 at byte offset {offset}",
        "  reason         record 12 does not match its hash",
        "  authenticated through seq 8",
    ]
    assert "no pin was given" in out


def test_incomplete(verify: Verify, log: Path) -> None:
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 7)
    status, out, err = verify()
    assert (status, err) == (3, "")
    rows = out.splitlines()
    assert rows[0] == f"{log}: INCOMPLETE"
    assert "no end record" in rows[1]
    assert "bytes of a torn record follow" in rows[1]
    assert rows[2] == "  authenticated through seq 17"


def test_nothing_is_authenticated_before_the_first_signature(verify: Verify, log: Path) -> None:
    log.write_bytes(log.read_bytes().splitlines(True)[0])
    assert "  authenticated through nothing" in verify()[1].splitlines()


def test_json(verify: Verify, log: Path) -> None:
    status, out, _ = verify("--json")
    found = json.loads(out)
    assert status == 0
    assert found["verdict"] == "intact"
    assert found["authenticated_through"] == 23
    assert found["first_bad_seq"] is found["byte_offset"] is found["reason"] is None
    assert found["pinned"] is False
    log.write_bytes(b"\xef\xbb\xbf" + log.read_bytes())
    status, out, _ = verify("--json")
    found = json.loads(out)
    assert (status, found["verdict"], found["first_bad_seq"], found["byte_offset"]) == (
        1, "tampered", 0, 0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.jsonl"], "no such log: nowhere.jsonl; `capsule runs` lists them"),
        (["1999"], "no run 1999"),
        (["--expect-head", "abc"], "--expect-head abc: give 64 hex digits, or SEQ:64 hex digits"),
        (["--expect-head", "x:" + "0" * 64], "give 64 hex digits"),
        (["--expect-key", "0" * 63], "give 64 hex digits"),
        (["--require-pin"], "give --expect-head, --expect-key or --anchors"),
        (["--jobs", "-1"], "give a number of processes"),
        (["/"], "cannot read /: Is a directory"),
    ],
)
def test_usage_and_unreadable(verify: Verify, log: Path, words: list[str], said: str) -> None:
    status, out, err = verify(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_another_format_version_is_unreadable(verify: Verify, log: Path) -> None:
    keys = Keys()
    for _ in range(9):
        keys()
    lines = log.read_bytes().splitlines(True)
    newer = edited(lines, 0, swapped(b'"format":1', b'"format":2'))
    log.write_bytes(b"".join(resealed(newer, keys.made)))
    status, _, err = verify()
    assert status == 2
    assert "format version 2, this release reads version 1; get a newer Capsule" in err


def test_a_log_through_a_pipe(log: Path) -> None:
    command = [sys.executable, "-m", "capsule", "verify", "-", "--json"]
    done = subprocess.run(command, input=log.read_bytes(), capture_output=True, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["records"] == 24


def test_a_hostile_name_cannot_drive_the_terminal(verify: Verify, log: Path) -> None:
    evil = log.with_name("\x1b[2J\u202eevil.jsonl")
    log.rename(evil)
    status, out, _ = verify(evil)
    assert status == 0
    assert all(line.isprintable() for line in out.splitlines())


# -- rotated ------------------------------------------------------------------------------


@pytest.fixture
def rotated(log_dir: Path) -> list[Path]:
    first = log_dir / f"{RUN}.jsonl"
    make_log(first, actions=40, rotate_bytes=1500)
    files = logdir.parts(first)
    assert len(files) > 4
    return files


def both(files: list[Path]) -> tuple[str, tuple[int, int] | None, int | None]:
    """What both verifiers say of the files as they are."""
    verifier = Verifier()
    data = [file.read_bytes() for file in files]
    for number, part in enumerate(data):
        if number:
            verifier.next_part()
        verifier.feed(part)
    report = verifier.finish()
    found = independent_verifier.verify(data)
    bad = (report.bad.seq, report.bad.offset) if report.bad else None
    said = (report.verdict.name.lower(), bad, report.authenticated_through)
    assert said == (found["verdict"], found["bad"], found["through"])
    return said


def test_a_rotated_log_is_one_chain(verify: Verify, rotated: list[Path]) -> None:
    assert both(rotated)[0] == "intact"
    status, out, _ = verify()
    assert status == 0
    assert f"  rotated into   {len(rotated)} files" in out.splitlines()
    assert verify(rotated[2])[0] == 0  # any of its files names the run
    assert rotated[1].read_bytes().startswith(b'{"seq":')
    joined = b"".join(file.read_bytes() for file in rotated)
    assert independent_verifier.verify([joined])["verdict"] == "intact"


def test_a_missing_middle_file_is_noticed(verify: Verify, rotated: list[Path]) -> None:
    rotated[2].unlink()
    status, out, _ = verify()
    assert status == 1
    assert "file 2 of the run is gone" in out


def test_missing_last_files_are_a_cut(verify: Verify, rotated: list[Path]) -> None:
    for file in rotated[2:]:
        file.unlink()
    assert verify()[0] == 3


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ("swap files", "tampered"),
        ("drop a file", "tampered"),
        ("tear a file", "tampered"),
        ("file twice", "tampered"),
        ("drop a start", "tampered"),
        ("move the cut", "intact"),  # the same bytes in the same order
        ("edit a later start, chained", "tampered"),
        ("other run's file", "tampered"),
        ("tear the last", "incomplete"),
    ],
)
def test_changes_between_files(
    rotated: list[Path], tmp_path: Path, change: str, verdict: str
) -> None:
    data = [file.read_bytes() for file in rotated]
    if change == "swap files":
        data[1], data[2] = data[2], data[1]
    elif change == "drop a file":
        del data[1]
    elif change == "tear a file":
        data[1] = data[1][:-5]
    elif change == "file twice":
        data.insert(1, data[1])
    elif change == "drop a start":
        data[1] = data[1].split(b"\n", 1)[1]
    elif change == "move the cut":
        line, data[2] = data[2].split(b"\n", 1)
        data[1] += line + b"\n"
    elif change == "edit a later start, chained":
        sizes = [part.count(b"\n") for part in data]
        lines = b"".join(data).splitlines(True)
        old = b'"key":"' + lines[sizes[0]].split(b'"key":"')[1][:4]
        lines = rechained(edited(lines, sizes[0], swapped(old, b'"key":"0000')), sizes[0])
        data = [b"".join(lines)]
    elif change == "other run's file":
        make_log(tmp_path / "o.jsonl", actions=40, keys=Keys(3), rotate_bytes=1500)
        data[1] = logdir.parts(tmp_path / "o.jsonl")[1].read_bytes()
    elif change == "tear the last":
        data[-1] = data[-1][:-5]
    files = [tmp_path / f"{number}" for number in range(len(data))]
    for file, part in zip(files, data, strict=True):
        file.write_bytes(part)
    assert both(files)[0] == verdict


# -- memory, chunks -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 64 MiB."""
    path = tmp_path_factory.mktemp("big") / "big.jsonl"
    log = Logger(path, {"run": "big"}, fsync="never")
    batch = b"".join(action(number) for number in range(2000)) * 10
    while log.counters()["bytes"] < 64 << 20:
        log.feed(batch)
    log.close({})
    return path


def test_memory_does_not_grow_with_the_log(big: Path) -> None:
    """A log of 64 MiB costs less than 24 MiB over what the command costs anyway."""
    script = (
        "import resource, sys; from capsule.cli import main; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "status = main(['verify', '-q', sys.argv[1]]); "
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "print(status, after - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, big], capture_output=True, text=True, check=True
    )
    status, grown_kib = map(int, done.stdout.split())
    assert status == 0
    assert grown_kib < 24 << 10


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_progress_is_shown_on_a_terminal_and_taken_away(big: Path, jobs: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "capsule", "verify", "-q", "--jobs", jobs, big]
    with subprocess.Popen(command, stderr=theirs, stdout=-1) as verify:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            while data := os.read(ours, 4096):
                shown += data
        os.close(ours)
        assert verify.wait() == 0
        assert verify.stdout is not None
        assert verify.stdout.read() == b""
    assert re.match(rb"\r\[#* *\] +\d+% \S+/s\x1b\[K", shown)
    assert shown.endswith(b"\r\x1b[K")


COMPLETE = (GOLDEN / "complete.jsonl").read_bytes()


@settings(max_examples=60, deadline=None)
@given(
    at=st.integers(0, len(COMPLETE)),
    put_in=st.binary(max_size=2),
    taken_out=st.integers(0, 2),
    sizes=st.lists(st.integers(1, 900), min_size=1, max_size=4),
)
def test_chunks_make_no_difference(
    at: int, put_in: bytes, taken_out: int, sizes: list[int]
) -> None:
    whole = COMPLETE[:at] + put_in + COMPLETE[at + taken_out :]
    one, many, stream = Verifier(), Verifier(), io.BytesIO(whole)
    one.feed(whole)
    for size in itertools.cycle(sizes):
        if not (chunk := stream.read(size)):
            break
        many.feed(chunk)
    mine, theirs = one.finish(), many.finish()
    assert (mine.verdict, mine.bad, mine.authenticated_through) == (
        theirs.verdict, theirs.bad, theirs.authenticated_through,
    )  # fmt: skip
    found = independent_verifier.verify([whole])
    bad = (mine.bad.seq, mine.bad.offset) if mine.bad else None
    assert (mine.verdict.name.lower(), bad) == (found["verdict"], found["bad"])


# -- golden logs --------------------------------------------------------------------------


def vectors() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((GOLDEN / "vectors.json").read_text())["vectors"]
    return found


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["files"][0])
def test_golden(vector: dict[str, object]) -> None:
    """What these files mean must never change; a new format gets new ones."""
    files = [GOLDEN / name for name in vector["files"]]  # type: ignore[attr-defined]
    verdict, bad, through = both(files)
    assert verdict == vector["verdict"]
    assert through == vector["authenticated_through"]
    assert (list(bad) if bad else None) == vector["first_bad"]


def test_the_writer_still_writes_the_golden_bytes(tmp_path: Path) -> None:
    data, end = make_log(tmp_path / "complete.jsonl", actions=19)
    assert data == (GOLDEN / "complete.jsonl").read_bytes()
    assert end is not None
    assert end.head == next(v["head"] for v in vectors() if v["files"] == ["complete.jsonl"])


def test_every_golden_file_is_listed() -> None:
    listed = {name for vector in vectors() for name in vector["files"]}  # type: ignore[attr-defined]
    assert {name for name in os.listdir(GOLDEN) if name.endswith(".jsonl")} == listed


def test_the_page_tells_how_to_hash_a_record_in_a_shell() -> None:
    """The command in docs/log-format.md, as far as the tools of this machine go."""
    page = (GOLDEN.parents[2] / "docs" / "log-format.md").read_text()
    (command,) = re.findall(r"^    (sed .*) \| b3sum --no-names$", page, re.MULTILINE)
    lines = (GOLDEN / "complete.jsonl").read_bytes().splitlines()
    for number in (0, 7, 23):
        script = f"N={number}; LOG='{GOLDEN}/complete.jsonl'; {command}"
        hashed = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
        assert blake3(hashed).hexdigest() == json.loads(lines[number])["hash"]
        if shutil.which("b3sum"):
            done = subprocess.run(
                ["sh", "-c", f"{script} | b3sum --no-names"], capture_output=True, check=True
            )
            assert done.stdout.decode().strip() == json.loads(lines[number])["hash"]

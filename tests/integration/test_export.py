"""`capsule export`: real runs, verified before a byte leaves, into files whole or absent."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pexpect
import pyarrow.parquet
import pytest

from capsule.export.formats import FORMATS
from tests.conftest import REPO, RunCapsule
from tests.exporting import T0, body, make_run
from tests.logs import actions

BINARY = [name for name, form in FORMATS.items() if form.binary]


def latest(log_dir: Path) -> Path:
    return (log_dir / "latest").resolve()


def test_a_line_an_action(capsule: RunCapsule, log_dir: Path) -> None:
    capsule("trace", "-q", "--", "sh", "-c", "cat /no/such; ls / >/dev/null")
    seqs = [action["seq"] for action in actions(log_dir)]
    found = [orjson.loads(line) for line in capsule("export", "-f", "ocsf").stdout.splitlines()]
    assert [event["metadata"]["sequence"] for event in found] == seqs
    found = [orjson.loads(line) for line in capsule("export", "-f", "ecs").stdout.splitlines()]
    assert [document["event"]["sequence"] for document in found] == seqs
    text = io.StringIO(capsule("export", "-f", "csv").stdout.decode(), newline="")
    assert [int(row["seq"]) for row in csv.DictReader(text)] == seqs
    table = pyarrow.parquet.read_table(io.BytesIO(capsule("export", "-f", "parquet").stdout))
    assert table["seq"].to_pylist() == seqs


def test_jsonl_is_the_log(capsule: RunCapsule, log_dir: Path) -> None:
    capsule("trace", "-q", "--", "true")
    assert capsule("export", "-f", "jsonl").stdout == latest(log_dir).read_bytes()


def test_the_files_of_a_rotated_log_become_one(capsule: RunCapsule, log_dir: Path) -> None:
    capsule("trace", "-q", "--rotate-size", "20K", "--", "ls", "-lR", "/etc")
    files = sorted(log_dir.glob("*.jsonl"), key=lambda path: len(path.suffixes))
    assert len(files) > 2
    done = capsule("export", "-f", "jsonl")
    assert done.stderr == b""
    seqs = [orjson.loads(line)["seq"] for line in done.stdout.splitlines()]
    assert seqs == list(range(len(seqs)))
    assert orjson.loads(done.stdout.splitlines()[-1])["type"] == "end"


def test_strace_text_comes_back_byte_for_byte(capsule: RunCapsule, tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"caf\xe9 \"'\n")
    capsule("trace", "-q", "--keep-raw", "--", "sh", "-c", 'cat "$0"; ls -lR /etc >&2', name)
    text = capsule("export", "-f", "strace").stdout
    (kept,) = (tmp_path / "log").glob("*.raw.zst")
    assert text == subprocess.run(["zstd", "-dc", kept], capture_output=True, check=True).stdout
    assert b"caf\\351" in text
    # and it is a trace, of which an import makes the same Actions
    first = [what(action) for action in actions(tmp_path / "log", "file.")]
    assert capsule("import", "-q", "-", input=text).returncode == 0
    again = [what(action) for action in actions(tmp_path / "log", "file.")]
    assert sorted(again) == sorted(first)


def what(action: dict[str, Any]) -> tuple[str, str, list[int]]:
    return action["kind"], action.get("target", ""), action["lines"]


def test_strace_text_that_was_not_kept(capsule: RunCapsule) -> None:
    capsule("trace", "-q", "--", "true")
    done = capsule("export", "-f", "strace")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"trace with --keep-raw" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_strace_text_that_was_altered(capsule: RunCapsule, log_dir: Path) -> None:
    capsule("trace", "-q", "--keep-raw", "--", "true")
    (kept,) = log_dir.glob("*.raw.zst")
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    done = capsule("export", "-f", "strace")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"TAMPERED" in done.stderr


@pytest.mark.parametrize("form", sorted(FORMATS.keys() - {"strace"}))
def test_a_tampered_log_is_refused_unless_allowed(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path, form: str
) -> None:
    capsule("trace", "-q", "--", "cat", "/no/such")
    log = latest(log_dir)
    log.write_bytes(log.read_bytes().replace(b"/no/such", b"/no/suck"))
    out = tmp_path / "out"
    done = capsule("export", "-f", form, "-o", out)
    assert done.returncode == 2
    assert done.stderr.startswith(b"capsule: ")
    assert b"is TAMPERED: record " in done.stderr
    assert b"--allow-tampered" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert not out.exists()
    done = capsule("export", "-f", form, "-o", out, "--allow-tampered")
    assert done.returncode == 0, done.stderr
    assert b"is TAMPERED" in done.stderr
    assert out.stat().st_size


def test_what_is_no_record_is_left_out_of_a_tampered_log(
    capsule: RunCapsule, log_dir: Path
) -> None:
    capsule("trace", "-q", "--", "true")
    log = latest(log_dir)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:3], b"forged\n", *lines[3:]]))
    done = capsule("export", "-f", "ocsf", "--allow-tampered")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == sum(b'"type":"action"' in line for line in lines)
    assert b"1 lines are no records and were left out" in done.stderr


@pytest.mark.parametrize("form", sorted(FORMATS.keys() - {"strace"}))
def test_a_log_that_is_being_written_is_exported_so_far(
    capsule: RunCapsule, tmp_path: Path, form: str
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "capsule", "trace", "-q", "--", "sh", "-c", f"read x <{fifo}"]
    traced = subprocess.Popen(command)
    with fifo.open("w"):
        done = capsule("export", "-f", form, "-o", tmp_path / "out")
    assert traced.wait(30) == 1
    assert done.returncode == 0, done.stderr
    assert b"INCOMPLETE: it was cut off, or still goes on" in done.stderr
    assert (tmp_path / "out").stat().st_size


def test_many_runs_in_the_order_they_were_made(capsule: RunCapsule, log_dir: Path) -> None:
    for code in (3, 4):
        capsule("trace", "-q", "--", "sh", "-c", f"exit {code}")
    for words in (["--all"], [path.name for path in sorted(log_dir.glob("2*.jsonl"))]):
        done = capsule("export", "-f", "csv", "--table", "processes", *words)
        rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
        assert [row["exit_status"] for row in rows] == ["3", "4"]


@pytest.mark.parametrize("form", BINARY)
def test_binary_is_not_sent_to_a_terminal(capsule: RunCapsule, form: str) -> None:
    capsule("trace", "-q", "--", "true")
    terminal = pexpect.spawn(sys.executable, ["-m", "capsule", "export", "-f", form], timeout=30)
    terminal.expect(pexpect.EOF)
    assert b"is binary: name a file with -o" in terminal.before
    terminal.close()
    assert terminal.exitstatus == 2


@pytest.mark.parametrize("form", [name for name, form in FORMATS.items() if form.needs])
def test_a_library_that_is_missing_is_named(capsule: RunCapsule, form: str) -> None:
    capsule("trace", "-q", "--", "true")
    needs = str(FORMATS[form].needs).partition(".")[0]
    code = f"import sys; sys.modules[{needs!r}] = None; from capsule.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "export", "-f", form], capture_output=True, check=False
    )
    assert done.stdout == b""
    assert done.stderr.decode().count("\n") == 1
    assert "pip install 'capsule-runtime[export]'" in done.stderr.decode()


def test_a_file_is_written_whole_or_not_at_all(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    log_dir.mkdir(exist_ok=True)
    make_run(log_dir / "odd.jsonl", [body("file.read", target="/x"), body("file.read", target=7)])
    out = tmp_path / "out.csv"
    out.write_text("before")
    done = capsule("export", "-f", "csv", "-o", out, "odd.jsonl")
    assert done.returncode == 2
    assert b"a record up to 3 says what no Action can" in done.stderr
    assert b"Traceback" not in done.stderr
    assert out.read_text() == "before"
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize("form", ["jsonl", "strace"])
def test_a_log_is_not_written_over(capsule: RunCapsule, log_dir: Path, form: str) -> None:
    capsule("trace", "-q", "--keep-raw", "--", "true")
    before = {path: path.read_bytes() for path in log_dir.iterdir()}
    for path in before:
        done = capsule("export", "-f", form, "-o", path)
        assert done.returncode == 2
        assert b"that is the log itself" in done.stderr
    assert {path: path.read_bytes() for path in log_dir.iterdir()} == before


def test_a_file_that_cannot_be_written(capsule: RunCapsule, tmp_path: Path) -> None:
    capsule("trace", "-q", "--", "true")
    done = capsule("export", "-f", "csv", "-o", tmp_path / "none" / "x")
    assert done.returncode == 2
    assert done.stderr.startswith(b"capsule: cannot write ")
    done = capsule("export", "-f", "csv", "-o", "/dev/full")
    assert (done.returncode, done.stderr) == (
        2, b"capsule: cannot write /dev/full: No space left on device\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-f", "tar"], "invalid choice"),
        (["-f", "ocsf", "--table", "actions"], "--table is for csv and parquet"),
        (["-f", "ocsf", "--all", "latest"], "either --all or the runs"),
        (["-f", "ocsf", "20"], "no run 20"),
    ],
)
def test_words_that_do_not_fit(capsule: RunCapsule, words: list[str], said: str) -> None:
    done = capsule("export", *words)
    assert done.returncode == 2
    assert said in done.stderr.decode()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two logs, of which the second has 45,000 Actions more."""
    directory = tmp_path_factory.mktemp("logs")
    found = []
    for size in (35_000, 80_000):
        acts = (body("file.read", target=f"/{n % 999}", first_ns=T0 + n, last_ns=T0 + n + 9)
                for n in range(size))  # fmt: skip
        found.append(make_run(directory / f"{size}.jsonl", acts).path)
    return found


@pytest.mark.parametrize(
    "form", [n for n, one in FORMATS.items() if one.streaming and n != "strace"]
)
def test_memory_does_not_grow_with_the_actions(logs: list[Path], form: str) -> None:
    peaks = []
    for log in logs:
        command = [sys.executable, "-m", "capsule", "export", "-f", form, log]
        exporting = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(exporting.pid, 0)
        exporting.returncode = status
        assert status == 0
        peaks.append(usage.ru_maxrss)
    # 45,000 records and what is made of them would be 30 MB at the least
    assert peaks[1] - peaks[0] < 16_000, f"{peaks} KiB"


def test_the_document_has_every_format() -> None:
    text = (REPO / "docs" / "export.md").read_text("utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    named = {row[0].strip("| `"): (row[1].strip("`"), row[2]) for row in rows}
    assert named == {
        name: (form.media, "bounded" if form.streaming else "grows")
        for name, form in FORMATS.items()
    }


def test_what_is_read_again_is_verified_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a.jsonl", [body("file.read", target=f"/{n}") for n in range(9)])
    data = run.path.read_bytes()
    run.path.write_bytes(data.replace(b'"/3"', b'"/4"'))
    with pytest.raises(Exception, match="changed while it was exported"):
        list(run.records())
    run.path.write_bytes(data[: len(data) // 2])
    with pytest.raises(Exception, match="changed while it was exported"):
        list(run.records())
    run.path.write_bytes(data)
    assert len(list(run.records())) == len(data.splitlines())

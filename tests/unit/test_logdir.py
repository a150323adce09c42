"""The log directory: refused unless it is ours alone; runs found by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capsule import logdir
from capsule.errors import LogDirRefused, RunNotFound


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPSULE_LOG_DIR", "/env")
    assert logdir.log_dir("/flag") == Path("/flag")
    assert logdir.log_dir(None) == Path("/env")
    monkeypatch.delenv("CAPSULE_LOG_DIR")
    assert logdir.log_dir(None) == Path(f"/tmp/capsule-{os.getuid()}")


def test_it_is_created_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        path = logdir.open_log_dir(tmp_path / "new")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o7777 == 0o700
    assert logdir.open_log_dir(path) == path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("link", "is a symbolic link; name the directory itself"),
        ("dangling link", "is a symbolic link"),
        ("file", "is not a directory"),
        ("group", r"is open to others \(mode 0750\); run `chmod 700"),
        ("world", r"is open to others \(mode 0701\)"),
        ("missing parent", "cannot create the log directory"),
        ("open parent", "can be replaced by anyone: its parent is writable by all"),
    ],
)
def test_it_is_refused(tmp_path: Path, what: str, said: str) -> None:
    path = tmp_path / "logs"
    if what == "link":
        (tmp_path / "real").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "real")
    elif what == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    elif what == "file":
        path.touch()
    elif what == "open parent":
        path.mkdir(mode=0o700)
        tmp_path.chmod(0o777)
    elif what == "missing parent":
        path = tmp_path / "a" / "b"
    else:
        path.mkdir()
        path.chmod(0o750 if what == "group" else 0o701)
    with pytest.raises(LogDirRefused, match=said) as caught:
        logdir.open_log_dir(path)
    assert "\n" not in str(caught.value)


@pytest.mark.root
def test_someone_elses_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "logs"
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)
    with pytest.raises(LogDirRefused, match="belongs to uid 65534, not to you"):
        logdir.open_log_dir(path)


def test_run_ids_sort_by_time_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {logdir.new_run_id() for _ in range(200)}
    assert len(made) == 200
    monkeypatch.setattr("time.time_ns", lambda: 981_173_106_007_654_321)
    assert logdir.new_run_id().startswith("20010203T040506007Z-")
    assert logdir.new_run_id() < min(made)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for run in ("20250101T000000Z-aa", "20250101T000000Z-ab", "20260101T000000Z-cc"):
        (tmp_path / f"{run}.jsonl").touch()
    (tmp_path / "20260101T000000Z-cc.1.jsonl").touch()
    (tmp_path / "20260101T000000Z-cc.2.jsonl").touch()
    (tmp_path / "20260101T000000Z-cc.4.jsonl").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_runs_are_listed_newest_first_and_once_each(three: Path) -> None:
    assert [path.name for path in logdir.runs(three)] == [
        "20260101T000000Z-cc.jsonl",
        "20250101T000000Z-ab.jsonl",
        "20250101T000000Z-aa.jsonl",
    ]
    assert logdir.runs(three / "missing") == []


def test_a_run_is_found(three: Path) -> None:
    aa, cc = three / "20250101T000000Z-aa.jsonl", three / "20260101T000000Z-cc.jsonl"
    assert logdir.find_run(None, three) == cc
    assert logdir.find_run("latest", three) == cc
    assert logdir.find_run("20250101T000000Z-aa", three) == aa
    assert logdir.find_run("2026", three) == cc
    assert logdir.find_run(str(aa), Path("/")) == aa
    assert logdir.find_run(aa.name, three) == aa
    logdir.set_latest(aa)
    assert logdir.find_run(None, three) == aa
    aa.unlink()  # the link now dangles
    assert logdir.find_run(None, three) == cc


def test_a_run_is_not_found_and_what_to_do(three: Path) -> None:
    with pytest.raises(RunNotFound, match="could be 2 runs, 20250101T000000Z-aa among them"):
        logdir.find_run("2025", three)
    with pytest.raises(RunNotFound, match="`capsule runs` lists them"):
        logdir.find_run("1999", three)
    with pytest.raises(RunNotFound, match="no such log"):
        logdir.find_run("./nowhere.jsonl", three)
    with pytest.raises(RunNotFound, match="`capsule trace -- COMMAND`"):
        logdir.find_run(None, three / "missing")


def test_latest_is_replaced_and_nothing_is_left_beside_it(three: Path) -> None:
    before = set(os.listdir(three))
    for path in logdir.runs(three):
        logdir.set_latest(path)
        assert os.readlink(three / "latest") == path.name
    assert set(os.listdir(three)) - before == {"latest"}


def test_the_files_of_a_rotated_run_end_at_the_first_hole(three: Path) -> None:
    first = three / "20260101T000000Z-cc.jsonl"
    names = [path.name for path in logdir.parts(first)]
    assert names == [f"20260101T000000Z-cc{part}.jsonl" for part in ("", ".1", ".2")]
    assert logdir.parts(three / "20260101T000000Z-cc.1.jsonl") == logdir.parts(first)
    assert logdir.parts(three / "20250101T000000Z-aa.jsonl") == [
        three / "20250101T000000Z-aa.jsonl"
    ]

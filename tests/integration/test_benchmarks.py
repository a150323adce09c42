"""Every asv class runs once at its tiny size; the check of instruction counts can fail."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ["CAPSULE_BENCH_SIZE"] = "tiny"

from benchmarks import instructions, runs, stages, table, whole
from benchmarks.programs import WORKLOADS
from benchmarks.traces import LINES_PER_PROCESS, made_up
from capsule._parse import Parser
from capsule.syscalls import NAMES

REPO = Path(__file__).parents[2]


def _tracks(module):
    for name, cls in vars(module).items():
        if inspect.isclass(cls) and cls.__module__ == module.__name__ and not name.startswith("_"):
            names = [n for n in dir(cls) if n.startswith("track_")]
            if names:
                yield pytest.param(cls, names, id=name)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    where = tmp_path_factory.getbasetemp() / "bench"
    monkeypatch.setenv("CAPSULE_BENCH_DIR", str(where))


@pytest.mark.parametrize(("cls", "names"), [*_tracks(stages), *_tracks(whole)])
def test_an_asv_class_measures_something(cls, names):
    # One workload is enough here: each is run on its own below.
    for param in getattr(cls, "params", (None,))[:2]:
        args = () if param is None else (param,)
        bench = cls()
        if hasattr(bench, "setup"):
            bench.setup(*args)
        for name in names:
            figure = getattr(bench, name)(*args)
            signed = name in ("track_added_ms", "track_growth_bytes")
            assert isinstance(figure, int | float) and (signed or figure > 0), (name, param, figure)


def test_each_workload_ends_well_untraced():
    for workload in WORKLOADS.values():
        runs.native(workload.argv("tiny"))


def test_the_made_up_trace_is_the_same_each_time_and_wholly_understood():
    text = made_up(30)
    assert text == made_up(30)
    parser = Parser(NAMES)
    parser.feed(text)
    parser.finish()
    counters = parser.counters()
    assert counters["lines_in"] == 30 * LINES_PER_PROCESS
    assert (counters["unparsed"], counters["orphans"], counters["joined"]) == (0, 0, 30)


def test_bare_strace_gets_the_options_that_capsule_gives():
    words = runs.strace_of(())
    assert words[0].endswith("strace") and "-f" in words and "-ttt" in words
    assert "-o" not in words and "-p" not in words


def test_a_fifth_more_instructions_fails_and_less_does_not():
    stored = {"parse": 1000.0, "chain": 1000.0}
    assert instructions.regressions({"parse": 1200.0, "chain": 10.0}, stored) == []
    (line,) = instructions.regressions({"parse": 1201.0, "chain": 1000.0}, stored)
    assert line.startswith("parse: 1201 instructions a line, +20%")


def test_a_release_of_python_without_counts_fails():
    """It passed, and nothing guarded the releases after 3.11."""
    (line,) = instructions.regressions({"parse": 1200.0}, None)
    assert line.startswith("no counts are stored for cpython-3.")


def test_the_table_has_a_verdict_for_each_goal():
    words = [sys.executable, "-m", "benchmarks.table", "--size=tiny", "--pairs=1", "--only=memory"]
    done = subprocess.run(words, cwd=REPO, env=runs.our_env(), capture_output=True, check=True)
    rows = [line for line in done.stdout.decode().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 2 and all(row.count("|") == 5 for row in rows)
    assert "met" in rows[-1] or "missed" in rows[-1]
    assert table.row("x", 2, 3, "").met and not table.row("x", 2, 3, "", least=True).met


def test_asv_knows_every_class(tmp_path):
    config = json.loads((REPO / "benchmarks" / "asv.conf.json").read_text())
    config |= {"repo": str(REPO), "benchmark_dir": str(REPO / "benchmarks")}
    config |= {key: str(tmp_path / key) for key in ("env_dir", "results_dir", "html_dir")}
    (tmp_path / "asv.json").write_text(json.dumps(config))
    words = [sys.executable, "-m", "asv", "run", "--config", str(tmp_path / "asv.json")]
    words += ["--environment", "existing:same", "--quick", "--bench", "Parse", "--dry-run"]
    env = {**runs.our_env(), "HOME": str(tmp_path)}
    known = [sys.executable, "-m", "asv", "machine", "--yes"]
    known += ["--config", str(tmp_path / "asv.json")]
    subprocess.run(known, env=env, cwd=tmp_path, capture_output=True, check=True)
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Parse.track_ns_per_line" in done.stdout


@pytest.mark.slow
def test_no_stage_needs_a_fifth_more_instructions_than_stored():
    words = [sys.executable, "-m", "benchmarks.instructions"]
    done = subprocess.run(words, cwd=REPO, env=runs.our_env(), capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

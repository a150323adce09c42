"""`capsule query`: SQL over real logs, shut off from the rest of the machine."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow.parquet
import pytest

from tests.conftest import RunCapsule
from tests.logs import actions, end


def ask(capsule: RunCapsule, sql: str, *words: str) -> list[dict[str, object]]:
    done = capsule("query", sql, *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return [orjson.loads(line) for line in done.stdout.splitlines()]


def test_the_tables_say_what_the_log_says(capsule: RunCapsule, log_dir: Path) -> None:
    capsule("trace", "-q", "--", "sh", "-c", "cat /no/such; ls / | sort; exit 3")
    [row] = ask(capsule, "SELECT count(*) AS n, sum(count)::BIGINT AS events FROM actions")
    assert row == {"n": len(actions(log_dir)), "events": end(log_dir)["totals"]["count"]}
    [row] = ask(capsule, "SELECT exit_code, complete, argv, syscalls FROM runs")
    assert row == {
        "exit_code": 3,
        "complete": True,
        "argv": ["sh", "-c", "cat /no/such; ls / | sort; exit 3"],
        "syscalls": "all",
    }
    rows = ask(capsule, "SELECT argv, parent, exit_status FROM processes ORDER BY proc")
    assert [row["argv"] for row in rows[1:]] == [["cat", "/no/such"], ["ls", "/"], ["sort"]]
    assert {row["parent"] for row in rows[1:]} == {1}
    assert [row["exit_status"] for row in rows] == [3, 1, 0, 0]
    rows = ask(capsule, "SELECT errno, times FROM failures WHERE target = '/no/such'")
    assert rows == [{"errno": "ENOENT", "times": 1}]


def test_a_process_that_never_executed_anything_has_its_parent(capsule: RunCapsule) -> None:
    capsule("trace", "-q", "--", "sh", "-c", "(exit 4); (exit 5)")
    sql = "SELECT parent, argv, exit_status FROM processes ORDER BY proc"
    assert ask(capsule, sql)[1:] == [
        {"parent": 1, "argv": None, "exit_status": 4},
        {"parent": 1, "argv": None, "exit_status": 5},
    ]


def test_many_runs_at_once(capsule: RunCapsule) -> None:
    for code in (1, 2):
        capsule("trace", "-q", "--", "sh", "-c", f"exit {code}")
    rows = ask(capsule, "SELECT exit_code FROM runs ORDER BY started", "--all")
    assert rows == [{"exit_code": 1}, {"exit_code": 2}]


def test_a_log_that_is_being_written_can_be_asked(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "capsule", "trace", "-q", "--", "sh", "-c", f"read x <{fifo}"]
    traced = subprocess.Popen(command)
    with fifo.open("w"):
        rows = ask(capsule, "SELECT complete, exit_code FROM runs")
        assert rows == [{"complete": False, "exit_code": None}]
    assert traced.wait(30) == 1
    assert ask(capsule, "SELECT complete, exit_code FROM runs")[0]["complete"] is True


def test_csv_and_parquet(capsule: RunCapsule) -> None:
    capsule("trace", "-q", "--", "true")
    sql = "SELECT kind, count, argv FROM actions WHERE kind = 'proc.exec'"
    assert capsule("query", sql, "--format", "csv").stdout == b"kind,count,argv\nproc.exec,1,true\n"
    odd = "SELECT 'a' || chr(13) || 'b' AS cr, 'a,\"b' AS quote, NULL AS none"
    odd_line = b'"a\rb","a,""b",\n'
    assert capsule("query", odd, "--format", "csv").stdout == b"cr,quote,none\n" + odd_line
    assert capsule("query", "SELECT ''", "--format", "csv").stdout.endswith(b'\n""\n')
    table = pyarrow.parquet.read_table(io.BytesIO(capsule("query", sql, "--format=parquet").stdout))
    assert table.to_pylist() == [{"kind": "proc.exec", "count": 1, "argv": ["true"]}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY actions TO '{out}'",
        "ATTACH '{out}'",
        "EXPORT DATABASE '{out}'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM '/etc/passwd'",
    ],
)
def test_a_query_reaches_no_file(sql: str, capsule: RunCapsule, tmp_path: Path) -> None:
    capsule("trace", "-q", "--", "true")
    done = capsule("query", sql.format(out=tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr.startswith(b"capsule: ")
    assert not (tmp_path / "out").exists()


def test_hostile_text_does_not_reach_the_terminal(capsule: RunCapsule, tmp_path: Path) -> None:
    name = "a\x1b[31mb\nc"
    capsule("trace", "-q", "--", "touch", tmp_path / name)
    done = capsule("query", "SELECT DISTINCT path FROM files WHERE path LIKE '%b%c'")
    assert b"\x1b" not in done.stdout
    assert done.stdout.count(b"\n") == 2


def test_a_mistake_is_one_clear_message(capsule: RunCapsule) -> None:
    capsule("trace", "-q", "--", "true")
    done = capsule("query", "SELECT nothing FROM nowhere")
    assert done.returncode == 2
    assert b"nowhere" in done.stderr
    assert b"Traceback" not in done.stderr

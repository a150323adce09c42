"""csv and parquet: the tables of `capsule query`, and they give back what went in."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capsule.export.runs import Run
from capsule.export.tables import ACTIONS, TABLES
from capsule.query import open_database
from tests.exporting import HOSTILE, bodies, body, every_kind, exported, make_run

JSON_COLUMNS = [name for name, kind in ACTIONS.items() if kind in ("texts", "integers", "counts")]


def rows_of(table: pyarrow.Table) -> list[dict[str, Any]]:
    """The rows; times as nanoseconds since the epoch, which datetime cannot hold."""
    for index, field in enumerate(table.schema):
        if pyarrow.types.is_timestamp(field.type):
            assert field.type.unit == "ns"
            table = table.set_column(index, field.name, table[index].cast(pyarrow.int64()))
    return table.to_pylist(maps_as_pydicts="strict")


def parquet_rows(data: bytes) -> list[dict[str, Any]]:
    return rows_of(pyarrow.parquet.read_table(io.BytesIO(data)))


def queried(run: Run, table: str) -> list[dict[str, Any]]:
    with open_database([run.path]) as database:
        return rows_of(database.sql(f"SELECT * FROM {table}").to_arrow_table())


def a_run(path: Path) -> Run:
    return make_run(path, [
        *every_kind(),
        body("proc.spawn", child=2, child_pid=101),
        body("proc.exec", proc=2, pid=101, target="/bin/x", argv=["x", HOSTILE], parent=1),
        body("proc.exit", proc=2, pid=101, status=3),
    ])  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_parquet_is_what_query_shows(tmp_path: Path, table: str) -> None:
    run = a_run(tmp_path / "a.jsonl")
    ours = parquet_rows(exported("parquet", run, table=table))
    theirs = queried(run, table)
    assert ours == theirs
    assert list(ours[0]) == list(theirs[0])


@pytest.mark.parametrize("table", TABLES)
def test_csv_and_parquet_are_the_same_for_duckdb(tmp_path: Path, table: str) -> None:
    run = a_run(tmp_path / "a.jsonl")
    types = {"integer": "BIGINT", "text": "VARCHAR", "texts": "JSON", "integers": "JSON",
             "counts": "JSON", "time": "TIMESTAMPTZ"}  # fmt: skip
    columns = {name: types[kind] for name, kind in TABLES[table].columns.items()}
    for form in ("csv", "parquet"):
        (tmp_path / f"t.{form}").write_bytes(exported(form, run, table=table))
    [(differing, total)] = duckdb.sql(
        f"SELECT count(*) FILTER (a.seq_ IS NULL OR b.seq_ IS NULL), count(*) FROM "
        f"(SELECT row_number() OVER () AS seq_, * FROM read_csv('{tmp_path}/t.csv', "
        f"columns = {columns}, header = true, auto_detect = false, quote = '\"', escape = '\"')) a "
        f"FULL JOIN (SELECT row_number() OVER () AS seq_, * FROM '{tmp_path}/t.parquet') b ON "
        + " AND ".join(f"a.{name} IS NOT DISTINCT FROM b.{name}"
                       for name, kind in columns.items() if kind not in ("JSON", "TIMESTAMPTZ"))
        + " AND a.seq_ = b.seq_"
    ).fetchall()  # fmt: skip
    assert (differing, total) == (0, len(parquet_rows((tmp_path / "t.parquet").read_bytes())))


def test_csv_has_every_nanosecond(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a.jsonl", [body("file.read", target="/x", first_ns=1)])
    (row,) = csv.DictReader(io.StringIO(exported("csv", run).decode()))
    assert row["time"] == "1970-01-01T00:00:00.000000001Z"


@given(st.lists(bodies, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_round_trip(tmp_path: Path, acts: list[dict[str, Any]]) -> None:
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    run = make_run(path, acts)
    rows = parquet_rows(exported("parquet", run))
    text = io.StringIO(exported("csv", run).decode(), newline="")
    lines = list(csv.DictReader(text, strict=True))
    assert len(rows) == len(lines) == len(acts)
    for row, line, act in zip(rows, lines, acts, strict=True):
        for name in ACTIONS.keys() - {"run", "seq", "time", "failed", "tags"}:
            assert row[name] == act.get(name)
            if name in JSON_COLUMNS:
                assert (orjson.loads(line[name]) if line[name] else None) == act.get(name)
            else:
                assert line[name] == str(act.get(name, ""))


def test_an_integer_that_no_column_holds_stops_the_export(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a.jsonl", [body("file.read", target="/x", bytes=2**63)])
    with pytest.raises(OverflowError):
        exported("parquet", run)


def test_no_actions_make_an_empty_table(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a.jsonl", [])
    assert parquet_rows(exported("parquet", run)) == []
    assert exported("csv", run).decode() == ",".join(ACTIONS) + "\n"

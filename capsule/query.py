"""SQL over logs: DuckDB with an explicit schema, shut off from files and network.

Tables and views are described in docs/query.md. The log's JSON is read once into memory; then
DuckDB's external access is switched off and its configuration locked, so that a query can
neither read a file nor write one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from capsule.errors import CapsuleError
from capsule.logdir import parts

if TYPE_CHECKING:
    import duckdb

MAX_LINE = 16 << 20

_RECORD = {
    "seq": "BIGINT", "type": "VARCHAR", "kind": "VARCHAR", "target": "VARCHAR",
    "count": "BIGINT", "bytes": "BIGINT", "errors": "MAP(VARCHAR, BIGINT)",
    "first_ns": "BIGINT", "last_ns": "BIGINT", "proc": "BIGINT", "pid": "BIGINT",
    "exe": "VARCHAR", "uid": "BIGINT", "lines": "BIGINT[]", "access": "VARCHAR",
    "path": "VARCHAR", "to": "VARCHAR", "argv": "VARCHAR[]", "cwd": "VARCHAR",
    "parent": "BIGINT", "child": "BIGINT", "child_pid": "BIGINT", "status": "BIGINT",
    "signal": "VARCHAR", "family": "VARCHAR", "blake3": "VARCHAR", "tags": "VARCHAR[]",
    "run": "VARCHAR", "time_ns": "BIGINT", "host": "VARCHAR", "kernel": "VARCHAR",
    "syscalls": "VARCHAR", "complete": "BOOLEAN",
    "exit": "STRUCT(code BIGINT, signal VARCHAR)",
}  # fmt: skip
"""Members of a record that the tables are made of, with DuckDB's types; others are left out."""

_SCHEMA = """
CREATE TABLE runs AS
  SELECT r.log, s.run, make_timestamp_ns(s.time_ns) AS started,
         make_timestamp_ns(e.time_ns) AS ended, s.argv, s.cwd, s.uid, s.host, s.kernel,
         s.syscalls, coalesce(e.complete, false) AS complete, e.exit.code AS exit_code,
         e.exit.signal AS exit_signal, r.records
  FROM (SELECT log, count(*) AS records FROM records GROUP BY log) r
  JOIN records s ON s.log = r.log AND s.seq = 0
  LEFT JOIN records e ON e.log = r.log AND e.type = 'end';

CREATE TABLE actions AS  -- in the order of the log
  SELECT runs.run, seq, make_timestamp_ns(first_ns) AS time, kind, target, count, bytes,
         errors, coalesce(list_sum(map_values(errors)), 0)::BIGINT AS failed,
         first_ns, last_ns, proc, pid, exe, records.uid, lines, access, path, "to",
         records.argv, records.cwd, parent, child, child_pid, status, signal, family, blake3,
         coalesce(tags, []) AS tags
  FROM records JOIN runs USING (log) WHERE type = 'action';

CREATE TABLE processes AS
  SELECT run, proc, min(pid) AS pid,
         arg_max(exe, seq) AS exe,
         arg_max(argv, seq) FILTER (kind = 'proc.exec' AND failed = 0) AS argv,
         coalesce(min(actions.parent) FILTER (kind = 'proc.exec'), any_value(spawned.parent))
           AS parent,
         min(time) AS started, max(make_timestamp_ns(last_ns)) AS last_seen,
         max(status) FILTER (kind = 'proc.exit') AS exit_status,
         max(signal) FILTER (kind = 'proc.exit') AS exit_signal,
         sum(count)::BIGINT AS events
  FROM actions LEFT JOIN (
    SELECT run, child AS proc, any_value(proc) AS parent
    FROM actions WHERE kind = 'proc.spawn' AND child IS NOT NULL GROUP BY run, child
  ) spawned USING (run, proc)
  WHERE proc IS NOT NULL GROUP BY run, proc ORDER BY run, proc;

DROP TABLE records;

CREATE VIEW files AS
  SELECT run, seq, time, proc, pid, exe, kind, target AS path, "to", access, bytes, count, failed
  FROM actions WHERE (kind LIKE 'file.%' OR kind LIKE 'dir.%') AND starts_with(target, '/');

CREATE VIEW network AS
  SELECT run, seq, time, proc, pid, exe, kind, target AS address, family, bytes, count, failed
  FROM actions WHERE kind LIKE 'net.%';

CREATE VIEW failures AS
  SELECT run, seq, time, proc, pid, exe, kind, target,
         unnest(map_keys(errors)) AS errno, unnest(map_values(errors)) AS times
  FROM actions WHERE failed > 0;
"""


def open_database(logs: Sequence[Path]) -> duckdb.DuckDBPyConnection:
    """A sandboxed in-memory database over `logs` (first files of runs; rotated parts follow).

    A torn last line, of a log that is being written, is left out. CapsuleError where a log
    cannot be read or DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise CapsuleError(
            "queries need DuckDB; install it with: pip install 'capsule-runtime[query]'"
        ) from None
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _RECORD.items())
    unions = []
    for log in logs:
        for part in parts(log):
            unions.append(
                f"SELECT {_quoted(str(log))} AS log, * FROM read_json({_quoted(str(part))}, "
                f"format = 'newline_delimited', columns = {{{columns}}}, ignore_errors = true, "
                f"maximum_object_size = {MAX_LINE})"
            )
    try:
        database.execute(f"CREATE TABLE records AS {' UNION ALL '.join(unions)}")
        database.execute(_SCHEMA)
    except duckdb.Error as error:
        raise CapsuleError(f"cannot read the log: {error}") from None
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


def _quoted(text: str) -> str:
    """A SQL string, as a file's name cannot be a parameter everywhere."""
    return "'" + text.replace("'", "''") + "'"

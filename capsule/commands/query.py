"""`capsule query SQL [RUN…]`: ask one or many logs in SQL."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from capsule.commands._lines import harmless
from capsule.commands._runoptions import add_run_options, chosen_runs
from capsule.errors import CapsuleError, UsageError
from capsule.logdir import log_dir, runs

if TYPE_CHECKING:
    import duckdb


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "query",
        help="ask logs in SQL",
        description="Run SQL over the newest run, the runs named, or all. Tables: runs, actions, "
        "processes; views: files, network, failures (docs/query.md).",
        epilog="Example: capsule query 'SELECT path, sum(bytes) FROM files GROUP BY path'",
    )
    parser.add_argument("sql", metavar="SQL", help="one or more statements; the last one's result")
    add_run_options(parser, "any")
    parser.add_argument("--all", action="store_true", help="every run in the log directory")
    parser.add_argument(
        "--format",
        choices=("table", "json", "csv", "parquet"),
        default="table",
        help="how to print the result; parquet goes to a pipe or file (default: table)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from capsule.query import open_database

    if args.all and args.logs:
        raise UsageError("give either --all or the runs")
    if args.format == "parquet" and sys.stdout.isatty():
        raise UsageError("parquet is binary: send it to a file, as in … --format parquet >FILE")
    logs = runs(log_dir(args.log_dir)) if args.all else chosen_runs(args)
    if not logs:
        where = log_dir(args.log_dir)
        raise CapsuleError(f"there are no runs in {where}; make one with capsule trace")
    with open_database(logs) as database:
        import duckdb

        try:
            result = database.sql(args.sql)
        except duckdb.Error as error:
            raise CapsuleError(str(error).strip()) from None
        if result is not None:
            _print(result, args.format)
    return 0


def _print(result: duckdb.DuckDBPyRelation, how: str) -> None:
    import duckdb

    try:
        if how == "parquet":
            _print_parquet(result)
            return
        names, rows = result.columns, result.fetchall()
    except duckdb.Error as error:
        raise CapsuleError(str(error).strip()) from None
    if how == "json":
        import orjson

        for row in rows:
            line = orjson.dumps(dict(zip(names, row, strict=True)), default=str)
            sys.stdout.buffer.write(line + b"\n")
    elif how == "csv":
        writer = csv.writer(_LineFeeds(), lineterminator="\r\n")
        writer.writerow(names)
        writer.writerows([_text(value) for value in row] for row in rows)
    else:
        _print_table(names, [[harmless(_text(value)) for value in row] for row in rows])


def _print_table(names: Sequence[str], rows: list[list[str]]) -> None:
    columns = list(zip(names, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    for row in [list(names), *rows]:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _print_parquet(result: duckdb.DuckDBPyRelation) -> None:
    """DuckDB may not write files any more; pyarrow writes from memory."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise CapsuleError(
            "parquet needs pyarrow; install it with: pip install 'capsule-runtime[query]'"
        ) from None
    pyarrow.parquet.write_table(result.to_arrow_table(), sys.stdout.buffer)


class _LineFeeds:
    """Ends rows with LF alone; told so, Python 3.11's csv would leave a lone CR unquoted."""

    def write(self, row: str) -> int:
        return sys.stdout.write(row.removesuffix("\r\n") + "\n")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)

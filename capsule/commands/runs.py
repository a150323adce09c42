"""`capsule runs`: every recorded run, the newest first."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from capsule import logdir
from capsule.commands._lines import clock_text, exit_text, harmless, size_text
from capsule.commands._runoptions import add_run_options
from capsule.errors import CapsuleError
from capsule.logfile import is_live
from capsule.records import backwards, first_line, load, open_log, seq_of, type_of

COLUMNS = ("RUN", "STARTED", "TOOK", "SIZE", "RECORDS", "EXIT", "STATE", "COMMAND")
RIGHT = {"TOOK", "SIZE", "RECORDS", "EXIT"}


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "runs",
        help="list the recorded runs",
        description="List the recorded runs, the newest first. The state is what the last "
        "record says (complete, incomplete, live); --check verifies it.",
    )
    add_run_options(parser, "all", json="one JSON object a line")
    parser.add_argument("--check", action="store_true",
                        help="verify each log: intact, TAMPERED, incomplete")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    directory = logdir.log_dir(args.log_dir)
    found = [describe(path) for path in logdir.runs(directory)]
    if args.check:
        for entry in found:
            _check(entry)
    if args.json:
        for entry in found:
            print(json.dumps(entry))
    elif found:
        _print_table([_row(entry) for entry in found])
    else:
        print(f"capsule: no run in {directory} yet", file=sys.stderr)
    return 0


def describe(path: Path) -> dict[str, Any]:
    """What a run's first and last record say of it. Damaged logs get the state `unreadable`."""
    entry: dict[str, Any] = {
        "run": logdir.split_name(path)[0],
        "path": str(path),
        "bytes": 0,
        "records": None,
        "started_ns": None,
        "duration_ns": None,
        "exit": None,
        "state": "unreadable",
        "argv": None,
    }
    try:
        files = logdir.parts(path)
        entry["bytes"] = sum(file.stat().st_size for file in files)
        live = is_going_on(files[-1])
        first = first_line(path)
        if not first:
            entry["state"] = "live" if live else "incomplete"
            return entry
        start = load(first)
        newest = next(backwards(path), first)
        last = load(newest)
        timed = last if "time_ns" in last else next(
            (load(line) for line in backwards(path) if type_of(line) != "action"), start
        )  # fmt: skip
        ended = last.get("type") == "end"
        entry["records"] = seq_of(newest) + 1
        entry["started_ns"] = start.get("time_ns")
        if isinstance(start.get("time_ns"), int) and isinstance(timed.get("time_ns"), int):
            entry["duration_ns"] = timed["time_ns"] - start["time_ns"]
        entry["exit"] = last.get("exit") if ended else None
        entry["argv"] = start.get("argv")
        entry["state"] = "complete" if ended else "live" if live else "incomplete"
    except (CapsuleError, OSError) as error:
        entry["error"] = str(error)
    return entry


def _check(entry: dict[str, Any]) -> None:
    """Let the state of a run that has ended, or was cut off, be what `capsule verify` finds."""
    from capsule.verifyrun import verify_run

    if entry["state"] in ("complete", "incomplete"):
        try:
            verdict = verify_run(Path(entry["path"])).verdict
        except (CapsuleError, OSError) as error:
            entry["state"], entry["error"] = "unreadable", str(error)
            return
        entry["state"] = {0: "intact", 1: "TAMPERED"}.get(int(verdict), "incomplete")


def is_going_on(path: Path) -> bool:
    """Whether a log's (last) file is being written."""
    fd = open_log(path)
    try:
        return is_live(fd)
    finally:
        os.close(fd)


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    started = entry["started_ns"]
    argv = entry["argv"]
    return (
        harmless(entry["run"]),
        clock_text(started, "%Y-%m-%d %H:%M:%S").partition(".")[0],
        _took(entry["duration_ns"]),
        size_text(entry["bytes"]),
        str(entry["records"] if entry["records"] is not None else "-"),
        exit_text(entry["exit"]) if entry["state"] in ("complete", "intact") else "-",
        entry["state"],
        harmless(shlex.join(map(str, argv))) if isinstance(argv, list) else "-",
    )


def _took(duration_ns: int | None) -> str:
    if duration_ns is None:
        return "-"
    if duration_ns < 60 * 10**9:
        return f"{duration_ns / 1e9:.2f}s"
    minutes, seconds = divmod(duration_ns // 10**9, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m{seconds:02}s" if hours else f"{minutes}m{seconds:02}s"


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for row in (COLUMNS, *rows):
        cells = (
            f"{cell:>{width}}" if name in RIGHT else f"{cell:{width}}"
            for name, cell, width in zip(COLUMNS, row, widths, strict=True)
        )
        print("  ".join(cells).rstrip())

"""`capsule show RUN SEQ`: one record, every member of it."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from typing import Any

from capsule import logdir
from capsule.commands._lines import harmless
from capsule.errors import CapsuleError
from capsule.records import forwards, load, seq_of


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "show", help="show one record of a run", description="Show every member of one record."
    )
    parser.add_argument("log", metavar="RUN", help="a run, its prefix, a file, or latest")
    parser.add_argument("seq", metavar="SEQ", type=int, help="the record's number")
    parser.add_argument("--log-dir", metavar="DIR", help="where the runs are")
    parser.add_argument("--json", action="store_true", help="the record's exact line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the record."""
    path = logdir.find_run(args.log, logdir.log_dir(args.log_dir))
    line = next(forwards(path, args.seq), None) if args.seq >= 0 else None
    if line is None or seq_of(line) != args.seq:
        raise CapsuleError(
            f"{path} has no record {args.seq}; `capsule tail {args.log}` shows the last"
        )
    if args.json:
        sys.stdout.buffer.write(line + b"\n")
        return 0
    for name, value in load(line).items():
        print(f"{harmless(name):12} {_text(name, value)}")
    return 0


def _text(name: str, value: Any) -> str:
    if name.endswith("_ns") and name != "dur_ns" and isinstance(value, int) and value > 10**15:
        seconds, rest = divmod(value, 10**9)
        when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        return f"{value}  ({when:%Y-%m-%d %H:%M:%S}.{rest:09d} UTC)"
    if isinstance(value, str):
        return harmless(value)
    return harmless(json.dumps(value, ensure_ascii=False))

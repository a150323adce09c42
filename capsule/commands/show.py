"""`capsule show RUN SEQ`: one record, every member of it, and the raw lines behind it."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capsule.commands._lines import harmless
from capsule.commands._runoptions import add_run_options, chosen_run
from capsule.errors import CapsuleError
from capsule.raw import raw_path
from capsule.records import forwards, load, seq_of
from capsule.text import escape


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "show", help="show one record of a run", description="Show every member of one record."
    )
    add_run_options(parser, "one", json="the record's exact line")
    parser.add_argument("seq", metavar="SEQ", type=int, help="the record's number")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="only strace's lines (the run was traced with --keep-raw)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the record."""
    path = chosen_run(args)
    line = next(forwards(path, args.seq), None) if args.seq >= 0 else None
    if line is None or seq_of(line) != args.seq:
        raise CapsuleError(
            f"{path} has no record {args.seq}; `capsule tail {args.log}` shows the last"
        )
    if args.json:
        sys.stdout.buffer.write(line + b"\n")
        return 0
    record = load(line)
    if not args.raw:
        for name, value in record.items():
            print(f"{harmless(name):12} {_text(name, value)}")
    if record["type"] == "action" and (args.raw or raw_path(path).exists()):
        _show_raw(path, record, heading=not args.raw)
    elif args.raw:
        raise CapsuleError(f"record {args.seq} is no Action: no raw lines are behind it")
    return 0


def _show_raw(path: Path, action: dict[str, Any], *, heading: bool) -> None:
    """Print the lines of the raw trace that `action` stands for."""
    from capsule.behind import lines_behind

    found = lines_behind(action, raw_path(path), {action["pid"], *_threads(path, action)})
    if heading:
        print(f"\n{len(found.lines)} raw lines:")
    for number, text in found.lines:
        print(f"{number:8}  {harmless(escape(text))}" if heading else harmless(escape(text)))
    if not found.exact:
        print(
            f"capsule: the Action counts {action['count']} calls; these are all lines that may "
            "be among them",
            file=sys.stderr,
        )


def _threads(path: Path, action: dict[str, Any]) -> Iterator[int]:
    """The thread ids that the Action's process had until then."""
    for line in forwards(path):
        if seq_of(line) > action["seq"]:
            return
        if b'"kind":"thread.spawn"' in line:
            record = load(line)
            if record["proc"] == action["proc"] and "tid" in record:
                yield record["tid"]


def _text(name: str, value: Any) -> str:
    if name.endswith("_ns") and isinstance(value, int) and 10**15 < value < 2**63:
        seconds, rest = divmod(value, 10**9)
        when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        return f"{value}  ({when:%Y-%m-%d %H:%M:%S}.{rest:09d} UTC)"
    if isinstance(value, str):
        return harmless(value)
    return harmless(json.dumps(value, ensure_ascii=False))

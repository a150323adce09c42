"""`capsule parse FILE|-`: strace text as JSON lines, one event each."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from typing import IO

from capsule._jsonl import jsonl
from capsule._parse import Parser
from capsule.errors import CapsuleError

CHUNK = 1 << 20


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "parse",
        help="print the events of an strace log as JSON lines",
        description="Read strace text (any release from 4.5, any output options) and print one "
        "JSON object for each call, signal and exit. A line that is not understood is printed "
        'as {"kind":"unparsed"}, and counted on standard error.',
    )
    parser.add_argument("file", metavar="FILE", help="strace output; - reads standard input")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    with ExitStack() as stack:
        if args.file == "-":
            source: IO[bytes] = sys.stdin.buffer
        else:
            try:
                source = stack.enter_context(open(args.file, "rb", buffering=0))
            except OSError as error:
                raise CapsuleError(f"cannot read {args.file}: {error.strerror}") from error
        return convert(source, sys.stdout.buffer, args.file)


def convert(source: IO[bytes], sink: IO[bytes], name: str) -> int:
    """Copy strace text from `source` to `sink` as JSON lines; the exit status.

    What can be had is printed at once, so that a live trace can be followed.
    """
    parser = Parser()
    read = getattr(source, "read1", source.read)
    while True:
        try:
            chunk = read(CHUNK)
        except OSError as error:
            raise CapsuleError(f"cannot read {name}: {error.strerror}") from error
        if not chunk:
            break
        sink.write(jsonl(parser.feed(chunk)))
        sink.flush()
    sink.write(jsonl(parser.finish()))
    sink.flush()
    unparsed = parser.counters()["unparsed"]
    if unparsed:
        lines = "1 line is" if unparsed == 1 else f"{unparsed} lines are"
        print(f"capsule: {name}: {lines} not understood and kept as unparsed", file=sys.stderr)
    return 0

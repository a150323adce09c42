"""`capsule report [RUN]`: a run as one HTML page."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capsule.commands._lines import harmless, size_text
from capsule.commands._output import output
from capsule.commands._runoptions import add_run_options, chosen_run
from capsule.errors import CapsuleError, UsageError
from capsule.records import forwards, load
from capsule.tags import shipped_rules
from capsule.verify import Report, Verdict
from capsule.verifyrun import verify_run

DEFAULT = "report.html"
HEAVY_BYTES = 25_000_000
"""A page beyond this is slow to open."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "report",
        help="write a run as an HTML page",
        description="Verify a run and write it as one HTML page that needs no network: what it "
        "did in words, process tree, timeline, files, addresses, failures, tags, every Action. "
        "The exit status is that of `capsule verify`.",
    )
    add_run_options(parser, "latest")
    where = f"write to FILE, - for standard output (default: {DEFAULT})"
    parser.add_argument("-o", "--output", metavar="FILE", default=DEFAULT, help=where)
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the page; say on stderr what is wrong with the log. Returns the verdict."""
    if args.open and args.output == "-":
        raise UsageError("--open needs a file: name one with -o")
    path = chosen_run(args)
    verdict = verify_run(path)
    with output(args.output) as write:
        size_bytes = write(page(path, verdict).encode())
    _say_verdict(path, verdict)
    if args.output != "-":
        print(
            f"capsule: report: {harmless(args.output)} ({size_text(size_bytes)})", file=sys.stderr
        )
    if size_bytes > HEAVY_BYTES:
        print("capsule: a page of this size takes a browser a while to open", file=sys.stderr)
    if args.open:
        webbrowser.open(Path(args.output).absolute().as_uri())
    return int(verdict.verdict)


def page(path: Path, verdict: Report) -> str:
    """The page of the log at `path`, of the records that `verdict` found good."""
    from capsule.report.model import collect
    from capsule.report.page import render

    whys = {rule.tag: rule.why for rule in reversed(shipped_rules())}
    try:
        model = collect(_good_records(path, verdict))
        return render(model, verdict, whys, time.time_ns())
    except (AttributeError, KeyError, OverflowError, TypeError) as error:
        raise CapsuleError(harmless(
            f"{path}: a record says what none can (docs/actions.md): "
            f"{type(error).__name__}: {error}"
        )) from error  # fmt: skip


def _good_records(path: Path, verdict: Report) -> Iterator[dict[str, Any]]:
    """Those that were verified: not what is bad, not what has come since."""
    return (load(line) for line in itertools.islice(forwards(path), verdict.records))


def _say_verdict(path: Path, verdict: Report) -> None:
    text = ""
    if verdict.bad is not None:
        text = f"is TAMPERED: {verdict.bad.reason}; the report ends before it"
    elif verdict.verdict is Verdict.INCOMPLETE:
        text = "is INCOMPLETE: it was cut off, or still goes on"
    if text:
        print(harmless(f"capsule: {path} {text}"), file=sys.stderr)

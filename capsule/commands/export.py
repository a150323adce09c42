"""`capsule export --format F [RUN…]`: a log in the format of another tool."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from capsule import logdir
from capsule.commands._lines import harmless
from capsule.commands._output import output
from capsule.commands._runoptions import add_run_options, chosen_runs
from capsule.errors import CapsuleError, UsageError
from capsule.export.formats import FORMATS, Format, require
from capsule.export.options import Options
from capsule.export.runs import Run
from capsule.export.tables import TABLES
from capsule.raw import raw_path
from capsule.verifyrun import verify_run

FORGED = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""What a writer raises at a record that says what no Action of ours can."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "export",
        help="write runs in the format of another tool",
        description="Verify runs and write them in another format, to standard output or a file.",
        epilog="formats: " + "; ".join(f"{name}: {one.what}" for name, one in FORMATS.items()),
    )
    add_run_options(parser, "any")
    parser.add_argument("--format", "-f", required=True, choices=tuple(FORMATS), metavar="FORMAT",
                        help=", ".join(FORMATS))  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", help="write to FILE, whole or not at all")
    parser.add_argument("--all", action="store_true", help="every run in the log directory")
    parser.add_argument(
        "--table", choices=tuple(TABLES), help="of csv and parquet (default: actions)"
    )
    parser.add_argument(
        "--to", metavar="URL", help="of otlp: send it there, as in http://127.0.0.1:4318"
    )
    parser.add_argument(
        "--sign", metavar="KEY", help="of in-toto: sign with this Ed25519 key (PEM), as DSSE"
    )
    parser.add_argument(
        "--allow-tampered", action="store_true", help="export logs that are TAMPERED, too"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify the runs, then write them; say on stderr what is not as it should be."""
    form = FORMATS[args.format]
    options = _options(args)
    if form.binary and not args.output and sys.stdout.isatty():
        raise UsageError(f"{args.format} is binary: name a file with -o, or send it to a pipe")
    if args.all and args.logs:
        raise UsageError("give either --all or the runs")
    where = logdir.log_dir(args.log_dir)
    logs = logdir.runs(where)[::-1] if args.all else chosen_runs(args)
    if not logs:
        raise CapsuleError(f"there are no runs in {where}; make one with capsule trace")
    if len(logs) > 1 and not form.many:
        raise UsageError(f"{args.format} takes one run at a time")
    if args.output and os.path.realpath(args.output) in _kept(logs):
        raise UsageError(f"-o {args.output}: that is the log itself; name another file")
    require(args.format)
    runs = [_open(log, args.allow_tampered) for log in logs]
    with _sender(args.to) if args.to else output(args.output) as write:
        for chunk in _chunks(form, runs, options):
            write(chunk)
    for one in runs:
        if one.unreadable:
            _say(f"{one.id}: {one.unreadable} lines are no records and were left out")
    return 0


def _options(args: argparse.Namespace) -> Options:
    if args.table and args.format not in ("csv", "parquet"):
        raise UsageError(f"--table is for csv and parquet, not for {args.format}")
    if args.to and args.format != "otlp":
        raise UsageError(f"--to is for otlp, not for {args.format}")
    if args.to and args.output:
        raise UsageError("give either --to or -o")
    if args.sign and args.format != "in-toto":
        raise UsageError(f"--sign is for in-toto, not for {args.format}")
    key = Path(args.sign) if args.sign else None
    return Options(table=args.table or "actions", key=key)


def _kept(logs: Sequence[Path]) -> set[str]:
    """The files of these runs, which no export may replace."""
    files = {os.path.realpath(file) for log in logs for file in logdir.parts(log)}
    return files | {os.path.realpath(raw_path(log)) for log in logs}


def _open(log: Path, allow_tampered: bool) -> Run:
    """Verify a run. CapsuleError where it is TAMPERED, unless that is allowed."""
    found = Run(log, verify_run(log))
    bad = found.report.bad
    if bad is not None:
        what = f"{found.id} is TAMPERED: {bad.reason}"
        if not allow_tampered:
            raise CapsuleError(
                harmless(f"{what}; nothing is exported (--allow-tampered does it anyway)")
            )
        _say(what)
    elif found.incomplete:
        _say(f"{found.id} is INCOMPLETE: it was cut off, or still goes on")
    return found


def _chunks(form: Format, runs: Sequence[Run], options: Options) -> Iterator[bytes]:
    """The output. A signed record may still say what no Action can: an error of its own."""
    try:
        yield from form.write(runs, options)
    except FORGED as error:
        last = next((one for one in reversed(runs) if one.seq >= 0), runs[0])
        raise CapsuleError(harmless(
            f"{last.id}: a record up to {last.seq} says what no Action can (docs/actions.md): "
            f"{type(error).__name__}: {error}"
        )) from error  # fmt: skip


@contextlib.contextmanager
def _sender(url: str) -> Iterator[Callable[[bytes], object]]:
    """A function that sends a request."""
    from capsule.export.otlphttp import Sender

    with Sender(url, os.environ) as sender:
        yield sender.send
    if sender.rejected:
        _say(f"{url} rejected {sender.rejected} of them: {sender.why or 'it does not say why'}")


def _say(text: str) -> None:
    print(harmless(f"capsule: {text}"), file=sys.stderr)

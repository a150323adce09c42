"""`capsule import FILE|-`: an existing strace text through the same pipeline, into a log."""

from __future__ import annotations

import argparse
import os
import sys

from capsule.commands._finish import try_summary
from capsule.commands.trace import add_log_options, finish, told
from capsule.errors import CapsuleError
from capsule.logdir import log_dir, new_run_id, open_log_dir
from capsule.pipeline import Pipeline
from capsule.start import start_record
from capsule.supervise import Supervisor, block_signals
from capsule.topology import Plan


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "import",
        help="turn an existing strace log into a verifiable log",
        description="Send strace text (best: strace -f -ttt -y -s 1024 -o FILE) through the "
        "pipeline. The log proves what Capsule made of the text, not where the text came from.",
    )
    parser.add_argument("file", metavar="FILE", help="strace output; - reads standard input")
    parser.add_argument("-q", "--quiet", action="store_true", help="no summary at the end")
    parser.add_argument("--summary", metavar="FILE", help="write the summary to FILE as JSON")
    add_log_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        source = os.dup(0) if args.file == "-" else os.open(args.file, os.O_RDONLY | os.O_CLOEXEC)
        if os.path.isdir(source):
            raise IsADirectoryError(21, "Is a directory")
    except OSError as error:
        raise CapsuleError(f"cannot read {args.file}: {error.strerror}") from error
    try_summary(args.summary)
    directory = open_log_dir(log_dir(args.log_dir))
    run_id = new_run_id()
    signals, _ = block_signals()
    words = [os.fsencode(word) for word in sys.argv]
    plan = Plan(
        source=source,
        log_path=directory / f"{run_id}.jsonl",
        start=start_record(run_id, words, imported=args.file),
        live=False,
        fsync=args.fsync,
        keep_raw=args.keep_raw,
        **told(args),
    )
    outcome = Supervisor(Pipeline(plan), signals).run()
    finish(args, outcome, plan.log_path)
    return outcome.status

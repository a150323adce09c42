"""`capsule watch [RUN | -- COMMAND…]`: a run on the whole terminal, live."""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from capsule import logdir
from capsule.commands import _finish
from capsule.errors import CapsuleError, UsageError


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "watch",
        help="look at a run on the whole terminal, live",
        usage="capsule watch [--log-dir DIR] [RUN]\n"
        "       capsule watch [--log-dir DIR] -- COMMAND [ARG…]",
        description="Show the process tree of a run and what each process does, while it goes on "
        "or afterwards. With COMMAND: trace that, in a terminal of its own. ? tells the keys.",
        epilog="Exit status: the command's own, as that of trace; of a RUN 0.",
    )
    parser.add_argument("--log-dir", metavar="DIR", help="where the runs are")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="RUN | -- COMMAND",
                        help="a run, its prefix or a file (default: the latest); after --, "
                        "what to trace")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show it until the user quits."""
    words = args.words
    command = words[1:] if words[:1] == ["--"] else []
    if words[:1] == ["--"] and not command:
        raise UsageError("give a command after --")
    if len(words) > 1 and not command:
        raise UsageError("give one run, options before it; put -- before a command")
    if not all(os.isatty(fd) for fd in (0, 1, 2)):
        raise UsageError("watch needs a terminal; `capsule tail -f` can be sent to a file or pipe")
    try:
        import pyte  # noqa: F401
        import textual  # noqa: F401
    except ImportError:
        raise CapsuleError(
            "watch needs textual and pyte; install them with: pip install 'capsule-runtime[watch]'"
        ) from None
    directory = logdir.log_dir(args.log_dir)
    if command:
        return _watch_command(command, directory)
    from capsule.watch.app import WatchApp

    path = logdir.find_run(words[0] if words else None, directory)
    app = WatchApp(path, None, (80, 24))
    app.run()
    return app.return_code or 0


def _watch_command(command: list[str], directory: os.PathLike[str]) -> int:
    from pathlib import Path

    from capsule.watch.app import WatchApp
    from capsule.watch.emulator import TERM
    from capsule.watch.layout import layout
    from capsule.watch.target import Target

    plan = layout(*shutil.get_terminal_size())
    size = plan.target_columns, plan.target_lines
    env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    target = Target(command, Path(directory), size, {**env, "TERM": TERM})
    app = WatchApp(None, target, size)
    try:
        app.run()
    finally:
        status = target.end()
        target.close()
    if target.summary is not None:
        _finish.print_summary(target.summary)
    elif app.session.source is None and app.terminal is not None:
        for line in app.terminal.emulator.text():
            print(line, file=sys.stderr)
    return status

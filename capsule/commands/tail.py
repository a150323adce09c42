"""`capsule tail`: the newest records of a run, for people or machines."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from capsule import logdir
from capsule.commands._lines import Lines, wants_colour
from capsule.commands._live import Depths, LiveView
from capsule.commands._runoptions import add_run_options, chosen_run
from capsule.errors import UsageError
from capsule.records import Follower, Wanted, backwards, forwards, load, seq_of, type_of

POLL_S = 0.05
DEFAULT_COUNT = 10
INCOMPLETE = 3


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "tail",
        help="show the newest records of a run, and follow it",
        description="Show the newest records of a run: time, pid, program, kind, target, "
        "count, bytes, errors.",
        epilog="exit status: 0; with -f, 3 when the writer went away without ending the log.",
    )
    add_run_options(parser, "latest", json="the records' exact lines")
    parser.add_argument("--follow", "-f", action="store_true",
                        help="go on until the log ends")  # fmt: skip
    parser.add_argument("--kind", "-k", action="append", default=[], metavar="KIND",
                        help="only Actions of this kind: file.open, net, 'proc.*'; "
                        "may be repeated")  # fmt: skip
    parser.add_argument("--tree", action="store_true",
                        help="indent each program below the one that started it")  # fmt: skip
    parser.add_argument("--from", dest="from_seq", type=int, metavar="SEQ",
                        help="begin at record SEQ")  # fmt: skip
    parser.add_argument("-n", "--lines", dest="count", metavar="N",
                        help=f"the last N records ({DEFAULT_COUNT}), or all")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print, and follow if asked."""
    path = chosen_run(args)
    count = _count(args)
    wanted = Wanted(args.kind)
    out = Printer(json=args.json, live=args.follow, depths=Depths() if args.tree else None)
    if args.tree:
        out.learn(forwards(path))
    if args.follow:
        return _follow(path, args.from_seq, count, wanted, out)
    if args.from_seq is not None:
        lines: Iterable[bytes] = wanted.only(forwards(path, args.from_seq))
        out.print(lines if count is None else _first(lines, count))
    elif count is None:
        out.print(wanted.only(forwards(path)))
    else:
        out.print(_last(path, count, wanted))
    return 0


def _count(args: argparse.Namespace) -> int | None:
    if args.count is None:
        return None if args.from_seq is not None else DEFAULT_COUNT
    if args.count == "all":
        return None
    if not args.count.isdecimal():
        raise UsageError(f"-n {args.count}: give a number of records, or all")
    return int(args.count)


class Printer:
    """Writes records to stdout, exact or for people; a `live` one on a terminal folds."""

    def __init__(self, *, json: bool, live: bool = False, depths: Depths | None = None) -> None:
        self._json = json
        self._depths = depths
        self._view = None
        colour = wants_colour(sys.stdout)
        self._lines = Lines(colour=colour)
        if live and not json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            self._view = LiveView(shutil.get_terminal_size(), depths, colour=colour)

    def learn(self, lines: Iterable[bytes]) -> None:
        """Let `--tree` know who started whom, whether or not it is printed."""
        if self._depths is not None:
            self._depths.learn(lines)

    def print(self, lines: Iterable[bytes]) -> None:
        """Write every line."""
        write = sys.stdout.buffer.write
        for line in lines:
            if self._json:
                write(line + b"\n")
                continue
            record = load(line)
            if self._view is not None:
                write(self._view.show(record).encode())
                continue
            depth = None if self._depths is None else self._depths.of(record)
            write(self._lines.render(record, depth=depth).encode() + b"\n")

    def flush(self) -> None:
        """Let the reader see it now."""
        sys.stdout.buffer.flush()


def _first(lines: Iterable[bytes], count: int) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        if number >= count:
            return
        yield line


def _last(path: Path, count: int, wanted: Wanted) -> list[bytes]:
    return list(_first(wanted.only(backwards(path)), count))[::-1]


def _follow(
    path: Path, from_seq: int | None, count: int | None, wanted: Wanted, out: Printer
) -> int:
    """Print what is asked for, then whatever is added, until the end record.

    The file is polled: that works on every file system and needs nothing of the writer.
    """
    # What is there is read up to a known seq, so that following begins exactly behind it: in the
    # file that was the last before, as the log may be rotated meanwhile.
    part = len(logdir.parts(path)) - 1
    newest = next(backwards(path), None)
    through = seq_of(newest) if newest else -1
    ended = newest is not None and type_of(newest) == "end"
    if from_seq is not None or count is None:
        begin = from_seq or 0
        out.print(line for line in wanted.only(forwards(path, begin)) if seq_of(line) <= through)
    elif count:
        old = (line for line in backwards(path) if seq_of(line) <= through)
        out.print(list(_first(wanted.only(old), count))[::-1])
    out.flush()
    if ended:
        return 0
    follower = Follower(logdir.parts(path)[0], part)
    return _follow_on(follower, max(through + 1, from_seq or 0), wanted, out)


def _follow_on(follower: Follower, seq: int, wanted: Wanted, out: Printer) -> int:
    try:
        while True:
            alive = follower.writer_lives()  # asked before reading: what it wrote is then there
            lines = follower.read()
            fresh = [line for line in lines if seq_of(line) >= seq]
            out.learn(fresh)
            out.print(wanted.only(fresh))
            out.flush()
            if lines and type_of(lines[-1]) == "end":
                return 0
            if not lines:
                if not alive:
                    torn = follower.torn_bytes
                    more = f" and {torn} bytes of a torn record" if torn else ""
                    out.flush()
                    print(
                        f"capsule: the writer is gone; the log has no end record{more}",
                        file=sys.stderr,
                    )
                    return INCOMPLETE
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        return 128 + 2
    finally:
        follower.close()

"""`capsule rm RUN…`, `capsule rm --keep DAYS`: remove runs, all files of each."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from capsule.commands._runoptions import add_run_options, chosen_runs
from capsule.errors import CapsuleError, UsageError
from capsule.logdir import LATEST, log_dir, parts, runs, set_latest
from capsule.logfile import is_live
from capsule.raw import raw_path

DAY_S = 86_400


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "rm",
        help="remove runs",
        description="Remove the logs of RUN…, or of all runs that were last written to more than "
        "DAYS days ago. A run that still goes on is never removed.",
    )
    add_run_options(parser, "any")
    parser.add_argument("--keep", metavar="DAYS", type=float, help="remove what is older")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would go")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if (args.keep is None) == (not args.logs):
        raise UsageError("give either the runs to remove or --keep DAYS")
    if args.keep is not None and not args.keep >= 0:
        raise UsageError(f"--keep {args.keep}: give a number of days")
    directory = log_dir(args.log_dir)
    if args.logs:
        chosen = chosen_runs(args)
        for path in chosen:
            if path.parent.resolve() != directory.resolve():
                raise UsageError(f"{path} is not in the log directory {directory}")
        _refuse_live(chosen)
    else:
        before_s = time.time() - args.keep * DAY_S
        old = [path for path in runs(directory) if _last_written_s(path) < before_s]
        chosen = [path for path in old if not _is_live(path)]
    for path in chosen:
        print(f"{'would remove' if args.dry_run else 'removed'} {path.stem}")
        if not args.dry_run:
            _remove(path)
    if chosen and not args.dry_run:
        _mend_latest(directory)
    return 0


def _refuse_live(chosen: list[Path]) -> None:
    for path in chosen:
        if _is_live(path):
            raise CapsuleError(f"{path.stem} still goes on; end it first")


def _is_live(path: Path) -> bool:
    fd = os.open(parts(path)[-1], os.O_RDONLY | os.O_CLOEXEC)
    try:
        return is_live(fd)
    finally:
        os.close(fd)


def _last_written_s(path: Path) -> float:
    return max(part.stat().st_mtime for part in parts(path))


def _remove(path: Path) -> None:
    """The first file goes last: until then the run is still listed, should something fail."""
    try:
        for file in [raw_path(path), *reversed(parts(path))]:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise CapsuleError(f"cannot remove {error.filename}: {error.strerror}") from None


def _mend_latest(directory: Path) -> None:
    """`latest` must not lead nowhere."""
    link = directory / LATEST
    if link.exists() or not link.is_symlink():
        return
    left = runs(directory)
    if left:
        set_latest(left[0])
    else:
        link.unlink()

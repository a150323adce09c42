"""`capsule verify`: is this log what was written, all of it, and by whom."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from capsule import logdir, raw
from capsule.anchor import read_anchors
from capsule.commands import _lines
from capsule.errors import CapsuleError, UsageError
from capsule.records import open_log
from capsule.segments import ManyVerifier, verify_file
from capsule.verify import Pins, Report, Unreadable, Verdict, Verifier

CHUNK = 1 << 18
_HEX64 = re.compile(r"[0-9a-fA-F]{64}")
UNPINNED = (
    "no pin was given: whoever can write this file could have replaced all of it with fresh keys,\n"
    "and that would verify too. Pin what the end of the run printed, with --expect-head or "
    "--expect-key."
)


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "verify",
        help="check that a log is intact and complete",
        description="Check a log record by record: chain, signatures, cadence, seal.",
        epilog="exit status: 0 intact and complete; 1 TAMPERED; 2 usage or unreadable; "
        "3 intact as far as it goes but INCOMPLETE (unsealed or torn).",
    )
    parser.add_argument(
        "log", nargs="?", metavar="LOG|RUN", help="a file, a run or its prefix, - for stdin; "
        "default: the latest run",
    )  # fmt: skip
    parser.add_argument("--log-dir", metavar="DIR", help="where the runs are")
    parser.add_argument(
        "--expect-head", metavar="[SEQ:]HASH", action="append", default=[],
        help="the last record's hash, or that of record SEQ; may be repeated",
    )  # fmt: skip
    parser.add_argument("--expect-key", metavar="KEY", help="the run's first public key")
    parser.add_argument("--expect-size", metavar="N", type=int, help="the number of records")
    parser.add_argument(
        "--anchors", metavar="FILE", action="append", default=[],
        help="a file of anchored checkpoints, as --anchor-cmd got them: each pins its record",
    )  # fmt: skip
    parser.add_argument(
        "--require-pin", action="store_true", help="refuse to run without a head or key to expect"
    )
    parser.add_argument("--jobs", "-j", metavar="N", type=int, default=1,
                        help="processes to check with (0: one per core)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    parser.add_argument("--quiet", "-q", action="store_true", help="print only what is wrong")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify and report; the verdict's exit status."""
    pins = _pins(args)
    jobs = args.jobs if args.jobs else len(os.sched_getaffinity(0))
    if jobs < 0:
        raise UsageError(f"--jobs {jobs}: give a number of processes, or 0 for every core")
    verifier = ManyVerifier(pins)
    try:
        if args.log == "-":
            name, report = "-", _verify_stdin(verifier)
        else:
            path = logdir.find_run(args.log, logdir.log_dir(args.log_dir))
            name, report = str(path), _verify_files(verifier, path, jobs)
    except Unreadable as error:
        raise CapsuleError(str(error)) from None
    if args.json:
        print(json.dumps(_as_json(name, report)))
    elif not (args.quiet and report.verdict is Verdict.INTACT):
        print(_as_text(name, report))
    if args.log == "-" or report.verdict is Verdict.TAMPERED:
        return int(report.verdict)
    return _check_raw(path, quiet=args.quiet or args.json) or int(report.verdict)


def _check_raw(path: Path, *, quiet: bool) -> int:
    """Check the raw trace that was kept beside the log, if there is one: 1 when it was altered."""
    found = raw.check(path)
    if found is None:
        return 0
    altered = found.state == "altered"
    words = {
        "intact": f"intact through line {found.lines}",
        "missing": f"not here; {found.lines} lines of it were signed",
        "altered": "TAMPERED: it is not what the last checkpoint signed",
    }
    if altered or not quiet:
        text = f"raw trace {raw.raw_path(path)}: {words[found.state]}"
        print(_lines.harmless(text), file=sys.stderr if altered and quiet else sys.stdout)
    return int(altered)


def _pins(args: argparse.Namespace) -> Pins:
    heads: list[tuple[int | None, str]] = []
    for text in args.expect_head:
        seq, colon, head = text.rpartition(":")
        if not _HEX64.fullmatch(head) or (colon and not seq.isdecimal()):
            raise UsageError(f"--expect-head {text}: give 64 hex digits, or SEQ:64 hex digits")
        heads.append((int(seq) if colon else None, head.lower()))
    for name in args.anchors:
        try:
            lines = Path(name).read_bytes().splitlines()
        except OSError as error:
            raise CapsuleError(f"cannot read {name}: {error.strerror}") from None
        heads += read_anchors(lines, functools.partial(_warn, name))
    key = args.expect_key
    if key is not None and not _HEX64.fullmatch(key):
        raise UsageError(f"--expect-key {key}: give 64 hex digits")
    pins = Pins(tuple(heads), key.lower() if key else None, args.expect_size)
    if args.require_pin and not pins:
        raise UsageError("--require-pin: give --expect-head, --expect-key or --anchors")
    return pins


def _warn(name: str, what: str) -> None:
    print(f"capsule: {_lines.harmless(name)}: {what}", file=sys.stderr)


def _verify_stdin(verifier: Verifier) -> Report:
    while chunk := os.read(0, CHUNK):
        if not verifier.feed(chunk):
            break
    return verifier.finish()


def _verify_files(verifier: ManyVerifier, path: Path, jobs: int) -> Report:
    files = logdir.parts(path)
    progress = Progress(sum(file.stat().st_size for file in files))
    with contextlib.ExitStack() as stack:
        stack.callback(progress.clear)
        pool = stack.enter_context(ProcessPoolExecutor(jobs)) if jobs > 1 else None
        for part, file in enumerate(files):
            if part and not verifier.next_part():
                break
            if pool is not None and file.is_file():
                verifier = verify_file(verifier, file, pool, jobs, progress.add)
            elif not _feed_file(verifier, file, progress):
                break
    if (gone := logdir.missing_part(files)) is not None:
        verifier.missing_part(gone)
    return verifier.finish()


def _feed_file(verifier: Verifier, path: Path, progress: Progress) -> bool:
    fd = open_log(path)
    try:
        while chunk := _read(fd, path):
            if not verifier.feed(chunk):
                return False
            progress.add(len(chunk))
    finally:
        os.close(fd)
    return True


def _read(fd: int, path: Path) -> bytes:
    try:
        return os.read(fd, CHUNK)
    except OSError as error:
        raise CapsuleError(f"cannot read {path}: {error.strerror}") from None


class Progress:
    """A line on stderr while a large log is read; only on a terminal."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._done = 0
        self._began = time.monotonic()
        self._shown = 0.0
        self._on = sys.stderr.isatty() and total_bytes > 64 * CHUNK

    def add(self, size_bytes: int) -> None:
        """Count `size_bytes` as read; redraw at most ten times a second."""
        self._done += size_bytes
        now = time.monotonic()
        if not self._on or now - self._shown < 0.1:
            return
        self._shown = now
        share = min(self._done / self._total, 1.0)
        bar = "#" * int(30 * share)
        rate = _lines.size_text(int(self._done / (now - self._began)))
        sys.stderr.write(f"\r[{bar:30}] {share:4.0%} {rate}/s\x1b[K")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._on:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _as_text(name: str, report: Report) -> str:
    word = {
        Verdict.INTACT: "intact and complete",
        Verdict.TAMPERED: "TAMPERED",
        Verdict.INCOMPLETE: "INCOMPLETE",
    }[report.verdict]
    rows = [f"{_lines.harmless(name)}: {word}"]
    if report.bad is not None:
        part = f" of part {report.bad.part}" if report.bad.part else ""
        rows.append(
            f"  first bad      seq {report.bad.seq} at byte offset {report.bad.offset}{part}"
        )
        rows.append(f"  reason         {_lines.harmless(report.bad.reason)}")
    elif report.verdict is Verdict.INCOMPLETE:
        torn = f"; {report.torn_bytes} bytes of a torn record follow" if report.torn_bytes else ""
        rows.append(f"  reason         no end record: the run was cut off or still goes on{torn}")
    through = report.authenticated_through
    signed = "nothing" if through is None else f"seq {through}"
    rows.append(f"  authenticated through {signed}")
    rows += [f"  {label:14} {value}" for label, value in _facts(report) if value is not None]
    if not report.pinned:
        rows += ["", UNPINNED]
    return "\n".join(rows)


def _facts(report: Report) -> list[tuple[str, str | None]]:
    bad = report.verdict is Verdict.TAMPERED
    size = f"{report.records} ({_lines.size_text(report.size_bytes)})"
    files = f"{report.parts} files" if report.parts > 1 else None
    done = report.end or {}
    return [
        ("run", _lines.harmless(report.run) if report.run else None),
        ("good records" if bad else "records", size),
        ("rotated into", files),
        ("exit", _lines.exit_text(done.get("exit")) if report.end else None),
        ("head", None if bad else report.head or None),
        ("public key", report.public_key),
    ]


def _as_json(name: str, report: Report) -> dict[str, Any]:
    bad = report.bad
    return {
        "log": name,
        "verdict": report.verdict.name.lower(),
        "first_bad_seq": bad.seq if bad else None,
        "byte_offset": bad.offset if bad else None,
        "part": bad.part if bad else None,
        "reason": bad.reason if bad else None,
        "authenticated_through": report.authenticated_through,
        "run": report.run,
        "records": report.records,
        "bytes": report.size_bytes,
        "torn_bytes": report.torn_bytes,
        "head": report.head or None,
        "public_key": report.public_key,
        "pinned": report.pinned,
    }

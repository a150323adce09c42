"""Options of `trace` and `import` that say where the log goes and who else hears of it."""

from __future__ import annotations

import argparse
import fcntl
import os
import re
from typing import Any

from capsule import logdir
from capsule.errors import UsageError

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"([1-9][0-9]{0,8})([KMG]?)", re.IGNORECASE)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--log-fd",
        type=int,
        metavar="N",
        help="write the log to this open descriptor: a file that only root can write, a pipe "
        "to another host",
    )
    parser.add_argument(
        "--rotate-size",
        metavar="SIZE",
        help="go on in a new file once one is past SIZE (K, M, G)",
    )
    parser.add_argument(
        "--anchor-cmd",
        metavar="CMD",
        action="append",
        default=[],
        help="a shell command that gets each checkpoint on its stdin (repeatable); "
        "`capsule verify --anchors` takes what it kept",
    )
    parser.add_argument(
        "--anchor-syslog",
        action="store_true",
        help="send each checkpoint's hash to the system log",
    )
    parser.add_argument(
        "--on-log-failure",
        choices=("stop", "continue"),
        default="stop",
        help="when the log cannot be written, or was changed by someone: stop what is traced "
        "(default), or let it run on without a log",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="say in the log which cut-off run it goes on from; that log is hashed, not changed",
    )


def told(args: argparse.Namespace) -> dict[str, Any]:
    """What the options tell the logger, as members of Plan. UsageError if they cannot be used."""
    resumes = None
    if args.resume is not None:
        from capsule.resume import resume_link

        resumes = resume_link(logdir.find_run(args.resume, logdir.log_dir(args.log_dir)))
    if args.log_fd is not None:
        if args.rotate_size:
            raise UsageError("--rotate-size: a log on a descriptor (--log-fd) cannot rotate")
        check_fd("--log-fd", args.log_fd)
    return {
        "log_fd": args.log_fd,
        "rotate_bytes": _size(args.rotate_size) if args.rotate_size else 0,
        "anchor_cmds": tuple(args.anchor_cmd),
        "anchor_syslog": args.anchor_syslog,
        "resumes": resumes,
        "on_log_failure": args.on_log_failure,
    }


def check_fd(option: str, fd: int) -> None:
    """Raise UsageError unless `fd` can be written to; what is traced does not inherit it."""
    try:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        os.set_inheritable(fd, False)
    except OSError as error:
        raise UsageError(
            f"{option} {fd}: {error.strerror}; open it as in `capsule trace {option} 9 … 9>>FILE`"
        ) from None
    if flags & os.O_ACCMODE == os.O_RDONLY or fd <= 2:
        raise UsageError(f"{option} {fd}: not a descriptor above 2 that is open for writing")


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"--rotate-size {text}: give a size such as 64M")
    return int(match[1]) * _UNITS[match[2].upper()]

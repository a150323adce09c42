"""The facts of a log's `start` record: what is about to run, where, when and under what."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from capsule import __version__
from capsule.text import escape, escape_arg


def start_record(run: str, argv: list[bytes], **details: Any) -> dict[str, Any]:
    """The start record of run `run`; `details` are added as they are (JSON values).

    `time_ns` and `clocks` are read together (clock_gettime(2)): they tie the log's epoch
    stamps (strace's gettimeofday) to the monotonic and the boot clock.
    """
    system = os.uname()
    return {
        "run": run,
        "capsule": __version__,
        "argv": [escape(word) for word in argv],
        "cwd": escape_arg(os.getcwd()),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "pid": os.getpid(),
        "host": system.nodename,
        "kernel": f"{system.sysname} {system.release} {system.machine}",
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "time_ns": time.time_ns(),
        "clocks": {
            "monotonic_ns": time.clock_gettime_ns(time.CLOCK_MONOTONIC),
            "boottime_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        },
        **details,
    }

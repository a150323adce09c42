#!/usr/bin/env python3
"""Alerts when a run does something that has a tag: subscribes to it, and speaks up at once.

    capsule trace --publish ipc:///tmp/run.sock -- make &
    python examples/alert.py ipc:///tmp/run.sock 'exec.*' read.credentials

Prints, a moment after it happened,

    ALERT exec.tmp: proc.exec /tmp/payload (/tmp/payload, pid 4711, record 12)

and leaves with 1 when it had to, 0 when the run ended without, 3 when records are missing.
Put a message to your pager where `print` is.
"""

import fnmatch
import sys

import capsule


def main(url: str, *patterns: str) -> int:
    alerts = 0
    with capsule.subscribe(url, ["action."], from_start=True) as stream:
        for record in stream:
            action = record.data
            for tag in action.get("tags", ()):
                if any(fnmatch.fnmatchcase(tag, pattern) for pattern in patterns or ("*",)):
                    alerts += 1
                    what = f"{action['kind']} {action.get('target', '')}"
                    who = f"{action.get('exe')}, pid {action['pid']}, record {record.seq}"
                    print(f"ALERT {tag}: {what} ({who})", flush=True)
    if stream.lost:
        print(f"{stream.lost} records are missing", file=sys.stderr)
        return 3
    return 1 if alerts else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

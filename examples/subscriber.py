#!/usr/bin/env python3
"""Follows a published run from Python.

    python3 examples/subscriber.py ipc:///tmp/run.sock action.net action.proc

Prints each record's exact line. `record.data` has its members as a dict.
"""

import sys

import capsule


def main() -> int:
    url, *topics = sys.argv[1:]
    joined = False
    with capsule.subscribe(url, topics or ["action."]) as stream:
        while stream.ended is None:
            item = stream.poll(0.1)
            if stream.joined and not joined:
                joined = True
                print("joined", file=sys.stderr, flush=True)
            if isinstance(item, capsule.Record):
                print(item.line.decode(), flush=True)
    return 0 if stream.ended.complete and not stream.lost else 3


if __name__ == "__main__":
    sys.exit(main())

"""`capsule watch` with 50,000 processes: what a record costs to take in, and a frame to draw.

The log is made of real record shapes: each process is spawned, executes, opens some files and
most of them end. Prints microseconds a record, and milliseconds a frame at 120x40: the panes as
they are drawn while keys move through the tree, and the making of the whole tree anew.

    python -m benchmarks.watch [PROCESSES]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import orjson

from capsule.log import Logger
from capsule.watch.app import WatchApp
from capsule.watch.model import Run

FILES = 4
FRAMES = 200
SIZE = (120, 40)


def bodies(processes: int) -> list[bytes]:
    """The Actions of a tree in which each process starts up to eight others."""
    found = []
    for proc in range(1, processes + 1):
        who = {"count": 1, "first_ns": 10**18 + proc, "last_ns": 10**18 + proc}
        me = {"proc": proc, "pid": 1000 + proc, "exe": "/usr/bin/cc", "uid": 0}
        if proc > 1:
            parent = (proc - 2) // 8 + 1
            birth = {"proc": parent, "pid": 1000 + parent, "exe": "/usr/bin/make", "uid": 0}
            child = {"child": proc, "child_pid": 1000 + proc}
            found.append({"kind": "proc.spawn", "target": "pid:7", **who, **birth, **child})
        argv = {"argv": ["cc", "-O2", f"{proc}.c"]}
        found.append({"kind": "proc.exec", "target": "/usr/bin/cc", **who, **me, **argv})
        for number in range(FILES):
            target = f"/usr/include/{proc}/{number}.h"
            failed = {"errors": {"ENOENT": 1}} if number % 2 else {}
            found.append({"kind": "file.open", "target": target, **who, **failed, **me})
        if proc % 4:
            found.append({"kind": "proc.exit", **who, **me, "status": 0})
    return [orjson.dumps(body) + b"\n" for body in found]


def write_log(path: Path, processes: int) -> None:
    """A real log of them."""
    log = Logger(path, {"run": "benchmark", "argv": ["make"]}, fsync="never")
    lines = bodies(processes)
    for at in range(0, len(lines), 256):
        log.feed(b"".join(lines[at : at + 256]))
    log.close({})


async def frames(path: Path) -> tuple[float, list[float], list[float]]:
    """(seconds until all is read, seconds of each frame, seconds of each tree made anew)."""
    app = WatchApp(path, None, SIZE)
    begin_s = time.monotonic()
    async with app.run_test(size=SIZE) as pilot:
        while app.session.is_live:
            await pilot.pause(0.01)
        read_s = time.monotonic() - begin_s
        app.draw(tree_now=True)
        drawn, made = [], []
        for number in range(FRAMES):
            begin_s = time.perf_counter()
            (app.processes.action_page if number % 2 else app.processes.action_move)(1)
            app.draw()
            for pane in (app.heading, app.processes, app.records, app.foot):
                for y in range(pane.size.height):
                    pane.render_line(y)
            drawn.append(time.perf_counter() - begin_s)
            await pilot.pause(0)
        for _ in range(10):
            begin_s = time.perf_counter()
            app.session.make_tree(now=True)
            made.append(time.perf_counter() - begin_s)
    return read_s, drawn, made


def main() -> None:
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "benchmark.jsonl"
        write_log(path, processes)
        lines = path.read_bytes().splitlines()
        begin_s = time.perf_counter()
        Run().feed(lines)
        fed_s = time.perf_counter() - begin_s
        read_s, drawn, made = asyncio.run(frames(path))
    print(
        f"{processes} processes, {len(lines)} records: {fed_s / len(lines) * 1e6:.1f} us a record; "
        f"all read, verified and shown after {read_s:.1f} s; a frame at {SIZE[0]}x{SIZE[1]}: "
        f"{statistics.median(drawn) * 1e3:.1f} ms ({max(drawn) * 1e3:.1f} at worst); the tree "
        f"made anew: {statistics.median(made) * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    main()

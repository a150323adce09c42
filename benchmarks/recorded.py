"""Traces to measure with: real programs recorded by the strace here, and the batches of each stage.

Recorded once a run into memory; the same bytes are then measured as often as wanted.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from capsule._parse import Parser
from capsule.enrich import Enricher
from capsule.syscalls import NAMES

CHUNK = 1 << 15
WORK = {
    # a compile, interpreters starting, trees walked: what most traces look like
    "mixed": (
        "for i in 1 2 3 4; do gcc -O1 x.c -o x; {python} -c 'import json, http.server, email'; "
        "tar cf /dev/null .; find /usr/lib/python3 -name '*.so' >/dev/null 2>&1; done"
    ),
    # nothing but processes that begin and end
    "storm": "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done",
}


@functools.cache
def text(workload: str) -> bytes:
    """Return the strace text of one workload."""
    strace = shutil.which("strace")
    if strace is None:
        raise SystemExit("strace is not installed")
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory)
        (where / "x.c").write_text('#include <stdio.h>\nint main(void){puts("x");return 0;}\n')
        command = WORK[workload].format(python=sys.executable)
        subprocess.run(
            [strace, "-f", "-ttt", "-s", "1024", "-y", "-o", "trace", "sh", "-c", command],
            cwd=where,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return (where / "trace").read_bytes()


@functools.cache
def event_batches(workload: str) -> tuple[list[bytes], int]:
    """Return the event batches of one workload, and how many events they hold."""
    data, parser = text(workload), Parser(NAMES)
    batches = [parser.feed(data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]
    batches.append(parser.finish())
    return batches, parser.counters()["events"]


@functools.cache
def fact_batches(workload: str) -> tuple[list[bytes], int]:
    """Return the fact batches of one workload, and how many events they hold."""
    batches, events = event_batches(workload)
    enricher = Enricher()
    facts = [enricher.feed(batch) for batch in batches]
    facts.append(enricher.finish())
    return facts, events

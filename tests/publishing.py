"""Published runs, and subscribers in processes of their own, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

CAPSULE = (sys.executable, "-m", "capsule")
STORM = "i=0; while [ $i -lt {n} ]; do /bin/true; i=$((i+1)); done"


class Run:
    """A published run whose target waits at a fifo until the test lets it go."""

    def __init__(self, tmp_path: Path, script: str, *options: str) -> None:
        self.fifo = tmp_path / "gate"
        os.mkfifo(self.fifo)
        self.process = subprocess.Popen(
            [*CAPSULE, "trace", "-q", *options, "--", "sh", "-c", f"read x <{self.fifo}; {script}"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def go(self) -> None:
        """Let the target run."""
        self.fifo.write_text("go\n")

    def wait(self) -> int:
        _, self.stderr = self.process.communicate(timeout=120)
        return self.process.returncode

    def logger(self) -> psutil.Process:
        [found] = [
            p for p in psutil.Process(self.process.pid).children() if p.name() == "capsule-logger"
        ]
        return found


@contextmanager
def published(tmp_path: Path, script: str, *options: str) -> Iterator[Run]:
    run = Run(tmp_path, script, *options)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.kill()
            run.process.communicate()


class Follower:
    """`capsule subscribe --from-start --json` that has already joined the run."""

    def __init__(self, url: str, *words: str) -> None:
        self.process = subprocess.Popen(
            [*CAPSULE, "subscribe", url, "--from-start", "--json", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            bufsize=0,  # what is read ahead would be lost to communicate()
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        # Whoever starts from the start prints the start as soon as it has joined.
        self.first = self.process.stdout.readline()

    def result(self) -> tuple[int, bytes, str]:
        """(exit status, all it has printed, its messages)."""
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, self.first + out, err.decode()


def the_log(log_dir: Path) -> bytes:
    return (log_dir / "latest").read_bytes()

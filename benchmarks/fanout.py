"""Publishing under the storm of forks: what 20 subscribers, one of them stopped, cost the trace.

The subscribers are examples/subscriber.c at the lowest priority, so that what they take of the
machine themselves is not taken for the cost of publishing. Each of them but the stopped one must
miss nothing, by its own count; else there is no figure.

    python -m benchmarks.fanout [PAIRS]
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from benchmarks import runs
from benchmarks.programs import REPO, WORKLOADS, cache_dir
from benchmarks.sizes import PAIRS, SIZE

SUBSCRIBERS = 20


@cache
def subscriber() -> str:
    program = cache_dir() / "subscriber"
    source = str(REPO / "examples" / "subscriber.c")
    subprocess.run(["cc", "-O2", "-o", str(program), source, "-lzmq"], check=True)
    return str(program)


def gated(words: Sequence[str], gate: Path, watch: Path) -> list[str]:
    """`words` that run, under the stopwatch, once somebody writes to `gate`."""
    return ["sh", "-c", f'read x <"{gate}"; exec "$@"', "sh", *runs.watched(words, watch)]


def traced(words: Sequence[str], *, subscribers: int | None) -> runs.Timed:
    """`words` under `capsule trace`, published to so many (None: not published)."""
    with runs.scratch() as where:
        gate, watch, url = where / "gate", where / "t", f"ipc://{where}/s"
        os.mkfifo(gate)
        options = [] if subscribers is None else ["--publish", url]
        command = runs.capsule_words("trace", "-q", "--log-dir", str(where / "log"), *options)
        process = subprocess.Popen(
            [*command, "--", *gated(words, gate, watch)],
            env=runs.our_env(),
            stdout=subprocess.DEVNULL,
        )
        following = [_follow(url) for _ in range(subscribers or 0)]
        for client in following:
            assert client.stderr is not None
            assert client.stderr.readline() == b"joined\n"
        for client in following[:1]:
            client.send_signal(signal.SIGSTOP)
        gate.write_text("go\n")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"status {process.returncode}")
        for client in following[:1]:
            client.kill()
        for number, client in enumerate(following):
            _, said = client.communicate()
            if number and (client.returncode != 0 or said):
                raise SystemExit(f"subscriber {number} missed something: {said.decode()}")
        target_s = int(watch.read_text()) / 1e9
        return runs.Timed(target_s, usage.ru_utime + usage.ru_stime, target_s)


def _follow(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["nice", "-n", "19", subscriber(), url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        bufsize=0,
    )


class Fanout:
    """The storm published to 20 subscribers over the storm that is not published."""

    timeout = 1200

    def setup(self) -> None:
        self.found = measured(SUBSCRIBERS, PAIRS)

    def track_wall_ratio(self) -> float:
        return runs.median_ratio(self.found, lambda run: run.target_s)

    def track_cpu_ratio(self) -> float:
        return runs.median_ratio(self.found, lambda run: run.cpu_s)

    track_wall_ratio.unit = "x"  # type: ignore[attr-defined]
    track_cpu_ratio.unit = "x"  # type: ignore[attr-defined]


def measured(subscribers: int, pairs: int) -> list[runs.Pair]:
    words = WORKLOADS["storm"].argv(SIZE)
    return runs.pairs(
        lambda: traced(words, subscribers=None),
        lambda: traced(words, subscribers=subscribers),
        pairs,
    )


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS
    for subscribers in (0, SUBSCRIBERS):
        found = measured(subscribers, pairs)
        wall = [pair.second.target_s / pair.first.target_s for pair in found]
        cpu = [pair.second.cpu_s / pair.first.cpu_s for pair in found]
        print(
            f"{subscribers} subscribers: the target's time x{statistics.median(wall):.3f} "
            f"({min(wall):.3f} to {max(wall):.3f}), CPU of capsule, strace and the target "
            f"x{statistics.median(cpu):.3f} ({min(cpu):.3f} to {max(cpu):.3f}), {pairs} pairs"
        )


if __name__ == "__main__":
    main()

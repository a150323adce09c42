"""What holding a policy costs: each call that it allows, and the start of a program.

    python -m benchmarks.enforce

Interleaved pairs of the same program, confined to a draft of its own runs and not. A start is
from before the fork to the program's end, in one process; the confinement is made anew each time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

from benchmarks.programs import binaries
from capsule import policysource
from capsule.commands.trace import resolve
from capsule.enforce.confinement import Confinement, Wishes
from capsule.gate import Command, fork_gate
from capsule.policy import Policy

CALLS = 2_000_000
PAIRS = 9
STARTS = 60


def draft(directory: str, *words: str) -> str:
    """The file of a policy of two runs of `words`."""
    capsule = [sys.executable, "-m", "capsule"]
    logs = ["--log-dir", f"{directory}/log"]
    for _ in range(2):
        subprocess.run([*capsule, "trace", "-q", *logs, "--", *words], check=True, stdout=-3)
    runs = [entry.path for entry in os.scandir(f"{directory}/log") if entry.name[0] == "2"]
    subprocess.run([*capsule, "profile", "-q", "-o", f"{directory}/policy.json", *runs], check=True)
    return f"{directory}/policy.json"


def call_ns(words: list[str]) -> float:
    """What the program says a call took."""
    return float(subprocess.run(words, check=True, capture_output=True).stdout)


def start_ms(command: Command, policy: Policy | None) -> float:
    """How long `command` took, gated, and confined where a policy is given."""
    begin = time.perf_counter()
    if policy is not None:
        confinement = Confinement(policy, Wishes(), "/root")
        command = replace(command, enter=confinement.enter)
    pid, gate, errors = fork_gate(command)
    if policy is not None:
        confinement.forked()
    os.write(gate, b"G")
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - begin
    os.close(gate)
    os.close(errors)
    if status:
        raise SystemExit(f"{command.path!r} ended with status {status}")
    return took * 1000


def quartiles(values: list[float]) -> str:
    """The median, and the middle half."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        program = str(binaries() / "getppid")
        policy = draft(directory, program)
        run = [sys.executable, "-m", "capsule", "run", "-q", "--no-trace", "--policy", policy, "--"]
        work = [program, str(CALLS)]
        costs = []
        for _ in range(PAIRS):
            bare = call_ns(work)
            costs.append(call_ns([*run, *work]) - bare)
        print(f"an allowed call, ns more than the {bare:.0f} it takes: {quartiles(costs)}")
        held = policysource.read_policy(policy)
        command = resolve([os.fsencode(program), b"1"])
        null = os.open(os.devnull, os.O_WRONLY)
        out = os.dup(1)
        os.dup2(null, 1)
        pairs = [(start_ms(command, None), start_ms(command, held)) for _ in range(STARTS)]
        os.dup2(out, 1)
        print(f"a start, ms more: {quartiles([held - bare for bare, held in pairs])}")


if __name__ == "__main__":
    main()

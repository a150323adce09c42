"""Runs of the real thing: bare strace and `capsule`, timed, followed and weighed from outside."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import orjson

from benchmarks.programs import REPO, binaries
from capsule.syscalls import IMMEDIATE
from capsule.tracer import strace_env


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for logs and traces; in memory, so that no disk is measured."""
    where = Path(tempfile.mkdtemp(prefix="capsule-bench-", dir="/dev/shm"))
    try:
        yield where
    finally:
        shutil.rmtree(where, ignore_errors=True)


def capsule_words(*words: str) -> list[str]:
    return [sys.executable, "-m", "capsule", *words]


def our_env() -> dict[str, str]:
    """The environment of every run: this tree's capsule, whatever is installed."""
    return {**os.environ, "PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True, slots=True)
class Timed:
    """One run: its wall time, the CPU of all its processes, the wall time of its target alone."""

    wall_s: float
    cpu_s: float
    target_s: float


def timed(words: Sequence[str], env: dict[str, str], watch: Path | None = None) -> Timed:
    """Run `words` to its end, which must be good. `watch`: the stopwatch's file."""
    began_s = time.perf_counter()
    process = subprocess.Popen(
        words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: status {process.returncode}\n{said.decode()}")
    target_s = int(watch.read_text()) / 1e9 if watch is not None else wall_s
    return Timed(wall_s, usage.ru_utime + usage.ru_stime, target_s)


def watched(words: Sequence[str], watch: Path) -> list[str]:
    return [str(binaries() / "stopwatch"), str(watch), *words]


def native(words: Sequence[str]) -> Timed:
    with scratch() as where:
        return timed(watched(words, where / "t"), our_env(), where / "t")


def bare(words: Sequence[str], options: Sequence[str] = ()) -> Timed:
    """`words` under strace alone, with what `capsule trace options` gives it, into a file."""
    with scratch() as where:
        env = our_env()
        command = [*strace_of(tuple(options)), "-o", str(where / "trace"), *_restored(env)]
        command += watched(words, where / "t")
        return timed(command, strace_env(env), where / "t")


def _restored(env: dict[str, str]) -> list[str]:
    """Options that give the target what strace itself runs without: its locale costs it calls."""
    ours = strace_env(env)
    changed = [name for name in ours if ours[name] != env.get(name)]
    return [word for name in changed for word in ("-E", _assignment(name, env))]


def _assignment(name: str, env: dict[str, str]) -> str:
    return f"{name}={env[name]}" if name in env else name


@cache
def strace_of(options: tuple[str, ...]) -> list[str]:
    """The strace command that `capsule trace options` uses, as its log says, without -o and -p."""
    with scratch() as where:
        head = capsule_words("trace", "-q", "--log-dir", str(where), *options, "--", "/bin/true")
        timed(head, our_env())
        (log,) = (path for path in where.glob("*.jsonl") if not path.is_symlink())
        with log.open("rb") as file:
            start = orjson.loads(file.readline())
    told = iter(start["strace"]["argv"])
    words = []
    for word in told:
        if word in ("-o", "-p"):
            next(told)
        else:
            words.append(word)
    return words


def traced(words: Sequence[str], options: Sequence[str] = ()) -> Timed:
    """`words` under `capsule trace`. `options`: more of its own."""
    with scratch() as where:
        head = capsule_words("trace", "-q", "--log-dir", str(where / "log"), *options, "--")
        return timed([*head, *watched(words, where / "t")], our_env(), where / "t")


def pairs(first: Callable[[], Timed], second: Callable[[], Timed], count: int) -> list[Pair]:
    """`count` runs of both, in turn, after one of each that does not count."""
    first(), second()
    found = []
    for number in range(count):
        # Who goes first changes, so that a load that comes or goes favours neither.
        if number % 2:
            b = second()
            a = first()
        else:
            a = first()
            b = second()
        found.append(Pair(a, b))
    return found


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs right after one another."""

    first: Timed
    second: Timed


def median_ratio(found: Sequence[Pair], of: Callable[[Timed], float]) -> float:
    """The median of second / first."""
    return statistics.median(of(pair.second) / of(pair.first) for pair in found)


# -- import


@dataclass(frozen=True, slots=True)
class Imported:
    """`capsule import` of one trace: its lines, wall seconds, and CPU seconds of all processes."""

    lines: int
    wall_s: float
    cpu_s: float


def imported(trace: Path) -> Imported:
    with scratch() as where:
        copy = where / "trace"
        shutil.copyfile(trace, copy)
        summary = where / "summary"
        words = ["import", "-q", "--log-dir", str(where), "--summary", str(summary), str(copy)]
        took = timed(capsule_words(*words), our_env())
        lines = orjson.loads(summary.read_bytes())["stages"]["tracer"]["lines"]
        return Imported(lines, took.wall_s, took.cpu_s)


def links(trace: Path, chunk_bytes: int) -> dict[str, float]:
    """What benchmarks/links.py measures."""
    words = [sys.executable, "-m", "benchmarks.links", str(trace), str(chunk_bytes)]
    done = subprocess.run(words, env=our_env(), cwd=REPO, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = orjson.loads(done.stdout)
    if found["bytes"] != trace.stat().st_size:
        raise SystemExit(f"{found['bytes']} of {trace.stat().st_size} bytes came through the links")
    return found


# -- latency


_IN_MODIFY = 2
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds from a call's stamp to its record in the file, ascending.

    `immediate`: from `first_ns`, of the kinds that are written at once. `first`: from
    `first_ns`, of all Actions. `last`: from `last_ns`, of all Actions.
    """

    immediate: list[float]
    first: list[float]
    last: list[float]


def quantile(ascending: Sequence[float], part: float) -> float:
    return ascending[min(len(ascending) - 1, int(len(ascending) * part))]


class Follower(threading.Thread):
    """Notes when the log grew, by its own clock: inotify(7) wakes it, fstat(2) tells the size.

    It looks at no line before the end, so that it costs the run next to nothing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._file = path.open("rb")
        self._inotify = _libc.inotify_init1(os.O_CLOEXEC)
        if _libc.inotify_add_watch(self._inotify, os.fsencode(path), _IN_MODIFY) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")
        self._stop_read, self._stop_write = os.pipe()
        self.seen: list[tuple[int, int]] = []
        """(epoch ns, bytes in the file by then)"""

    def run(self) -> None:
        poller = select.poll()
        poller.register(self._inotify, select.POLLIN)
        poller.register(self._stop_read, select.POLLIN)
        fd = self._file.fileno()
        while True:
            ready = [found for found, _ in poller.poll()]
            self.seen.append((time.time_ns(), os.fstat(fd).st_size))
            if self._inotify not in ready:
                return
            os.read(self._inotify, 1 << 16)

    def finish(self) -> Latencies:
        os.close(self._stop_write)
        self.join()
        with self._file:
            text = self._file.read()
        os.close(self._inotify)
        os.close(self._stop_read)
        return _latencies(text, self.seen)


def _latencies(text: bytes, seen: Sequence[tuple[int, int]]) -> Latencies:
    immediate, first, last = [], [], []
    looks = iter(seen)
    when_ns, size = next(looks)
    end = 0
    for line in text.splitlines(keepends=True):
        end += len(line)
        while size < end:
            when_ns, size = next(looks)
        record = orjson.loads(line)
        if record["type"] != "action" or "first_ns" not in record:
            continue
        first.append((when_ns - record["first_ns"]) / 1e6)
        last.append((when_ns - record["last_ns"]) / 1e6)
        if record["kind"] in IMMEDIATE:
            immediate.append(first[-1])
    return Latencies(sorted(immediate), sorted(first), sorted(last))


def latencies(words: Sequence[str]) -> Latencies:
    """How long the records of a traced run of `words` took into the log."""
    with scratch() as where:
        with running(where, words) as process:
            follower = Follower(log_of(where, process))
            follower.start()
            go(process)
            wait_good(process)
        return follower.finish()


# -- a run that is looked at while it lives


@contextmanager
def running(where: Path, words: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """`capsule trace` of a shell that waits for a line of input (`go`) and then is `words`."""
    script = ["sh", "-c", 'read -r _; exec "$@"', "sh", *words]
    process = subprocess.Popen(
        capsule_words("trace", "-q", "--log-dir", str(where), "--", *script),
        env=our_env(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def wait_good(process: subprocess.Popen[bytes]) -> None:
    if process.wait() != 0:
        raise SystemExit(f"{process.args!r}: status {process.returncode}")


def log_of(where: Path, process: subprocess.Popen[bytes]) -> Path:
    """The log of the run in `where`, as soon as the shell that waits has been executed."""
    while process.poll() is None:
        for path in where.glob("*.jsonl"):
            if b'"kind":"proc.exec"' in path.read_bytes() and not path.is_symlink():
                return path
        time.sleep(0.005)
    raise SystemExit(f"{process.args!r}: status {process.returncode}")


def our_pids(supervisor: int) -> list[int]:
    """The supervisor and its stages; not strace, not the target, not what that has started."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    names = {int(pid): Path(f"/proc/{pid}/comm").read_text() for pid in children}
    return [supervisor, *(pid for pid, name in names.items() if name.startswith("capsule-"))]


def memory_bytes(pids: Sequence[int]) -> int:
    """What the processes need together: shared pages count once (Pss, proc(5)).

    Only root may read that of our processes, which are not dumpable; for other users it is
    what is resident, in which a shared page counts for each that has it.
    """
    total = 0
    for pid in pids:
        try:
            rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except PermissionError:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            total += pages * os.sysconf("SC_PAGE_SIZE")
            continue
        total += sum(int(row.split()[1]) * 1024 for row in rows if row.startswith("Pss:"))
    return total


def ticks(pids: Sequence[int]) -> int:
    """The CPU time the processes have used so far, in clock ticks (utime + stime, proc(5))."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of all our processes: at the start, and the most in each half of the run."""

    start: int
    first_half: int
    second_half: int


def memory(words: Sequence[str], every_s: float = 0.2) -> Memory:
    """Weigh our processes while they trace `words`."""
    with scratch() as where, running(where, words) as process:
        log_of(where, process)
        pids = our_pids(process.pid)
        found = [memory_bytes(pids)]
        go(process)
        while process.poll() is None:
            try:
                found.append(memory_bytes(pids))
            except (FileNotFoundError, ProcessLookupError):
                break  # the run is ending
            time.sleep(every_s)
        wait_good(process)
        half = (len(found) + 1) // 2
        return Memory(found[0], max(found[:half]), max(found[half:] or found))


def idle_ticks(quiet_s: float) -> int:
    """Clock ticks that our processes use while the target does nothing for `quiet_s`."""
    with scratch() as where, running(where, ["true"]) as process:
        log_of(where, process)
        pids = our_pids(process.pid)
        time.sleep(1.5)  # past the checkpoint that the first records get within a second
        before = ticks(pids)
        time.sleep(quiet_s)
        used = ticks(pids) - before
        go(process)
        wait_good(process)
        return used

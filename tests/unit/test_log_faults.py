"""The writer cut off: at every byte, at every write, on a full disk. Nothing is pretended.

The faults are real: RLIMIT_FSIZE makes write(2) short and then fail, strace kills the writer
at a write, a tmpfs of 1 MiB is full.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from capsule.errors import LogFailed
from capsule.log import End, Logger
from capsule.verify import Verdict, Verifier
from tests import independent_verifier
from tests.unit.chainlogs import Keys, action


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """write(2) writes up to the limit, then fails with EFBIG (Python ignores SIGXFSZ)."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def steps(log: Logger) -> Iterator[bytes]:
    """What a writer does, call by call; each gives the lines it says are in the file."""
    yield log.feed(action(1) + action(2))
    yield log.tick()
    yield log.gap(2, "lost")
    yield log.feed(action(3, "proc.exec"))
    yield log.feed(b"no action\n" + b"".join(action(n) for n in range(4, 9)))
    yield log.tick()
    yield log.feed(action(9, "cred.change") + action(10))


def new_log(path: Path) -> Logger:
    now = iter(range(10**18, 2 * 10**18, 10**6))
    return Logger(
        path, {"run": "r"}, clock_ns=lambda: next(now), cadence_records=4, new_key=Keys(),
        cadence_ns=10**15, fsync="never",
    )  # fmt: skip


def findings(data: bytes) -> tuple[Verdict, int | None, int]:
    verifier = Verifier()
    verifier.feed(data)
    report = verifier.finish()
    return report.verdict, report.authenticated_through, report.torn_bytes


def test_cut_off_at_every_byte_and_going_on(tmp_path: Path) -> None:
    """A short write leaves a valid prefix; given room, the writer goes on at that byte."""
    log = new_log(tmp_path / "whole.jsonl")
    list(steps(log))
    log.close({"exit": 0})
    whole = (tmp_path / "whole.jsonl").read_bytes()
    begin = whole.index(b"\n") + 1
    for limit in range(begin, len(whole)):
        path = tmp_path / "cut.jsonl"
        log = new_log(path)
        acknowledged = b""
        failed = 0
        end: End | None = None
        with file_size_limit(limit):
            try:
                for lines in steps(log):
                    acknowledged += lines
                end = log.close({"exit": 0})
            except LogFailed as error:
                failed += 1
                assert "may not grow further" in str(error)
            assert failed == 1
            cut = path.read_bytes()
            assert len(cut) == limit
            assert whole.startswith(cut)
            assert cut[begin:].startswith(acknowledged)
            if limit % 5 == 0 or cut.endswith((b"\n", b"}")):
                verdict, _, torn = findings(cut)
                assert verdict is Verdict.INCOMPLETE
                assert torn == len(cut) - cut.rfind(b"\n") - 1
        assert end is None
        log.tick()  # there is room again: what is queued goes out
        log.abandon()
        path_bytes = path.read_bytes()
        assert whole.startswith(path_bytes) or findings(path_bytes)[0] is not Verdict.TAMPERED
        assert path_bytes.endswith(b"\n")
        path.unlink()


def test_a_full_disk_loses_nothing_that_was_fed(tmp_path: Path) -> None:
    """--on-log-failure continue: each failing call keeps its records for the next one."""
    path = tmp_path / "r.jsonl"
    log = new_log(path)
    failures = 0
    with file_size_limit(path.stat().st_size + 100):
        for number in range(50):
            try:
                log.feed(action(number, "proc.exec"))
            except LogFailed:
                failures += 1
    assert failures == 50
    end = log.close({})
    assert log.counters()["in"] == 50
    assert findings(path.read_bytes()) == (Verdict.INTACT, end.seq, 0)
    assert path.read_bytes().count(b'"kind":"proc.exec"') == 50


def test_cut_by_someone_else_is_torn_until_the_next_write_makes_it_wrong(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    log = new_log(path)
    os.truncate(path, 400)
    assert findings(path.read_bytes())[:2] == (Verdict.INCOMPLETE, None)
    with pytest.raises(LogFailed, match="was changed by someone else"):
        log.feed(action(1, "proc.exec"))
    assert findings(path.read_bytes())[0] is Verdict.TAMPERED
    log.abandon()


WRITER = """
import os, sys
sys.path[:0] = sys.argv[2:]
from tests.unit.test_log_faults import new_log, steps
from pathlib import Path
log = new_log(Path(sys.argv[1]))
for lines in steps(log):
    os.write(1, lines)  # said to the world only once the logger says it is in the file
log.close({"exit": 0})
os.write(1, log.last)
"""


@pytest.mark.parametrize("write", range(1, 8))
def test_killed_at_every_write(tmp_path: Path, write: int) -> None:
    """strace sends SIGKILL as the log's n-th write(2) begins."""
    path = tmp_path / "r.jsonl"
    done = subprocess.run(
        ["strace", "-qq", "-o", "/dev/null", "-P", path, "-e", "trace=write",
         "-e", f"inject=write:signal=SIGKILL:when={write}",
         sys.executable, "-c", WRITER, path, *sys.path],
        stdout=subprocess.PIPE, check=False, timeout=60,
    )  # fmt: skip
    data = path.read_bytes()
    first = data.index(b"\n") + 1 if data else 0
    assert data[first:].startswith(done.stdout)  # nothing acknowledged is missing
    verdict, through, torn = findings(data)
    assert torn == 0
    if done.returncode == 0:
        assert write == 7  # there are six writes
        assert verdict is Verdict.INTACT
    else:
        assert done.returncode in (-9, 137)
        assert verdict is Verdict.INCOMPLETE
        signed = [json.loads(line)["seq"] for line in data.splitlines() if b'"sig"' in line]
        assert through == (signed[-1] if signed else None)
        assert independent_verifier.verify([data])["verdict"] == "incomplete"


FULL_DISK = """
set -e
mount -t tmpfs -o size=4m,mode=700 none "$1"
head -c 3m /dev/zero >"$1/ballast"
shift
exec "$@"
"""

FILLER = """
import os, sys
where = sys.argv[1]
sys.path[:0] = sys.argv[2:]
from tests.unit.test_log_faults import Verdict, findings
from tests.unit.chainlogs import action
from pathlib import Path
from capsule.errors import LogFailed
from capsule.log import Logger
path = Path(where) / "r.jsonl"
log = Logger(path, {"run": "r"})
batch = b"".join(action(n) for n in range(40))
fed = 0
try:
    while True:
        fed += 40
        log.feed(batch)
except LogFailed as error:
    print(error)
data = path.read_bytes()
print(len(data) > 900_000, findings(data)[0].name)
os.unlink(where + "/ballast")
end = log.close({})
verdict, through, _ = findings(path.read_bytes())
print(verdict.name, through == end.seq, log.counters()["in"] == fed)
"""


@pytest.mark.parametrize("who", ["root", "user"])
def test_a_tmpfs_with_1_mib_left(tmp_path: Path, who: str) -> None:
    """ENOSPC is a clear error and leaves a valid prefix; with room again nothing was lost.

    As root in a mount namespace of its own, and without privileges in a user namespace.
    """
    where = tmp_path / "full"
    where.mkdir()
    tmp_path.chmod(0o755)
    as_root = ["unshare", "-m"]
    as_user = ["unshare", "-Urm"]
    if who == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    command = [*(as_root if who == "root" else as_user), "sh", "-c", FULL_DISK, "sh", where]
    done = subprocess.run(
        [*command, sys.executable, "-c", FILLER, where, *sys.path],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        (
            f"cannot write the log {where}/r.jsonl: No space left on device; "
            "free space, or name another place with --log-dir"
        ),
        "True INCOMPLETE",
        "INTACT True True",
    ], done.stderr

"""The log in trouble while a real program runs: full disk, deleted, replaced, written to, cut.

Each time the program must not go on unlogged, `trace` says why and returns 125, and what was
logged before stands.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import independent_verifier
from tests.conftest import RunCapsule

ON_AND_ON = "while :; do ls / >/dev/null; done"


def prefix(data: bytes) -> tuple[str, int | None]:
    """Verdict and last authenticated record, by the independent verifier."""
    found = independent_verifier.verify([data])
    return found["verdict"], found["through"]


@pytest.mark.parametrize("who", [pytest.param("root", marks=pytest.mark.root), "user"])
def test_a_full_disk_stops_the_program(tmp_path: Path, who: str) -> None:
    where = tmp_path / "full"
    where.mkdir()
    kept = tmp_path / "kept.jsonl"
    unshare = ["unshare", "-m"] if who == "root" else ["unshare", "-Urm"]
    script = (
        'mount -t tmpfs -o size=1m,mode=700 none "$1"; "$2" -m capsule trace --log-dir "$1" '
        f'-- sh -c \'{ON_AND_ON}\'; echo $?; cp "$1"/2*.jsonl "$3"'
    )
    done = subprocess.run(
        [*unshare, "sh", "-c", script, "sh", where, sys.executable, kept],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout == "125\n", done.stderr
    assert "No space left on device; free space, or name another place" in done.stderr
    assert kept.stat().st_size == 1 << 20
    verdict, through = prefix(kept.read_bytes())
    assert verdict == "incomplete"
    assert through is not None


@pytest.mark.parametrize(
    ("trouble", "said", "verdict"),
    [
        ("rm $LOG", "was deleted or moved away", None),
        ("mv $LOG $LOG.bak", "was deleted or moved away", None),
        ("cp $LOG x; mv x $LOG", "was replaced by another file", "incomplete"),
        ("echo forged >> $LOG", "was changed by someone else", "tampered"),
        # Which of the two depends on whether the logger writes once more before it looks;
        # tests/unit/test_log_faults.py has them in order.
        ("truncate -s 400 $LOG", "was changed by someone else", "tampered or incomplete"),
    ],
)
def test_a_log_meddled_with_stops_the_program(
    log_dir: Path, capsule: RunCapsule, trouble: str, said: str, verdict: str | None
) -> None:
    """The traced program itself does it, to the log that is to show it."""
    script = f"LOG=$(readlink -f {log_dir}/latest); cd {log_dir}; {trouble}; {ON_AND_ON}"
    done = capsule("trace", "--", "sh", "-c", script)
    assert done.returncode == 125
    assert said in done.stderr.decode()
    logs = [path for path in log_dir.glob("2*.jsonl") if not path.is_symlink()]
    if verdict is None:
        assert logs == []
    else:
        assert prefix(logs[0].read_bytes())[0] in verdict.split(" or ")
    assert not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


def test_what_meddles_is_signed_before_it_leaves(log_dir: Path, capsule: RunCapsule) -> None:
    """The touch of the log is in the log, under a signature that cannot be made again."""
    script = f"LOG=$(readlink -f {log_dir}/latest); cat $LOG >/dev/null; true"
    assert capsule("trace", "-q", "--", "sh", "-c", script).returncode == 0
    lines = [
        json.loads(line) for line in capsule("tail", "--json", "-n", "all").stdout.splitlines()
    ]
    (log,) = log_dir.glob("2*.jsonl")
    touches = [
        record["seq"]
        for record in lines
        if record.get("target") == str(log) and record["kind"] == "file.open"
    ]
    assert touches
    signed = [record["seq"] for record in lines if record["type"] in ("checkpoint", "end")]
    assert all(any(seq > touch for seq in signed) for touch in touches)

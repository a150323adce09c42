"""While the target does nothing, we do nothing: not one process of ours is even woken."""

import subprocess
import sys
from pathlib import Path

from benchmarks.runs import our_pids


def _log(where: Path) -> bytes:
    return b"".join(p.read_bytes() for p in where.glob("*.jsonl") if not p.is_symlink())


def _wakings(pids: list[int]) -> dict[tuple[str, str], str]:
    """How often each thread gave up a CPU or lost it (proc(5)): as often as it was woken."""
    return {
        (task.parts[4], line.split(":")[0]): line.split()[1]
        for pid in pids
        for task in sorted(Path(f"/proc/{pid}/task").iterdir())
        for line in (task / "status").read_text().splitlines()
        if "ctxt_switches" in line
    }


def test_an_idle_target_wakes_none_of_us(tmp_path):
    logs = tmp_path / "log"
    words = [sys.executable, "-m", "capsule", "trace", "-q", "--log-dir", str(logs)]
    process = subprocess.Popen([*words, "--", "sh", "-c", "read -r _"], stdin=subprocess.PIPE)
    try:
        while b"proc.exec" not in _log(logs):
            assert process.poll() is None
        pids = our_pids(process.pid)
        assert len(pids) == 6
        signed = grown = b""
        while not signed or grown != signed:
            # The longest period that anything here has is that of checkpoints, a second. What
            # the shell did before it waits for us may take one such period to be signed.
            signed, before = _log(logs), _wakings(pids)
            subprocess.run(["sleep", "1.5"], check=True)
            grown, after = _log(logs), _wakings(pids)
        assert after == before
    finally:
        process.communicate(b"\n")
    assert process.returncode == 0

"""From an Action back to strace's own lines: `--keep-raw` and `capsule show`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import RunCapsule
from tests.logs import actions, end, read_log

PROGRAM = """
import threading
def work(i):
    with open(f"{out}/t{i}", "w") as file:
        file.write("x" * 10)
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


def test_the_lines_behind_an_action(capsule: RunCapsule, log_dir: Path, tmp_path: Path) -> None:
    program = PROGRAM.replace("{out}", str(tmp_path))
    capsule("trace", "-q", "--keep-raw", "--", sys.executable, "-c", program)
    [opened] = [a for a in actions(log_dir, "file.") if a.get("target") == f"{tmp_path}/t2"
                and a["kind"] in ("file.create", "file.open")]  # fmt: skip
    done = capsule("show", "latest", str(opened["seq"]), "--raw")
    assert done.stderr == b""
    text = done.stdout.decode()
    assert "openat(" in text and f'"{tmp_path}/t2"' in text and "O_CREAT" in text
    shown = capsule("show", "latest", str(opened["seq"])).stdout.decode()
    assert f"{opened['lines'][0]:8}  " in shown


def test_the_kept_trace_is_all_that_was_parsed_and_is_signed(
    capsule: RunCapsule, log_dir: Path
) -> None:
    capsule("trace", "-q", "--keep-raw", "--", "sh", "-c", "ls / | sort")
    [raw] = log_dir.glob("*.raw.zst")
    text = subprocess.run(["zstd", "-dcq", raw], capture_output=True, check=True).stdout
    seal = end(log_dir)
    assert len(text) == seal["stages"]["tracer"]["bytes"]
    assert text.count(b"\n") == seal["raw"]["lines"] == seal["stages"]["tracer"]["lines"]
    assert text.split(b" ", 1)[1].lstrip().split(b" ", 1)[1].startswith(b'execve("')


def test_checkpoints_carry_the_mark_while_the_run_goes_on(
    capsule: RunCapsule, log_dir: Path
) -> None:
    capsule("trace", "-q", "--keep-raw", "--", "sh", "-c", "/bin/true; sleep 1.2; /bin/true")
    marks = [r["raw"]["lines"] for r in read_log(log_dir) if "raw" in r]
    assert len(marks) >= 2
    assert marks == sorted(marks)


def test_verify_notices_an_altered_raw_trace(capsule: RunCapsule, log_dir: Path) -> None:
    capsule("trace", "-q", "--keep-raw", "--", "true")
    done = capsule("verify")
    assert done.returncode == 0
    assert b"intact through line" in done.stdout
    [raw] = log_dir.glob("*.raw.zst")
    data = bytearray(raw.read_bytes())
    data[-3] ^= 1
    raw.write_bytes(data)
    done = capsule("verify")
    assert done.returncode == 1
    assert b"TAMPERED" in done.stdout
    raw.unlink()
    done = capsule("verify")
    assert done.returncode == 0
    assert b"not here" in done.stdout


def test_without_keep_raw_show_says_what_is_missing(capsule: RunCapsule) -> None:
    capsule("trace", "-q", "--", "true")
    done = capsule("show", "latest", "1", "--raw")
    assert done.returncode == 2
    assert b"--keep-raw" in done.stderr

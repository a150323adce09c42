"""Programs that live under the JSON of `--format landlockconfig`.

It is applied by tests/programs/landlocked.py; llconfig itself cannot be installed here.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import RunCapsule

APPLIER = Path(__file__).parents[1] / "programs/landlocked.py"
HOSTILE = (b"a b", b"${home}", b"$$", b"new\nline", b"back\\slash", b"'\"")
PROGRAM = 'cat ./*; f=$(mktemp); ls > "$f"; sort "$f"; rm "$f"; git --version'

PROBES = {
    "read": "cat /etc/group",
    "write": "echo x >> '{dir}/$$'",
    "create": "echo x > {dir}/made",
    "delete": "rm -f {dir}/first; test ! -e {dir}/first",
    "exec": "id",
    "list": "ls /",
    "link out": "ln -s /etc/group {dir}/l && cat {dir}/l",
    "dots": "cat {dir}/../../../../../../../../etc/group",
    "connect": "exec 3<>/dev/tcp/127.0.0.1/{port}",
    "truncate": "truncate -s 0 {dir}/first",
}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    found = tmp_path / "work"
    found.mkdir()
    (found / "first").write_text("first\n")
    for name in HOSTILE:
        Path(os.fsdecode(os.fsencode(found) + b"/" + name)).write_bytes(name + b"\n")
    return found


def drafted(capsule: RunCapsule, log_dir: Path, work: Path, script: str) -> tuple[Path, str]:
    """The configuration for a script that was run twice in `work`, and what was said of it."""
    for _ in range(2):
        capsule("trace", "-q", "--", "bash", "-c", f"cd {work}; {script}")
    policy, found = work.parent / "policy.json", work.parent / "landlock.json"
    runs = sorted(path.stem for path in log_dir.glob("2*.jsonl"))
    capsule("profile", "-q", "-o", str(policy), *runs)
    done = capsule(
        "profile", "--format", "landlockconfig", "--policy", str(policy), "-o", str(found)
    )
    assert done.returncode == 0, done.stderr
    return found, done.stderr.decode()


def under(config: Path, work: Path, script: str) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, str(APPLIER), str(config), "bash", "-c", script]
    return subprocess.run(words, cwd=work, capture_output=True, timeout=60, check=False)


def test_a_program_lives_under_its_configuration(
    capsule: RunCapsule, log_dir: Path, work: Path
) -> None:
    config, told = drafted(capsule, log_dir, work, PROGRAM)
    plain = subprocess.run(["bash", "-c", PROGRAM], cwd=work, capture_output=True, check=True)
    held = under(config, work, PROGRAM)
    assert (held.returncode, held.stdout) == (0, plain.stdout), held.stderr
    assert "landlockconfig: cannot say which system calls" in told
    assert f"landlockconfig: allows in all of {tempfile.gettempdir()}" in told


def test_what_the_policy_does_not_name_is_denied(
    capsule: RunCapsule, log_dir: Path, work: Path
) -> None:
    # The programs of the probes are the policy's own, so that what is denied is their deed.
    (work.parent / "other").mkdir()
    tools = "cat first; cd ../other; echo > b; truncate -s 1 b; ln -s a c; rm -f b c; ! grep x b"
    config, _ = drafted(capsule, log_dir, work, tools)
    with socket.create_server(("127.0.0.1", 0)) as server:
        for probe, script in PROBES.items():
            words = script.format(dir=work, port=server.getsockname()[1])
            free = subprocess.run(["bash", "-c", words], cwd=work, capture_output=True, check=False)
            assert free.returncode == 0, (probe, free.stderr)
            for name in ("made", "l"):
                (work / name).unlink(missing_ok=True)
            (work / "first").write_text("first\n")
            held = under(config, work, words)
            assert held.returncode != 0, probe
    assert under(config, work, "cat first").stdout == b"first\n"


def test_a_name_that_is_not_utf_8_is_told_and_denied(
    capsule: RunCapsule, log_dir: Path, work: Path
) -> None:
    name = os.fsdecode(b"caf\xe9")
    (work / name).write_text("coffee\n")
    config, told = drafted(capsule, log_dir, work, "cat caf*")
    assert f"denies {work}/caf\\xe9: JSON cannot say names that are not UTF-8" in told
    assert (work / name).read_text() == "coffee\n"
    assert under(config, work, "cat caf*").returncode == 1

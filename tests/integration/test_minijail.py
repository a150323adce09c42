"""Programs that live under the seccomp policy of `--format minijail`.

Debian 12 has no minijail: the filter is installed by tests/programs/minijailed.py, which reads the
file by itself, and by minijail0 where there is one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunCapsule

APPLIER = Path(__file__).parents[1] / "programs/minijailed.py"
PROGRAMS = {
    "ls": "ls /usr/share",
    "git": "rm -rf r; git init -q r; cd r; echo a > a; git add a; git -c user.name=a "
    "-c user.email=a@b commit -qm a; git log --format=%s",
    "gcc": "echo 'int main(void) { return 0; }' > a.c; gcc a.c -o a && ./a && echo ran",
    "python": "/usr/bin/python3 -c 'import threading as t; t.Thread(target=print).start()'",
}
PROBE = """\
import ctypes, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    libc.syscall(number, *args)
    return ctypes.get_errno()
try:
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); print('dgram')
except PermissionError:
    print('no dgram')
socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
try:
    mmap.mmap(-1, 4096, prot=7); print('w+x')
except PermissionError:
    print('no w+x')
print(call(83, b'made', 0o700), call(272, 0), call(321, 0, 0, 0), call(435, 0, 0) == 38)
"""
SEEN = "import ctypes, mmap, os, socket; print(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))"


def jails() -> dict[str, list[str]]:
    """What puts a command under a policy: ours, and minijail0 (before and in the program)."""
    found = {"ours": [sys.executable, str(APPLIER)]}
    if minijail := shutil.which("minijail0"):
        found["minijail0"] = [minijail, "-n", "-S"]
        found["minijail0, static"] = [minijail, "-T", "static", "-n", "-S"]
    return found


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "work"
    found.mkdir()
    for name, value in {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(found)}.items():
        monkeypatch.setenv(name, value)
    return found


def drafted(capsule: RunCapsule, log_dir: Path, work: Path, script: str) -> Path:
    """The policy file for a script that was run twice in `work`."""
    for _ in range(2):
        capsule("trace", "-q", "--", "sh", "-c", f"cd {work}; {script}")
    found = work.parent / "sh.policy"
    runs = sorted(path.stem for path in log_dir.glob("2*.jsonl"))
    done = capsule("profile", "--format", "minijail", "-o", str(found), *runs)
    assert b"minijail: cannot say which files, programs and addresses" in done.stderr
    return found


def run(words: list[str], work: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, cwd=work, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_lives_under_its_policy(
    capsule: RunCapsule, log_dir: Path, work: Path, program: str
) -> None:
    policy = drafted(capsule, log_dir, work, PROGRAMS[program])
    command = ["/bin/sh", "-c", PROGRAMS[program]]
    plain = run(command, work)
    for jail, words in jails().items():
        held = run([*words, str(policy), *command], work)
        assert (held.returncode, held.stdout) == (0, plain.stdout), (jail, held.stderr)


def test_what_the_policy_does_not_name_is_denied(
    capsule: RunCapsule, log_dir: Path, work: Path
) -> None:
    policy = drafted(capsule, log_dir, work, f"/usr/bin/python3 -c '{SEEN}'")
    command = ["/usr/bin/python3", "-c", PROBE]
    free = run(command, work).stdout.split(b"\n")
    assert free[:2] == [b"dgram", b"w+x"] and free[2].startswith(b"0 0"), free
    (work / "made").rmdir()
    for jail, words in jails().items():
        held = run([*words, str(policy), *command], work)
        # mkdir, unshare and bpf fail with EPERM, clone3 as where there is none: ENOSYS
        told = [b"no dgram", b"no w+x", b"1 1 1 True"]
        assert held.stdout.split(b"\n")[:3] == told, (jail, held)


def test_a_call_that_is_not_listed_kills(capsule: RunCapsule, log_dir: Path, work: Path) -> None:
    policy = drafted(capsule, log_dir, work, f"/usr/bin/python3 -c '{SEEN}'")
    newer = "import ctypes; print(ctypes.CDLL(None).syscall(451, 0, 0, 0, 0))"  # cachestat
    command = ["/usr/bin/python3", "-c", newer]
    assert run(command, work).returncode == 0
    held = run([*jails()["ours"], str(policy), *command], work)
    assert held.returncode == -31  # SIGSYS

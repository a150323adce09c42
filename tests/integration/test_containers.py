"""Drafted seccomp profiles, enforced by runc and crun on real programs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunCapsule
from tests.container import Containers

PROGRAMS = {
    "ls": "ls /usr/share",
    "git": "rm -rf r; git init -q r; cd r; echo a > a; git add a; git -c user.name=a "
    "-c user.email=a@b commit -qm a; git log --format=%s",
    "gcc": "echo 'int main(void) { return 0; }' > a.c; gcc a.c -o a && ./a && echo ran",
}


@pytest.fixture(params=["runc", "crun"])
def containers(request: pytest.FixtureRequest, tmp_path: Path) -> Containers:
    """A runtime that starts containers here without a profile, or the test cannot say anything."""
    if os.getuid() != 0:
        pytest.skip("containers are started as root")
    runtime = shutil.which(request.param, path=f"{os.environ['PATH']}:/usr/sbin")
    assert runtime, f"{request.param} is not installed: run .ci/setup test"
    (tmp_path / "work").mkdir()
    found = Containers(runtime, tmp_path / "bundle")
    plain = found.run(["true"], tmp_path / "work")
    if plain.returncode:
        pytest.skip(f"{request.param} starts no container here: {plain.stderr.decode()[-200:]}")
    return found


def profile(capsule: RunCapsule, script: str, where: Path, *options: str) -> dict[str, Any]:
    """The profile of two runs of a script in `where`/work."""
    for _ in range(2):
        capsule("trace", "-q", "--", "sh", "-c", f"cd {where}/work; {script}")
    runs = sorted(path.stem for path in (where / "logs").glob("2*.jsonl"))
    drafted = capsule("profile", "-q", "-o", str(where / "policy.json"), *runs)
    assert drafted.returncode == 0, drafted.stderr
    done = capsule("profile", "--format", "oci", "--policy", str(where / "policy.json"), *options)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CAPSULE_LOG_DIR", str(tmp_path / "logs"))
    for name, value in {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": f"{tmp_path}/work"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.root
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_lives_under_its_profile(
    capsule: RunCapsule, containers: Containers, tmp_path: Path, logs: None, program: str
) -> None:
    script = PROGRAMS[program]
    drafted = profile(capsule, script, tmp_path)
    plain = containers.run(["sh", "-c", script], tmp_path / "work")
    for no_new_privs in (True, False):
        held = containers.run(
            ["sh", "-c", script], tmp_path / "work", drafted, no_new_privs=no_new_privs
        )
        assert (held.returncode, held.stdout) == (0, plain.stdout), held.stderr


@pytest.mark.root
@pytest.mark.parametrize("no_new_privs", [True, False])
def test_each_runtime_starts_with_its_own_base_alone(
    capsule: RunCapsule, containers: Containers, tmp_path: Path, logs: None, no_new_privs: bool
) -> None:
    options = ["--runtime", Path(containers.runtime).name, *["--no-new-privs"] * no_new_privs]
    drafted = profile(capsule, "true", tmp_path, *options)
    done = containers.run(["sh", "-c", "true"], tmp_path / "work", drafted,
                          no_new_privs=no_new_privs)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.root
def test_what_the_policy_does_not_name_is_denied(
    capsule: RunCapsule, containers: Containers, tmp_path: Path, logs: None
) -> None:
    probe = (
        "import ctypes, mmap, socket\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(number, *args):\n"
        "    ctypes.set_errno(0)\n"
        "    libc.syscall(number, *args)\n"
        "    return ctypes.get_errno()\n"
        "try:\n"
        "    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); print('dgram')\n"
        "except PermissionError:\n"
        "    print('no dgram')\n"
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)\n"
        "try:\n"
        "    mmap.mmap(-1, 4096, prot=7); print('w+x')\n"
        "except PermissionError:\n"
        "    print('no w+x')\n"
        "print(call(83, b'made', 0o700), call(272, 0), call(321, 0, 0, 0), call(425, 1, 0))\n"
    )
    seen = "import ctypes, mmap, socket; socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)"
    (tmp_path / "work/probe.py").write_text(probe)
    drafted = profile(capsule, f"/usr/bin/python3 -c '{seen}'", tmp_path)
    words = ["/usr/bin/python3", "probe.py"]
    free = containers.run(words, tmp_path / "work").stdout.split(b"\n")
    held = containers.run(words, tmp_path / "work", drafted)
    assert free[:2] == [b"dgram", b"w+x"] and free[2].startswith(b"0 0"), free
    # mkdir, unshare and bpf fail with EPERM, io_uring_setup as where there is none: ENOSYS
    assert held.stdout.split(b"\n")[:3] == [b"no dgram", b"no w+x", b"1 1 1 38"], held.stderr

"""`capsule run`: a program lives under the policy of its own runs, and can do nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from capsule.enforce import _confine
from capsule.enforce.landlock import NEWEST
from tests.conftest import RunCapsule
from tests.logs import end, read_log

PROGRAM = 'f=$(mktemp -p {dir} tmp.XXXXXXXXXX); ls {dir}/in >"$f"; sort "$f"; rm "$f"'

whole_landlock = pytest.mark.skipif(
    _confine.landlock_abi() < 6, reason="this kernel's Landlock is older than ABI 6"
)


@pytest.fixture
def shell(capsule: RunCapsule, log_dir: Path, tmp_path: Path) -> tuple[str, list[str]]:
    """A drafted policy's file, and the words of the program that it is of."""
    (tmp_path / "work" / "in").mkdir(parents=True)
    (tmp_path / "work" / "in" / "seen").write_text("")
    words = ["--", "sh", "-c", PROGRAM.format(dir=tmp_path / "work")]
    for _ in range(2):
        assert capsule("trace", "-q", *words).returncode == 0
    runs = [str(path) for path in log_dir.glob("2*.jsonl")]
    file = str(tmp_path / "policy.json")
    assert capsule("profile", "-q", "-o", file, *runs).returncode == 0
    return file, words


@whole_landlock
@pytest.mark.parametrize(
    "how", [(), ("--no-trace",), ("--complain",), ("--complain", "--no-trace")]
)
def test_a_program_lives_under_its_own_draft(
    how: tuple[str, ...], capsule: RunCapsule, shell: tuple[str, list[str]]
) -> None:
    file, words = shell
    done = capsule("run", "--policy", file, *how, *words)
    assert (done.returncode, done.stdout) == (0, b"seen\n"), done.stderr
    assert b"denied:" not in done.stderr
    if how == ():
        assert capsule("check", "--policy", file, "latest").returncode == 0


@whole_landlock
def test_the_log_says_what_was_held(
    capsule: RunCapsule, log_dir: Path, shell: tuple[str, list[str]]
) -> None:
    file, words = shell
    assert capsule("run", "-q", "--policy", file, *words).returncode == 0
    assert capsule("verify", "latest").returncode == 0
    start, seal = read_log(log_dir)[0]["enforced"], end(log_dir)["enforced"]
    assert seal == {**start, "set": True}
    assert start["policy"] == {
        "path": file, "blake3": blake3(Path(file).read_bytes()).hexdigest(),
    }  # fmt: skip
    assert start["mode"] == "enforce" and start["no_new_privs"] is True
    assert start["landlock"]["abi"] == min(_confine.landlock_abi(), NEWEST)
    rules = json.loads(Path(file).read_text())["rules"]
    assert 0 < start["seccomp"]["calls"] <= sum(rule["kind"] == "call" for rule in rules)


@whole_landlock
@pytest.mark.parametrize("how", [(), ("--no-trace",)])
def test_another_program_is_not_run(
    how: tuple[str, ...], capsule: RunCapsule, shell: tuple[str, list[str]]
) -> None:
    file, _ = shell
    done = capsule("run", "--policy", file, *how, "--", "cat", "/etc/hostname")
    assert done.returncode == 126 and done.stdout == b""
    assert b"cannot execute: Permission denied" in done.stderr


@whole_landlock
def test_what_was_denied_is_said_with_the_rule_that_is_missing(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    """At the end, and by `check`, which agree; a draft of that run does not grant it."""
    (tmp_path / "seen").write_text("seen\n")
    script = 'read a < seen; echo $a; read a < "$1"; : > "$2"'
    words = ["--", "sh", "-c", f"cd {tmp_path}; {script}", "sh"]
    for _ in range(2):
        assert capsule("trace", "-q", *words, "seen", "/dev/null").returncode == 0
    file = str(tmp_path / "policy.json")
    runs = [str(path) for path in log_dir.glob("2*.jsonl")]
    assert capsule("profile", "-q", "-o", file, *runs).returncode == 0
    done = capsule("run", "--policy", file, *words, "/etc/hostname", "new")
    assert done.stdout == b"seen\n"
    checked = capsule("check", "--policy", file, "latest")
    for what in ("reading /etc/hostname, 1 x: no read", f"creating {tmp_path}/new, 1 x: no create"):
        assert f": {what} rule allows it".encode() in done.stderr
        assert f": {what} rule allows it".encode() in checked.stdout
    drafted = json.loads(capsule("profile", "-q", "--allow-failed", "latest").stdout)
    granted = {rule["what"] for rule in drafted["rules"]}
    assert str(tmp_path / "seen") in granted
    assert not {"/etc/hostname", f"{tmp_path}/new"} & granted


FAILS_CLOSED = """
import ctypes, os, sys
from capsule.enforce import bpf
deny = {444: bpf.Verdict(bpf.fail(bpf.ENOSYS))} if sys.argv[1] == "landlock" else {
    317: bpf.Verdict(bpf.fail(bpf.ENOSYS))}
program = bpf.assemble(bpf.compile_filter(bpf.Filter(deny, unknown=bpf.ALLOW)))
code = ctypes.create_string_buffer(program)
class Prog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Prog(len(program) // 8, ctypes.addressof(code))), 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-m", "capsule", *sys.argv[2:]])
"""
"""Runs `capsule` where the kernel says that it has no Landlock, or no seccomp(2)."""


@pytest.mark.parametrize("layer", ["landlock", "seccomp"])
@pytest.mark.parametrize("how", [(), ("--no-trace",)])
def test_a_missing_layer_stops_the_run(
    layer: str, how: tuple[str, ...], shell: tuple[str, list[str]], log_dir: Path, tmp_path: Path
) -> None:
    file, _ = shell
    mark = tmp_path / "work" / "ran"

    def run(*more: str) -> subprocess.CompletedProcess[bytes]:
        words = ["run", "--policy", file, *how, *more, "--", "sh", "-c", f": > {mark}"]
        return subprocess.run([sys.executable, "-c", FAILS_CLOSED, layer, *words],
                              capture_output=True, check=False, timeout=60)  # fmt: skip

    done = run()
    assert done.returncode == 125 and not mark.exists(), done.stderr
    assert b"--allow-missing " in done.stderr and layer.encode() in done.stderr
    assert done.stderr.count(b"\n") == 1
    layers = "seccomp,landlock,truncate,net,ioctl,scope"
    done = run("--allow-missing", layers)
    assert done.returncode == 0 and mark.exists(), done.stderr
    assert b"not held, as allowed: " + layer.encode() in done.stderr

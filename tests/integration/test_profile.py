"""From runs of real programs to a policy, and what it says of other runs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.conftest import RunCapsule
from tests.logs import end

NAMES = itertools.cycle(("aB3dEf7h", "Zy9xWv1U", "q5RsT2oP", "Mn4kLj8I"))
"""Random names as mktemp(1) makes them, but no two with a letter in the same place: names that
share one by chance are rightly held for less random than they are."""

PROGRAM = 'f={dir}/tmp.{name}; : >"$f"; ls {dir} >"$f"; sort "$f"; rm "$f"'


def rules(text: bytes) -> dict[tuple[str, str], dict[str, Any]]:
    return {(rule["kind"], rule["what"]): rule for rule in json.loads(text)["rules"]}


def trace(capsule: RunCapsule, log_dir: Path, *words: str) -> str:
    capsule("trace", "-q", *words)
    return (log_dir / "latest").resolve().stem


def program(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "work").mkdir(exist_ok=True)
    return ("--", "sh", "-c", PROGRAM.format(dir=tmp_path / "work", name=next(NAMES)))


def test_every_call_is_counted_by_name(capsule: RunCapsule, log_dir: Path) -> None:
    script = "import os, mmap\nfor _ in range(321): os.getpgid(0)\nmmap.mmap(-1, 4096, prot=7)"
    capsule("trace", "-q", "--", "python3", "-c", script)
    seal = end(log_dir)
    counts = {name: count for name, count, _ in seal["calls"]}
    assert counts["getpgid"] == 321
    assert counts.pop("mmap PROT_WRITE|PROT_EXEC") == 1
    signals_and_ends = seal["totals"]["count"] - sum(counts.values())
    assert counts["execve"] >= 1 and 1 <= signals_and_ends <= 3 * seal["summary"]["processes"]


def test_observe_draft_check(capsule: RunCapsule, log_dir: Path, tmp_path: Path) -> None:
    runs = [trace(capsule, log_dir, *program(tmp_path)) for _ in range(3)]
    drafted = capsule("profile", *runs)
    assert b"seen, about" in drafted.stderr and b"would be denied (0.0%)" in drafted.stderr
    found = rules(drafted.stdout)
    assert found["create", f"{tmp_path}/work/tmp.*"]["runs"] == 3
    assert found["call", "execve"]["why"] == "seen"
    assert found["call", "restart_syscall"]["why"] != "seen"
    assert ("exec", "/lib64/ld-linux-x86-64.so.2") in found
    schema = json.loads(capsule("profile", "--schema").stdout)
    jsonschema.Draft202012Validator(schema).validate(json.loads(drafted.stdout))
    assert ("read", "/etc/passwd") not in found and ("connect", "127.0.0.1:9") not in found

    seen = found["read", f"{tmp_path}/work"]["evidence"][0]
    shown = capsule("show", seen["run"], str(seen["seq"])).stdout.decode()
    assert f"{tmp_path}/work" in shown

    file = tmp_path / "policy.json"
    file.write_bytes(drafted.stdout)
    same = trace(capsule, log_dir, *program(tmp_path))
    assert capsule("check", "--policy", str(file), same).returncode == 0
    assert capsule("diff", str(file), same).returncode == 0


def test_what_is_new_fails_the_gate(capsule: RunCapsule, log_dir: Path, tmp_path: Path) -> None:
    before = trace(capsule, log_dir, *program(tmp_path))
    file = tmp_path / "policy.json"
    capsule("profile", "-q", before, "-o", str(file))
    other = "import socket; socket.socket().connect_ex(('127.0.0.1', 9)); open('/etc/passwd')"
    after = trace(capsule, log_dir, "--", "python3", "-c", other)
    denied = capsule("check", "--json", "--policy", str(file), after)
    assert denied.returncode == 1
    whats = {(d["kind"], d["what"]): d for d in map(json.loads, denied.stdout.splitlines())}
    for key in (("connect", "127.0.0.1:9"), ("read", "/etc/passwd"), ("call", "connect"),
                ("socket", "AF_INET SOCK_STREAM")):  # fmt: skip
        assert whats[key]["seq"] > 0
    assert ("call", "read") not in whats
    differs = capsule("diff", "--json", before, after)
    assert differs.returncode == 1
    told = json.loads(differs.stdout)
    assert ("connect", "127.0.0.1:9") in {(r["kind"], r["what"]) for r in told["new"]}
    assert ("exec", "/usr/bin/sort") in {(r["kind"], r["what"]) for r in told["vanished"]}


@pytest.mark.parametrize(
    ("doubt", "words"),
    [
        ("failed", ("--", "false")),
        ("subset", ("--syscalls", "security", "--", "true")),
        ("tampered", ("--", "true")),
        ("incomplete", ("--", "true")),
    ],
)
def test_a_run_that_proves_too_little_is_refused(
    doubt: str, words: tuple[str, ...], capsule: RunCapsule, log_dir: Path
) -> None:
    run = trace(capsule, log_dir, *words)
    log = log_dir / f"{run}.jsonl"
    text = log.read_bytes()
    if doubt == "tampered":
        log.write_bytes(text.replace(b'"/etc/ld.so.cache"', b'"/etc/ld.so.other"', 1))
    elif doubt == "incomplete":
        log.write_bytes(b"".join(text.splitlines(keepends=True)[:-1]))
    refused = capsule("profile", run)
    assert refused.returncode == 2 and refused.stdout == b""
    assert f"--allow-{doubt}".encode() in refused.stderr
    assert refused.stderr.count(b"\n") == 1
    allowed = capsule("profile", run, f"--allow-{doubt}")
    assert allowed.returncode == 0 and json.loads(allowed.stdout)["rules"]


def test_one_run_twice_is_no_two_runs(capsule: RunCapsule, log_dir: Path) -> None:
    run = trace(capsule, log_dir, "--", "true")
    refused = capsule("profile", run, "latest")
    assert refused.returncode == 2 and b"named twice" in refused.stderr

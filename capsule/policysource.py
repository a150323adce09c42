"""Where policies and behaviours come from: runs' logs, policy files, programs' headers."""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from capsule import policy
from capsule.behaviour import Behaviour, Fact, Key, Reader
from capsule.errors import CapsuleError
from capsule.logdir import find_run
from capsule.records import backwards, forwards, load
from capsule.verify import Verdict
from capsule.verifyrun import verify_run

PT_INTERP = 3


@dataclass(frozen=True, slots=True)
class Run:
    """A run, and why a policy should not be drafted from it: what may be allowed → why."""

    behaviour: Behaviour
    doubts: dict[str, str]


def read_run(name: str, directory: Path, *, refused: bool = False) -> Run:
    """Return a run's behaviour. CapsuleError when there is no such run.

    `refused`: with what an enforced policy refused, as if it had been done.
    """
    path = find_run(name, directory)
    report = verify_run(path)
    doubts = {}
    if report.verdict is Verdict.TAMPERED and report.bad is not None:
        doubts["tampered"] = f"is TAMPERED: {report.bad.reason}"
    end = _end(path)
    gaps = 0
    start: dict[str, Any] = {}

    def records() -> Iterator[dict[str, Any]]:
        nonlocal gaps, start
        for line in forwards(path):
            if not line:
                continue
            record = load(line)
            gaps += record.get("type") == "gap"
            if record.get("type") == "start":
                start = start or record
            yield record

    behaviour = Reader(end, refused=refused).read(records())
    if not end:
        doubts["incomplete"] = "is INCOMPLETE: it was cut off, or still goes on"
    elif gaps:
        doubts["incomplete"] = f"has {gaps} gaps: something is known to be missing"
    elif not behaviour.calls_known:
        doubts["incomplete"] = "does not say which system calls were made; trace it anew"
    if "imported" in start:
        doubts["subset"] = "was imported, and nobody can say which calls strace was told to trace"
    elif start.get("syscalls") != "all":
        doubts["subset"] = "was traced with a subset of the system calls (--syscalls)"
    exit_ = end.get("exit")
    if end and "imported" not in start and exit_ != {"code": 0}:
        doubts["failed"] = f"failed ({_exit(exit_)})"
    return Run(behaviour, doubts)


def read_denied(path: Path, held: policy.Policy) -> dict[Key, Fact]:
    """Return what the run whose first log is `path` tried and `held` does not allow.

    Of a log that we have just written ourselves: it is not verified.
    """
    records = (load(line) for line in forwards(path) if line)
    return held.denied(Reader(_end(path), refused=True).read(records))


def _end(path: Path) -> dict[str, Any]:
    """Return a run's end record; {} when it has none."""
    for line in backwards(path):
        with contextlib.suppress(CapsuleError):
            record = load(line)
            return record if record.get("type") == "end" else {}
        break
    return {}


def _exit(exit_: Any) -> str:
    if not isinstance(exit_, dict):
        return "its end is not known"
    return ", ".join(f"{key} {value}" for key, value in exit_.items())


def read_policy(path: str) -> policy.Policy:
    """Return the policy of a file. CapsuleError when it cannot be read or is none."""
    try:
        return policy.parse(orjson.loads(Path(path).read_bytes()))
    except OSError as error:
        raise CapsuleError(f"cannot read {path}: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise CapsuleError(f"{path} is no policy: {error}") from None
    except CapsuleError as error:
        raise CapsuleError(f"{path}: {error}") from None


def read_either(name: str, directory: Path) -> policy.Policy:
    """Return a policy file, or what a run did, as a policy."""
    file = Path(name)
    if file.is_file():
        with file.open("rb") as opened, contextlib.suppress(orjson.JSONDecodeError):
            if opened.read(7) != b'{"seq":':
                return read_policy(name)
    run = read_run(name, directory)
    if "tampered" in run.doubts:
        raise CapsuleError(f"{name} {run.doubts['tampered']}")
    return policy.as_policy(run.behaviour)


@functools.cache
def loaders(path: str) -> list[str]:
    """Return the programs that running `path` also runs: `#!` and PT_INTERP (elf(5)).

    The files are this machine's, now. One that cannot be read names none.
    """
    found: list[str] = []
    while len(found) < 4:  # as deep as the kernel goes
        loader = _loader(found[-1] if found else path)
        if loader is None or loader in found:
            break
        found.append(loader)
    resolved = [os.path.realpath(one) for one in found]
    return list(dict.fromkeys([*found, *resolved]))


def _loader(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            head = file.read(256)
            if head[:2] == b"#!":
                words = head[2:].split(b"\n")[0].split()
                return os.fsdecode(words[0]) if words else None
            if head[:5] != b"\x7fELF\x02" or len(head) < 64:
                return None
            (offset,) = struct.unpack_from("<Q", head, 32)
            size, number = struct.unpack_from("<HH", head, 54)
            for index in range(number):
                file.seek(offset + index * size)
                kind, _, at, _, _, length = struct.unpack("<IIQQQQ", file.read(40))
                if kind == PT_INTERP:
                    file.seek(at)
                    return os.fsdecode(file.read(min(length, 4096)).split(b"\0")[0])
    except (OSError, struct.error):
        pass
    return None

"""Which Actions say that something is out of the trace's sight."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from capsule import blindspots
from capsule.blindspots import BlindSpots


def lines(*actions: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(action) + b"\n" for action in actions)


TOLD = {
    "ring": ({"kind": "io.uring", "tags": ["blindspot.io_uring"]}, "io_uring was used"),
    "hidden": ({"kind": "proc.spawn", "tags": ["blindspot.untraced"]}, "CLONE_UNTRACED"),
    "line": ({"kind": "sys.unparsed", "tags": ["blindspot.unparsed"]}, "could not be understood"),
    "ptrace": ({"kind": "proc.ptrace", "errors": {"EPERM": 1}}, "ptrace was refused"),
    "32 bit": ({"kind": "sys.note", "text": "[ Process PID=1 runs in 32 bit mode. ]"}, "32-bit"),
}


@pytest.mark.parametrize("name", TOLD)
def test_it_is_told_once_a_process(name: str) -> None:
    action, why = TOLD[name]
    spots = BlindSpots(privileged=True)
    [(told, who)] = spots.look(lines({**action, "proc": 1, "pid": 77}))
    assert why in told
    assert who == {"proc": 1, "pid": 77}
    assert spots.look(lines({**action, "proc": 1, "pid": 77})) == []
    assert len(spots.look(lines({**action, "proc": 2, "pid": 78}))) == 1


QUIET = [
    {"kind": "proc.ptrace", "target": "PTRACE_CONT"},
    {"kind": "proc.ptrace", "errors": {"ESRCH": 1}},
    {"kind": "sys.note", "text": "[ Process PID=1 runs in 64 bit mode. ] no", "tags": []},
    {"kind": "file.open", "target": '"blindspot.io_uring" runs in 32 bit mode. ]'},
    {"kind": "file.open", "target": '"kind":"proc.ptrace"', "errors": {"EPERM": 1}},
    {"kind": "proc.exec", "target": "/bin/true"},
]


@pytest.mark.parametrize("privileged", [True, False])
def test_what_only_looks_like_it_is_not_told(privileged: bool) -> None:
    assert BlindSpots(privileged=privileged).look(lines(*QUIET)) == []


def test_a_set_user_id_program_loses_its_privilege_unless_root_traces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    program = tmp_path / "program"
    program.touch()
    program.chmod(0o4755)
    batch = lines({"kind": "proc.exec", "target": str(program), "proc": 1})
    other = program.stat().st_uid + 1
    monkeypatch.setattr(blindspots.os, "geteuid", lambda: other)
    assert BlindSpots(privileged=True).look(batch) == []
    [(why, _)] = BlindSpots(privileged=False).look(batch)
    assert "set-user-ID" in why


def test_a_damaged_line_is_left_to_the_logger() -> None:
    assert BlindSpots(privileged=True).look(b'{"kind":"proc.ptrace"\n') == []

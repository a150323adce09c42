"""strace's command line, the search for a command, and the tracer stage."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule.tracer import GateFilter, Strace, Tracer, resolve_command, strace_argv

GATE = (
    b'7 1.0 read(9<pipe:[1]>, ".", 1) = 1\n'
    b'7 1.1 read(9<pipe:[1]>, "G", 1) = 1\n'
    b"7 1.2 prctl(PR_SET_PTRACER, 0) = 0\n"
)
TARGET = b'7 1.3 execve("/bin/true", ["true"], 0x7f /* 3 vars */) = 0\n7 1.4 brk(NULL) = 0x1\n'


def test_the_base_command_line() -> None:
    argv = strace_argv(Strace("/usr/bin/strace", (6, 1)), "/proc/9/fd/5", [12, 13])
    assert " ".join(argv) == (
        "/usr/bin/strace -f -ttt -s 1024 -y -e quiet=attach,path-resolution -I3"
        " -o /proc/9/fd/5 -p 12 -p 13"
    )


def test_a_detachable_strace_heeds_signals() -> None:
    argv = strace_argv(Strace("strace", (6, 1)), "x", [1], detachable=True)
    assert "-I2" in argv


def test_a_command_is_found_along_the_path_as_execvp_finds_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    dull = tmp_path / "a" / "tool"
    dull.write_text("")
    good = tmp_path / "b" / "tool"
    good.write_text("")
    good.chmod(0o755)
    path = f"{tmp_path}/a:{tmp_path}/b".encode()
    assert resolve_command(b"tool", path) == str(good).encode()
    assert resolve_command(str(good).encode(), b"") == str(good).encode()
    with pytest.raises(FileNotFoundError):
        resolve_command(b"no-such-tool", path)
    with pytest.raises(PermissionError):
        resolve_command(b"tool", f"{tmp_path}/a".encode())
    with pytest.raises(PermissionError):
        resolve_command(str(tmp_path).encode(), b"")


@given(st.lists(st.integers(0, len(GATE + TARGET)), max_size=8))
def test_the_gate_is_dropped_whatever_the_chunks(cuts: list[int]) -> None:
    text = GATE + TARGET
    edges = [0, *sorted(cuts), len(text)]
    gate = GateFilter(active=True)
    chunks = [gate.feed(text[a:b]) for a, b in itertools.pairwise(edges)]
    assert b"".join(chunks) + gate.finish() == TARGET


def test_without_an_execve_the_gates_lines_are_kept() -> None:
    gate = GateFilter(active=True)
    killed = GATE + b"7 1.2 +++ killed by SIGKILL +++\n"
    assert gate.feed(killed) + gate.finish() == killed


def test_only_the_first_execve_ends_the_gate() -> None:
    gate = GateFilter(active=True)
    assert gate.feed(GATE + TARGET + TARGET) == TARGET + TARGET


def test_a_last_line_without_newline_counts() -> None:
    tracer = Tracer(gated=False)
    assert tracer.feed(b"a\nb\nc") == b"a\nb\nc"
    assert tracer.finish() == b""
    assert tracer.counters() == {"bytes": 5, "lines": 3, "chunks": 1}

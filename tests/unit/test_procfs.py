"""What /proc says of a process, and of one that has gone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import blake3

from capsule.procfs import Program, PsutilReader


def test_facts_of_ourselves() -> None:
    reader = PsutilReader()
    facts = reader.facts(os.getpid())
    assert facts is not None
    assert (facts.pid, facts.tgid, facts.ppid) == (os.getpid(), os.getpid(), os.getppid())
    assert (facts.uid, facts.euid, facts.gid) == (os.getuid(), os.geteuid(), os.getgid())
    assert facts.cwd == os.getcwdb()
    assert facts.exe == os.path.realpath("/proc/self/exe").encode()
    assert facts.argv == tuple(Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").split(b"\0"))
    assert os.readlink("/proc/self/ns/pid").encode() in facts.namespaces
    assert reader.counters()["proc_read"] == 1


def test_process_that_has_gone_is_a_value_and_is_counted() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    reader = PsutilReader()
    assert reader.facts(child.pid) is None
    assert reader.counters()["proc_gone"] == 1


def test_program_is_read_once_and_again_when_it_changes(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#! /usr/bin/env  python3 -u\nx\n")
    path = os.fsencode(script)
    reader = PsutilReader(hash_exe=True)
    first = reader.program(path)
    assert first.interpreter == b"/usr/bin/env  python3 -u"
    assert first.hash == blake3.blake3(script.read_bytes()).hexdigest().encode()
    assert reader.program(path) is first
    assert reader.counters()["programs_read"] == 1
    script.write_bytes(b"\x7fELF and no script")
    second = reader.program(path)
    assert second.interpreter is None
    assert second.hash == blake3.blake3(script.read_bytes()).hexdigest().encode()


def test_program_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    reader = PsutilReader(hash_exe=True)
    assert reader.program(os.fsencode(tmp_path / "none")) == Program()
    assert reader.program(os.fsencode(tmp_path)) == Program()
    assert reader.program(b"a\0b") == Program()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert reader.program(os.fsencode(fifo)) == Program()  # and does not wait for a writer


def test_hash_is_not_made_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("x")
    assert PsutilReader().program(os.fsencode(path)).hash is None

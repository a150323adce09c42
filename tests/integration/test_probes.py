"""Hostile deeds under `capsule run`: what a drafted policy stops, and what is known not to be.

Each deed (tests/programs/probes.c) is first done unconfined: one that fails there proves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from benchmarks import probes
from benchmarks.probes import Ground, Way
from tests.conftest import REPO

NOT_HELD = {"chmod_outside", "connect_unix_path", "map_written_code", "send_udp_elsewhere"}
"""What neither Landlock nor a filter of numbers can tell from what the program does anyway: it
changes modes, sends over UDP and talks to sockets with a path; and a file that may be read may be
mapped as code."""

NEEDS_ROOT = {
    "read_shadow", "read_by_handle", "make_device", "write_core_pattern", "raw_socket",
    "packet_socket", "exec_setuid", "mount_tmpfs", "change_root", "set_host_name", "bpf_map",
    "perf_event", "user_fault_fd", "type_into_terminal", "type_into_terminal_high",
}  # fmt: skip

NOT_EVERYWHERE = {
    "call_of_x32", "call_of_32_bits", "io_uring", "kernel_key", "unshare_user", "clone_user",
    "clone3_user", "ptrace_peer", "read_peer_memory", "write_peer_memory", "open_peer_memory",
    "read_peer_environment", "take_peer_descriptor",
}  # fmt: skip
"""What kernels are built or set up without."""


@pytest.fixture(scope="module")
def place() -> Iterator[Ground]:
    with pytest.MonkeyPatch.context() as patch, probes.ground() as ground:
        patch.setenv("PYTHONPATH", str(REPO))
        yield ground


@pytest.fixture(scope="module")
def held(place: Ground) -> Way:
    wrap = probes.confined(place, "--no-trace")
    done = place.run(wrap(place.argv("benign")))
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    return wrap


def deeds() -> list[str]:
    text = probes.SOURCE.read_text()
    table = text[text.index("} DEEDS[] = {") :]
    return [word.partition(")")[0] for word in table[: table.index("};")].split("DEED(")[1:]]


@pytest.mark.parametrize("deed", deeds())
def test_a_deed_is_stopped(deed: str, place: Ground, held: Way) -> None:
    control = place.attempt(deed, lambda argv: argv)
    if control.result != "done":
        assert deed in NOT_EVERYWHERE or (os.geteuid() and deed in NEEDS_ROOT), control
    outcome = place.attempt(deed, held)
    expected = "done" if deed in NOT_HELD else "denied"
    assert outcome.result == expected or (control.result != "done"), outcome


def test_every_deed_has_a_test(place: Ground) -> None:
    assert place.deeds() == deeds()
    assert len(deeds()) > 25
    assert set(deeds()) > NOT_HELD | NEEDS_ROOT | NOT_EVERYWHERE


def test_the_document_says_so() -> None:
    document = (REPO / "docs" / "allowlists.md").read_text()
    _, _, text = document.partition("<!-- probes -->\n")
    heads, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.partition("<!-- end")[0].splitlines()
        if line.startswith("|")
    )
    told = {row[0].replace(" ", "_"): dict(zip(heads, row, strict=True)) for row in rows}
    assert [*told][:-1] == deeds()
    for deed in deeds():
        for way in ("capsule run", "capsule run --no-trace"):
            assert told[deed][way].startswith("done" if deed in NOT_HELD else "denied"), deed


@pytest.mark.parametrize(
    "deed", ["read_ssh_key", "connect_elsewhere", "unshare_user", "raw_socket"]
)
def test_a_traced_program_is_stopped_too(deed: str, place: Ground, held: Way) -> None:
    traced = probes.confined(place, "--log-dir", str(place.root / "logs"))
    assert place.attempt(deed, traced).result == "denied"
    assert place.run(traced(place.argv("benign"))).returncode == 0


def test_a_crash_proves_nothing(place: Ground) -> None:
    killed = place.attempt("read_ssh_key", lambda _: ["sh", "-c", "kill -SEGV $$"])
    assert killed.result == "inconclusive"
    assert place.attempt("read_ssh_key", lambda _: ["sh", "-c", "kill -SYS $$"]).result == "denied"
    assert place.attempt("read_ssh_key", lambda _: ["false"]).result == "inconclusive"
    assert place.attempt("x", lambda _: ["sh", "-c", "exit 125"]).result == "inconclusive"

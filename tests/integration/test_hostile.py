"""Programs that try to hide from the log, to forge it, to break it, or to break out of it.

Each ends with an intact log that tells what was done, or with a gap in the log that says what
was not seen; docs/threat-model.md says what is left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from capsule.text import unescape
from tests.conftest import RunCapsule
from tests.hostile import (
    PRIVATE_UID,
    PROGRAMS,
    STAGES,
    Unprivileged,
    of_user,
    program,
    python_of_others,
    unprivileged,
)
from tests.logs import Record, actions, end, read_log

__all__ = ["program", "unprivileged"]
Compile = Callable[[str], str]
ATTACK = ["/usr/bin/python3", "-IS", str(PROGRAMS / "attack.py")]


def gaps(log_dir: Path) -> list[str]:
    return [record["why"] for record in read_log(log_dir) if record["type"] == "gap"]


def assert_intact(capsule: RunCapsule, log_dir: Path) -> Record:
    """The log is sealed, verifies, and counts every event once; returns its seal."""
    done = capsule("verify")
    assert done.returncode == 0, done.stdout + done.stderr
    seal = end(log_dir)
    assert seal["totals"]["count"] == seal["stages"]["parser"]["events"]
    return seal


# -- forging and confusing


def test_lines_like_straces_on_every_descriptor_are_only_output(
    capsule: RunCapsule, log_dir: Path, program: Compile, tmp_path: Path
) -> None:
    handed = os.open(tmp_path / "handed", os.O_RDWR | os.O_CREAT)
    done = capsule("trace", "-q", "--", program("forge_lines"), pass_fds=[handed])
    os.close(handed)
    assert b"/forged/program" in done.stdout
    assert b"/forged/program" in done.stderr
    assert b"/forged/program" in (tmp_path / "handed").read_bytes()
    seal = assert_intact(capsule, log_dir)
    assert seal["exit"] == {"code": 0}
    assert seal["stages"]["parser"]["unparsed"] == 0
    assert len(actions(log_dir, "proc.exec")) == 1
    assert not [a for a in actions(log_dir) if "forged" in str(a.get("target"))]


ODD_NAMES = [
    b"line\nbreak", b'qu"ote', b"it's", b"x) = 0", b"<unfinished ...>", b"<... openat resumed>",
    b"\xff\xfe not UTF-8", b"\xed\xa0\x80", "\u202egnp.exe".encode(), "é\u2028".encode(),
    b"\x1b[31mred\x1b[0m\x07\x9b1A", b"back\\slash\\n", b'", O_RDONLY) = 3', b"{}[]<>()", b"\t",
    b'\n1 1700000000.000000 execve("forged", [], 0x0) = 0\n', b"0x7ffc * 1 var *", b"n" * 255,
]  # fmt: skip


def test_odd_names_are_kept_byte_by_byte_and_drive_no_terminal(
    capsule: RunCapsule, log_dir: Path, program: Compile, tmp_path: Path
) -> None:
    place = tmp_path / "names"
    place.mkdir()
    done = capsule("trace", "-q", "--", program("touch_all"), *ODD_NAMES, cwd=place)
    assert done.returncode == 0
    assert_intact(capsule, log_dir)
    made = {unescape(a["target"]) for a in actions(log_dir, "file.create")}
    assert made >= {os.fsencode(place) + b"/" + name for name in ODD_NAMES}
    longest = max((a["target"] for a in actions(log_dir, "file.open") if a["target"]), key=len)
    assert len(longest) > 4095
    assert len(actions(log_dir, "proc.exec")) == 1
    shown = capsule("tail").stdout
    assert not {c for c in shown.decode() if not c.isprintable()} - {"\n"}


def test_two_mebibytes_of_argv_are_cut_and_said_to_be(
    capsule: RunCapsule, log_dir: Path, program: Compile
) -> None:
    words = ["x" * 131_071] * 15
    assert capsule("trace", "-q", "--", "true", *words).returncode == 0
    assert_intact(capsule, log_dir)
    assert read_log(log_dir)[0]["argv"][1:] == words
    assert capsule("trace", "-q", "--", program("big_argv")).returncode == 0
    assert_intact(capsule, log_dir)
    first, second = actions(log_dir, "proc.exec")
    assert second["argv_cut"] is True
    assert "argv_cut" not in first


def test_numbers_past_64_bits_stop_nothing(
    capsule: RunCapsule, log_dir: Path, program: Compile
) -> None:
    assert capsule("trace", "-q", "--", program("big_numbers")).returncode == 0
    assert assert_intact(capsule, log_dir)["stages"]["parser"]["unparsed"] == 0


# -- against our processes


def in_proc(name: str) -> str:
    """A stage's name as its comm shows it: cut at 15 bytes (prctl(2))."""
    return name[:7] if name in STAGES else name


def test_a_program_of_the_same_user_can_look_into_none_of_ours(unprivileged: Unprivileged) -> None:
    """Not /proc/<pid>/mem, maps, environ or fd, not ptrace, no socket (PR_SET_DUMPABLE 0)."""
    done = unprivileged("trace", "-q", "--", *ATTACK, "look")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_strace_can_stop_what_an_ordinary_user_traces(unprivileged: Unprivileged) -> None:
    """strace must be able to try PTRACE_SEIZE on a child: undumpable, it fell back to ATTACH."""
    script = (
        'sh -c "kill -STOP \\$\\$" & p=$!; '
        'until grep -q "^State:.[Tt] " /proc/$p/status; do :; done; kill -CONT $p; wait $p'
    )
    done = unprivileged("trace", "-q", "--", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (0, b"")
    stops = [a.get("code") for a in actions(unprivileged.log_dir, "proc.signal")
             if a["target"] == "SIGSTOP"]  # fmt: skip
    assert stops == ["SI_USER", "stopped"]


@pytest.mark.root
def test_with_log_user_not_even_a_signal_reaches_us(capsule: RunCapsule, log_dir: Path) -> None:
    if python_of_others() is None:
        pytest.skip("no Python here that another user can run with Capsule's libraries")
    user = ["trace", "-q", "--log-user", str(PRIVATE_UID), "--"]
    done = capsule(*user, *ATTACK, "look")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    for name in ("supervisor", "strace", *STAGES):
        done = capsule(*user, *ATTACK, "SIGKILL", in_proc(name))
        assert b"PermissionError: [Errno 1]" in done.stderr, name
        assert done.returncode == 1
        assert_intact(capsule, log_dir)
    assert [a["uid"] for a in actions(log_dir, "proc.exec")] == [PRIVATE_UID]
    log = (log_dir / "latest").resolve()
    for how in ("unlink", "append", "truncate", "overwrite"):
        done = capsule(*user, *ATTACK, "log", how, log)
        assert b"PermissionError: [Errno 13]" in done.stderr
    assert capsule("verify", log).returncode == 0


@pytest.mark.parametrize("name", ["supervisor", "strace", *STAGES])
def test_a_program_that_kills_one_of_us_dies_with_it(
    name: str, capsule: RunCapsule, log_dir: Path
) -> None:
    done = capsule("trace", "-q", "--", *ATTACK, "SIGKILL", in_proc(name))
    assert done.returncode == (-9 if name == "supervisor" else 125)
    if name != "supervisor":
        assert b"was killed by SIGKILL" in done.stderr
        assert done.stderr.count(b"\n") == 1
    for process in psutil.Process().children(recursive=True):
        process.wait(10)  # the stages have lost their parent and drain
    assert capsule("verify").returncode == 3


# -- against the log

LOG_ATTACKS = {
    # how: what Capsule says, what verify returns
    "unlink": (b"was deleted or moved away", 2),
    "replace": (b"was replaced by another file", 3),
    "append": (b"was changed by someone else", 1),
    "truncate": (b"was changed by someone else", 1),
}


@pytest.mark.parametrize("how", LOG_ATTACKS)
def test_a_log_changed_under_us_stops_the_program(
    how: str, capsule: RunCapsule, log_dir: Path
) -> None:
    said, verdict = LOG_ATTACKS[how]
    log = str(log_dir / "latest")
    find = f'exec "$@" "$(readlink -f {log})"'
    done = capsule("trace", "-q", "--", "sh", "-c", find, "sh", *ATTACK, "log", how)
    assert done.returncode == 125
    assert said in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert capsule("verify").returncode == verdict


def test_a_byte_overwritten_in_the_log_is_found_by_verify(
    capsule: RunCapsule, log_dir: Path
) -> None:
    find = f'exec "$@" "$(readlink -f {log_dir}/latest)"'
    done = capsule("trace", "-q", "--", "sh", "-c", find, "sh", *ATTACK, "log", "overwrite")
    assert done.returncode == 0
    done = capsule("verify")
    assert done.returncode == 1
    assert b"TAMPERED" in done.stdout + done.stderr


def test_a_failed_log_may_let_the_program_run_on(capsule: RunCapsule, log_dir: Path) -> None:
    script = f"rm $(readlink -f {log_dir}/latest); /bin/true; /bin/true; echo on; exit 7"
    done = capsule("trace", "-q", "--on-log-failure", "continue", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (7, b"on\n")
    assert b"was deleted or moved away" in done.stderr
    assert done.stderr.count(b"\n") == 1
    endless = script.replace("exit 7", "while :; do :; done")  # it is stopped a moment later
    assert capsule("trace", "-q", "--", "sh", "-c", endless).returncode == 125


# -- out of the trace's sight


def test_an_untraced_child_is_declared_and_does_not_outlive_the_run(
    capsule: RunCapsule, log_dir: Path, program: Compile
) -> None:
    assert capsule("trace", "-q", "--", program("untraced")).returncode == 0
    assert_intact(capsule, log_dir)
    started, killed = gaps(log_dir)
    assert "CLONE_UNTRACED: it ran without being traced" in started
    assert "were killed when the trace ended" in killed


def test_an_untraced_runner_is_caught(capsule: RunCapsule, log_dir: Path, program: Compile) -> None:
    """It lives in a session of its own and forks and ends all the time: a scan never meets it."""
    assert capsule("trace", "-q", "--", program("untraced"), "run").returncode == 0
    assert_intact(capsule, log_dir)
    assert len(gaps(log_dir)) == 2


def test_an_open_through_io_uring_is_declared(
    capsule: RunCapsule, log_dir: Path, program: Compile
) -> None:
    done = capsule("trace", "-q", "--", program("io_uring_open"), "/etc/hostname")
    assert done.stdout == b"opened\n" or done.stdout.startswith(b"refused")
    assert_intact(capsule, log_dir)
    assert not [a for a in actions(log_dir) if a.get("target") == "/etc/hostname"]
    [gap] = gaps(log_dir)
    assert gap.startswith("io_uring was used")


def test_32_bit_calls_are_logged_and_declared(
    capsule: RunCapsule, log_dir: Path, program: Compile, tmp_path: Path
) -> None:
    doomed = tmp_path / "doomed"
    doomed.touch()
    assert capsule("trace", "-q", "--", program("int80"), doomed).returncode == 0
    assert not doomed.exists()
    assert_intact(capsule, log_dir)
    assert [a["target"] for a in actions(log_dir, "file.delete")] == [str(doomed)]
    [gap] = gaps(log_dir)
    assert gap.startswith("32-bit system calls were made")


def test_a_filter_on_itself_hides_nothing(
    capsule: RunCapsule, log_dir: Path, program: Compile
) -> None:
    assert capsule("trace", "-q", "--", program("seccomp_self")).returncode == 128 + 31
    assert assert_intact(capsule, log_dir)["exit"] == {"signal": "SIGSYS"}
    refused = [a for a in actions(log_dir) if a.get("errors") == {"EPERM": 1}]
    assert refused, "the uname that the filter refused"


def test_a_capsule_within_says_why_it_cannot_and_the_outer_declares_it(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    inner = tmp_path / "inner"
    words = ["trace", "-q", "--log-dir", inner, "--", "echo", "seen"]
    done = capsule("trace", "-q", "--", sys.executable, "-m", "capsule", *words)
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"ptrace is not permitted" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert_intact(capsule, log_dir)
    assert any(gap.startswith("ptrace was refused") for gap in gaps(log_dir))


def test_strace_within_is_declared(capsule: RunCapsule, log_dir: Path) -> None:
    capsule("trace", "-q", "--", "strace", "-o", "/dev/null", "true")
    assert_intact(capsule, log_dir)
    assert any(gap.startswith("ptrace was refused") for gap in gaps(log_dir))


def test_a_set_user_id_program_without_its_privilege_is_declared(
    unprivileged: Unprivileged, capsule: RunCapsule
) -> None:
    suid = next((p for p in ("/usr/bin/su", "/bin/su", "/usr/bin/passwd") if Path(p).exists()), "")
    if not suid or os.stat(suid).st_uid == os.stat(unprivileged.home).st_uid:
        pytest.skip("no set-user-ID program of another user here")
    unprivileged("trace", "-q", "--", suid, "--help")
    assert capsule("verify", unprivileged.log_dir / "latest").returncode == 0
    [gap] = gaps(unprivileged.log_dir)
    assert gap.startswith("a set-user-ID program ran under a tracer")


# -- exhausting


def test_a_fork_bomb_that_exhausts_its_processes_is_logged(
    capsule: RunCapsule, log_dir: Path, program: Compile
) -> None:
    bomb = [program("fork_storm"), "0", "20"]
    if os.geteuid() == 0:
        bomb[1] = "40"
        user = ["--log-user", str(PRIVATE_UID)]
    else:
        bomb[1] = str(len(of_user(os.getuid())) + 60)
        user = []
    done = capsule("trace", "-q", *user, "--", *bomb)
    assert (done.returncode, done.stderr) == (0, b"")
    seal = assert_intact(capsule, log_dir)
    errors = [a["errors"] for a in actions(log_dir, "proc.spawn") if "errors" in a]
    assert {"EAGAIN"} == {name for one in errors for name in one}
    assert seal["summary"]["processes"] > 20


def test_64_mib_of_memory_are_enough_for_what_the_target_needs(
    capsule: RunCapsule, log_dir: Path
) -> None:
    """The limit is the target's own: it costs Capsule nothing."""
    done = capsule("trace", "-q", "--", "sh", "-c", "ulimit -v 65536; ulimit -n 8; /bin/true")
    assert (done.returncode, done.stderr) == (0, b"")
    assert_intact(capsule, log_dir)


def test_strace_without_privileges_may_attach_from_the_first_moment(
    unprivileged: Unprivileged,
) -> None:
    """The child at the gate was undumpable at first, and once in thirty runs strace came sooner."""
    for _ in range(12):
        done = unprivileged("trace", "-q", "--", "true")
        assert (done.returncode, done.stderr) == (0, b"")

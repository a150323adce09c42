"""Drafted drop-ins, read by systemd-analyze and held by a systemd that starts the service."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from capsule.dialects.systemd import quoted
from tests.conftest import RunCapsule
from tests.manager import Manager, found

pytestmark = pytest.mark.root

HOSTILE = [
    "a b",
    "100%",
    "%n",
    'q"q',
    "it's",
    "back\\slash",
    "é*[{$x",
    ";#",
    "tab\tbed",
    "-x",
    "+y",
]

GIT = (
    "cd {0}/work; git init -q r; cd r; echo a > a; git add a; git -c user.name=a "
    "-c user.email=a@b commit -qm a; git log --format=%s; rm -rf {0}/work/r"
)


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    """A systemd that starts services here, or the test cannot say anything."""
    if os.getuid() != 0:
        pytest.skip("systemd is started as root")
    assert found(), "systemd is not installed: run .ci/setup test"
    (tmp_path / "work").mkdir()
    made = Manager(tmp_path)
    plain = made.run("echo started")
    if plain.output != "started\n":
        pytest.skip(f"systemd does not start here: {plain}")
    return made


def drop_in(capsule: RunCapsule, where: Path, script: str) -> str:
    """The drop-in of two runs of a script."""
    (where / "script").write_text(script)
    environment = ["env", "-i", "PATH=/usr/bin", "LC_ALL=C", f"HOME={where}"]
    for _ in range(2):
        capsule("trace", "-q", "--", *environment, "/bin/sh", str(where / "script"))
    runs = sorted(path.stem for path in (where / "logs").glob("2*.jsonl"))
    drafted = capsule("profile", "--format", "systemd", *runs)
    assert drafted.returncode == 0, drafted.stderr
    assert b"capsule: systemd: cannot say which files are read" in drafted.stderr
    return drafted.stdout.decode()


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CAPSULE_LOG_DIR", str(tmp_path / "logs"))


@pytest.mark.usefixtures("logs")
def test_a_service_does_its_work_under_its_drop_in(
    capsule: RunCapsule, manager: Manager, tmp_path: Path
) -> None:
    script = GIT.format(tmp_path)
    made = drop_in(capsule, tmp_path, script)
    plain = manager.run(script)
    assert (plain.returncode, plain.output) == (0, "a\n")
    assert manager.run(script, made) == plain


@pytest.mark.usefixtures("logs")
def test_systemd_reads_all_of_a_drop_in(
    capsule: RunCapsule, manager: Manager, tmp_path: Path
) -> None:
    made = drop_in(capsule, tmp_path, GIT.format(tmp_path))
    manager.run("true", made)
    unit = manager.units / "probe.service"
    unit.write_text(unit.read_text() + made.partition("[Service]\n")[2])
    read = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, check=False
    )
    assert b"capsule" not in read.stderr and str(unit).encode() not in read.stderr, read.stderr
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=40", str(unit)],
        capture_output=True, check=False, env={**os.environ, "SYSTEMD_COLORS": "0"},
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout.decode()[-300:]


DEEDS = """
try() {
  name=$1; shift
  if "$@" > /dev/null 2>&1; then echo "$name done"; else echo "$name denied"; fi
}
try "write outside" touch /srv/x
try "write in work" touch WORK/x
try "run another" /usr/bin/id
try "read shadow" grep -q secret /etc/shadow
python3 -c "
import ctypes, errno, socket
libc = ctypes.CDLL(None, use_errno=True)
for name, number in (('chroot', 161), ('io_uring_setup', 425), ('clone3', 435)):
    ctypes.set_errno(0); libc.syscall(number, 0, 0)
    print(name, errno.errorcode[ctypes.get_errno()])
import mmap
for name, deed in (('internet', lambda: socket.socket()), ('unix', lambda: socket.socket(1)),
                   ('code', lambda: mmap.mmap(-1, 4096, prot=7))):
    try: deed(); print(name, 'done')
    except OSError as error: print(name, 'denied')
"
"""


@pytest.mark.usefixtures("logs")
def test_what_the_policy_does_not_name_is_denied(
    capsule: RunCapsule, manager: Manager, tmp_path: Path
) -> None:
    seen = (
        f"touch {tmp_path}/work/y; grep -q root /etc/passwd; rm {tmp_path}/work/y; "
        'python3 -c "import ctypes, errno, socket, mmap; socket.socket(1)"'
    )
    made = drop_in(capsule, tmp_path, seen)
    script = DEEDS.replace("WORK", str(tmp_path / "work"))
    free = dict(line.rsplit(" ", 1) for line in manager.run(script).output.splitlines())
    held = dict(line.rsplit(" ", 1) for line in manager.run(script, made).output.splitlines())
    assert free == {
        "write outside": "done", "write in work": "done", "run another": "done",
        "read shadow": "done", "chroot": "EFAULT", "io_uring_setup": "EFAULT",
        "clone3": "EINVAL", "internet": "done", "unix": "done", "code": "done",
    }  # fmt: skip
    assert held == {
        "write outside": "denied", "write in work": "done", "run another": "denied",
        "read shadow": "denied", "chroot": "EPERM", "io_uring_setup": "ENOSYS",
        "clone3": "ENOSYS", "internet": "denied", "unix": "done", "code": "denied",
    }  # fmt: skip


def test_hostile_names_reach_systemd_as_they_are(manager: Manager, tmp_path: Path) -> None:
    words = []
    for name in HOSTILE:
        (tmp_path / "work" / name).mkdir()
        words.append(quoted(f"{tmp_path}/work/{name}".replace("\\", "\\\\")))
    script = f'cd {tmp_path}/work; for one in *; do touch ./"$one"/f && echo done; done; touch f'
    lines = ["[Service]", "ProtectSystem=strict", *(f"ReadWritePaths={one}" for one in words)]
    held = manager.run(script, "\n".join([*lines, f"ReadWritePaths={tmp_path}/output", ""]))
    assert held.output.count("done") == len(HOSTILE), held.output
    assert held.returncode == 1 and "'f': Read-only file system" in held.output

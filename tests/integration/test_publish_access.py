"""Who may follow a published run, and what cannot be published or subscribed to."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
import zmq

from capsule.endpoints import Publish, parse_endpoint
from capsule.fanout import Publisher
from tests.conftest import RunCapsule
from tests.publishing import CAPSULE, Follower, published, the_log


@pytest.fixture
def url() -> str:
    return f"ipc://{os.environ['XDG_RUNTIME_DIR']}/s"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
def keys(tmp_path: Path, capsule: RunCapsule) -> dict[str, Path]:
    """Base names of three key pairs; only `known` is in the directory `authorized`."""
    bases = {name: tmp_path / "keys" / name for name in ("publisher", "known", "stranger")}
    for base in bases.values():
        assert capsule("keygen", base).returncode == 0
    authorized = tmp_path / "authorized"
    authorized.mkdir()
    shutil.copy(f"{bases['known']}.key", authorized)
    return bases


def curve_options(keys: dict[str, Path], address: str) -> tuple[str, ...]:
    authorized = keys["known"].parent.parent / "authorized"
    return (
        "--publish", address, "--authorized-keys", str(authorized),
        "--publish-key", f"{keys['publisher']}.key_secret",
    )  # fmt: skip


def test_tcp_for_other_machines_demands_keys(capsule: RunCapsule, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for host in ("*", "0.0.0.0", "[::]"):
        done = capsule("trace", "--publish", f"tcp://{host}:5555", "--", "touch", marker)
        assert done.returncode == 125
        assert b"needs --authorized-keys DIR" in done.stderr
        assert done.stderr.count(b"\n") == 1
    assert not marker.exists()


def test_only_who_has_a_known_key_gets_anything(
    keys: dict[str, Path], tmp_path: Path, log_dir: Path
) -> None:
    port = free_port()
    here = f"tcp://127.0.0.1:{port}"
    server = ("--server-key", f"{keys['publisher']}.key")
    with published(
        tmp_path, "ls / >/dev/null", *curve_options(keys, f"tcp://0.0.0.0:{port}")
    ) as run:
        known = Follower(here, *server, "--key", f"{keys['known']}.key_secret")
        stranger = subprocess.run(
            [*CAPSULE, "subscribe", here, *server, "--key", f"{keys['stranger']}.key_secret"],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (stranger.returncode, stranger.stdout) == (2, b"")
        assert b"the publisher does not know our key" in stranger.stderr
        keyless = subprocess.run(
            [*CAPSULE, "subscribe", here], capture_output=True, timeout=60, check=False
        )
        assert (keyless.returncode, keyless.stdout) == (2, b"")
        assert b"it demands keys" in keyless.stderr
        with zmq.Context() as context, context.socket(zmq.SUB) as raw:
            raw.subscribe(b"")
            raw.linger = 0
            raw.connect(here)
            run.go()
            status, out, err = known.result()
            # The known one has had everything by now, heartbeats too; the keyless one nothing.
            assert raw.poll(0) == 0
        assert run.wait() == 0
    assert (status, err) == (0, "")
    assert out == the_log(log_dir)


def test_a_publisher_that_is_not_the_one_we_know_is_not_believed(
    keys: dict[str, Path], tmp_path: Path
) -> None:
    here = f"tcp://127.0.0.1:{free_port()}"
    with published(tmp_path, "true", *curve_options(keys, here)) as run:
        wrong = ("--server-key", f"{keys['stranger']}.key", "--key", f"{keys['known']}.key_secret")
        done = subprocess.run(
            [*CAPSULE, "subscribe", here, *wrong, "--timeout", "5"],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, b"")
        run.go()
        assert run.wait() == 0


def test_a_secret_key_is_ours_alone(keys: dict[str, Path], capsule: RunCapsule) -> None:
    secret = Path(f"{keys['known']}.key_secret")
    assert secret.stat().st_mode & 0o777 == 0o600
    again = capsule("keygen", keys["known"])
    assert again.returncode == 2
    assert b"exists already" in again.stderr
    secret.chmod(0o640)
    done = capsule("trace", *curve_options({**keys, "publisher": keys["known"]},
                                           "tcp://127.0.0.1:1"), "--", "true")  # fmt: skip
    assert done.returncode == 125
    assert b"others may read" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--publish", "udp://x:1"], b"cannot publish over udp"),
        (["--publish", "ipc:///nonexistent/x"], b"no such directory: /nonexistent"),
        (["--publish-lossless"], b"--publish-lossless needs --publish URL"),
        (["--publish", "tcp://127.0.0.1:9", "--authorized-keys", "/nonexistent"],
         b"cannot read /nonexistent"),
    ],
)  # fmt: skip
def test_what_cannot_be_published_stops_the_run_before_it_starts(
    words: list[str], message: bytes, capsule: RunCapsule, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    done = capsule("trace", *words, "--", "touch", marker)
    assert done.returncode == 125
    assert message in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert not marker.exists()


def test_an_address_in_use_is_named(url: str, tmp_path: Path, capsule: RunCapsule) -> None:
    marker = tmp_path / "ran"
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        done = capsule("trace", "--publish", taken, "--", "touch", marker)
        assert done.returncode == 125
        assert done.stderr.decode().startswith(f"capsule: cannot publish on {taken}: Address")
    with published(tmp_path, "true", "--publish", url) as run:
        follower = Follower(url)
        done = capsule("trace", "--publish", url, "--", "touch", marker)
        assert done.returncode == 125
        assert b"another run is published there" in done.stderr
        run.go()
        assert run.wait() == 0
        assert follower.result()[0] == 0
    assert not marker.exists()


def test_a_subscriber_beyond_this_machine_needs_the_publishers_key(capsule: RunCapsule) -> None:
    done = capsule("subscribe", "tcp://example.org:5555")
    assert done.returncode == 2
    assert b"--server-key" in done.stderr


def test_a_start_that_cannot_be_had_is_an_error(
    url: str, tmp_path: Path, capsule: RunCapsule
) -> None:
    with published(tmp_path, "true", "--publish", url) as run:
        follower = Follower(url)  # there is a start by now
        done = capsule("subscribe", url, "--from-start", "--log", "/nonexistent")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"its start cannot be had" in done.stderr
        run.go()
        assert (run.wait(), follower.result()[0]) == (0, 0)


def test_nothing_published_is_said_in_time(url: str, capsule: RunCapsule) -> None:
    done = capsule("subscribe", url, "--timeout", "0.2")
    assert done.returncode == 2
    assert b"nothing is published on" in done.stderr


def connect_as(uid: int, path: Path) -> int:
    """What connect(2) says to user `uid`: 0 or an errno."""
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            with socket.socket(socket.AF_UNIX) as probe:
                status = probe.connect_ex(str(path))
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.root
@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o700, errno.EACCES), (0o755, errno.EACCES), (0o1777, errno.EACCES), (0o777, 0)],
)
def test_a_socket_file_is_for_who_may_write_in_its_directory(mode: int, expected: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        path = directory / "s"
        directory.chmod(mode)
        publisher = Publisher(Publish((parse_endpoint(f"ipc://{path}"),)), "run", {})
        assert connect_as(65534, path) == expected
        publisher.close()
        assert not path.exists()

"""A run is published, and others follow it: from processes of their own, over real sockets."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
import zmq

import capsule as capsule_api
from capsule.endpoints import Publish, parse_endpoint
from capsule.fanout import Publisher
from capsule.logdir import parts
from capsule.subscriber import Silent, Subscription
from tests.conftest import REPO, RunCapsule
from tests.logs import read_log

CAPSULE = (sys.executable, "-m", "capsule")
STORM = "i=0; while [ $i -lt {n} ]; do /bin/true; i=$((i+1)); done"


class Run:
    """A published run whose target waits at a fifo until the test lets it go."""

    def __init__(self, tmp_path: Path, script: str, *options: str) -> None:
        self.fifo = tmp_path / "gate"
        os.mkfifo(self.fifo)
        self.process = subprocess.Popen(
            [*CAPSULE, "trace", "-q", *options, "--", "sh", "-c", f"read x <{self.fifo}; {script}"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def go(self) -> None:
        """Let the target run."""
        self.fifo.write_text("go\n")

    def wait(self) -> int:
        _, self.stderr = self.process.communicate(timeout=120)
        return self.process.returncode

    def logger(self) -> psutil.Process:
        [found] = [
            p for p in psutil.Process(self.process.pid).children() if p.name() == "capsule-logger"
        ]
        return found


@contextmanager
def published(tmp_path: Path, script: str, *options: str) -> Iterator[Run]:
    run = Run(tmp_path, script, *options)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.kill()
            run.process.communicate()


class Follower:
    """`capsule subscribe --from-start --json` that has already joined the run."""

    def __init__(self, url: str, *words: str) -> None:
        self.process = subprocess.Popen(
            [*CAPSULE, "subscribe", url, "--from-start", "--json", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            bufsize=0,  # what is read ahead would be lost to communicate()
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        # Whoever starts from the start prints the start as soon as it has joined.
        self.first = self.process.stdout.readline()

    def result(self) -> tuple[int, bytes, str]:
        """(exit status, all it has printed, its messages)."""
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, self.first + out, err.decode()


@pytest.fixture
def url() -> str:
    return f"ipc://{os.environ['XDG_RUNTIME_DIR']}/s"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def the_log(log_dir: Path) -> bytes:
    return (log_dir / "latest").read_bytes()


# -- what arrives


def test_a_subscriber_has_the_log_itself_byte_for_byte(
    url: str, tmp_path: Path, log_dir: Path
) -> None:
    with published(tmp_path, "ls / >/dev/null; exit 3", "--publish", url) as run:
        follower = Follower(url)
        run.go()
        status, out, err = follower.result()
        assert (status, err) == (0, "")
        assert run.wait() == 3
    assert out == the_log(log_dir)
    assert not os.path.exists(url.removeprefix("ipc://"))


def test_a_subscriber_can_check_the_chain_by_itself(
    url: str, tmp_path: Path, log_dir: Path
) -> None:
    with published(tmp_path, "ls / >/dev/null", "--publish", url) as run:
        follower = Follower(url, "--verify")
        run.go()
        status, _, err = follower.result()
        assert run.wait() == 0
    last = read_log(log_dir)[-1]
    assert status == 0
    assert f"records 0 to {last['seq']}: intact and complete; authenticated through " in err
    assert f"head {last['hash']}" in err


def test_a_rotated_log_is_replayed_and_followed_as_one(
    url: str, tmp_path: Path, log_dir: Path
) -> None:
    script = f"{STORM.format(n=20)}; read x <{tmp_path}/second; {STORM.format(n=20)}"
    os.mkfifo(tmp_path / "second")
    with published(tmp_path, script, "--publish", url, "--rotate-size", "20K") as run:
        run.go()
        with (tmp_path / "second").open("w") as second:  # opens when half of it is done
            follower = Follower(url, "--verify")
            second.write("go\n")
        status, out, err = follower.result()
        assert run.wait() == 0
    files = parts((log_dir / "latest").resolve())
    assert len(files) > 3
    assert status == 0, err
    assert out == b"".join(file.read_bytes() for file in files)


def test_topics_are_prefixes(url: str, tmp_path: Path, log_dir: Path) -> None:
    with published(tmp_path, "/bin/true; ls / >/dev/null", "--publish", url) as run:
        one = Follower(url, "start", "action.proc")
        two = Follower(url, "start", "action.proc.exec", "action.file.o")
        run.go()
        assert run.wait() == 0
        got = [[orjson.loads(line) for line in f.result()[1].splitlines()] for f in (one, two)]
    log = read_log(log_dir)
    assert got[0] == [r for r in log if r["type"] == "start" or r.get("kind", "")[:5] == "proc."]
    assert got[1] == [
        r for r in log if r["type"] == "start" or r.get("kind") in ("proc.exec", "file.open")
    ]


def test_events_come_to_those_who_ask(url: str, tmp_path: Path) -> None:
    with published(tmp_path, "/bin/true; /bin/true", "--publish", url) as run:
        follower = Follower(url, "start", "event.execve", "event.exit ")
        run.go()
        assert run.wait() == 0
        status, out, err = follower.result()
    assert (status, err) == (0, "")
    events = [orjson.loads(line) for line in out.splitlines()[1:]]
    # The shell's own comes first if the subscriber was there before it.
    names = [e["name"] for e in events if e["kind"] == "syscall"]
    assert names[-2:] == ["execve", "execve"]
    assert set(names) == {"execve"}
    assert [e["kind"] for e in events].count("exit") == 3


def test_an_import_is_published_too(url: str, tmp_path: Path, log_dir: Path) -> None:
    trace = tmp_path / "trace"
    os.mkfifo(trace)
    done = subprocess.Popen([*CAPSULE, "import", "-q", trace, "--publish", url])
    with trace.open("w") as text:
        text.write('7 1700000000.000001 execve("/bin/true", ["true"], 0x7 /* 1 var */) = 0\n')
        text.flush()
        follower = Follower(url)
        text.write("7 1700000000.100000 +++ exited with 0 +++\n")
    status, out, _ = follower.result()
    assert (done.wait(60), status) == (0, 0)
    assert out == the_log(log_dir)


def test_a_run_that_fails_is_told(url: str, tmp_path: Path) -> None:
    with published(tmp_path, "while :; do /bin/true; done", "--publish", url) as run:
        follower = Follower(url)
        run.go()
        aggregator = next(
            p
            for p in psutil.Process(run.process.pid).children()
            if p.name() == "capsule-aggregator"[:15]
        )
        aggregator.kill()
        status, _, err = follower.result()
        assert run.wait() == 125
    assert status == 3
    assert "the run was cut off" in err


def test_a_publisher_that_is_killed_is_silence_and_not_the_end(url: str, tmp_path: Path) -> None:
    with (
        published(tmp_path, "while :; do /bin/true; done", "--publish", url) as run,
        capsule_api.subscribe(url, silence_s=1.5) as stream,
    ):
        run.go()
        next(iter(stream))
        run.logger().kill()
        with pytest.raises(Silent, match="nothing heard for"):
            for _ in stream:
                pass
        assert run.wait() == 125
    assert not Path(url.removeprefix("ipc://")).exists()


# -- losses


def test_a_stopped_subscriber_misses_what_nobody_else_does_and_reads_it_from_the_log(
    url: str, tmp_path: Path, log_dir: Path
) -> None:
    second = tmp_path / "second"
    os.mkfifo(second)
    options = ("--publish", url, "--publish-queue", "5000")
    with published(tmp_path, f"{STORM.format(n=400)}; read x <{second}; exit 0", *options) as run:
        stopped, *others = [Follower(url) for _ in range(20)]
        os.kill(stopped.process.pid, signal.SIGSTOP)
        run.go()
        with second.open("w"):  # opens when the storm is over
            os.kill(stopped.process.pid, signal.SIGCONT)
        results = [follower.result() for follower in others]
        late = stopped.result()
        assert run.wait() == 0
    log = the_log(log_dir)
    for result in results:
        assert (result[0], result[2]) == (0, "")
        assert result[1] == log
    assert late[1] == log
    assert "missed before record" in late[2]
    assert "read from the log" in late[2]


def test_lossless_makes_the_target_wait_and_nobody_misses_anything(
    url: str, tmp_path: Path, log_dir: Path
) -> None:
    options = ("--publish", url, "--publish-queue", "50", "--publish-lossless")
    with published(tmp_path, STORM.format(n=600), *options) as run:
        # A log that is not there: what is lost would stay lost.
        process = subprocess.Popen(
            [*CAPSULE, "subscribe", url, "--json", "--log", "/nonexistent"],
            stdout=subprocess.PIPE,
            bufsize=0,  # what is read ahead would be lost to communicate()
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        run.go()
        first = process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        log = log_dir / "latest"
        size = -1
        while size != (size := log.stat().st_size):
            psutil.Process(run.process.pid).cpu_percent(0.5)  # a stretch in which it could grow
        assert run.process.poll() is None
        os.kill(process.pid, signal.SIGCONT)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, b"")
        assert run.wait() == 0
    seqs = [orjson.loads(line)["seq"] for line in (first + out).splitlines()]
    assert seqs == list(range(seqs[0], read_log(log_dir)[-1]["seq"] + 1))


# -- who may


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
    with tempfile.TemporaryDirectory(dir="/tmp") as name, zmq.Context() as context:
        directory = Path(name)
        path = directory / "s"
        directory.chmod(mode)
        publisher = Publisher(context, Publish((parse_endpoint(f"ipc://{path}"),)), "run", {})
        assert connect_as(65534, path) == expected
        publisher.close()
        assert not path.exists()


# -- in other languages, and in Python


def test_python_iterates_over_records(url: str, tmp_path: Path, log_dir: Path) -> None:
    with (
        published(tmp_path, "/bin/true", "--publish", url) as run,
        capsule_api.subscribe(url, ["action.proc"], from_start=True) as stream,
    ):
        assert isinstance(stream, Subscription)
        records = iter(stream)
        got = [next(records).data]
        run.go()
        got += [record.data for record in records]
        assert stream.ended is not None
        assert stream.ended.complete
        assert stream.lost == 0
        assert run.wait() == 0
    assert got == [r for r in read_log(log_dir) if r.get("kind", "").startswith("proc.")]


def test_asyncio_iterates_over_records(url: str, tmp_path: Path, log_dir: Path) -> None:
    async def follow(run: Run) -> list[dict[str, Any]]:
        async with capsule_api.subscribe_async(url, ["action."], from_start=True) as stream:
            records = aiter(stream)
            first = await anext(records)
            run.go()
            return [first.data, *[record.data async for record in records]]

    with published(tmp_path, "/bin/true", "--publish", url) as run:
        got = asyncio.run(follow(run))
        assert run.wait() == 0
    assert got == [r for r in read_log(log_dir) if r["type"] == "action"]


def followed_by(command: list[str | Path], url: str, run: Run, env: dict[str, str]) -> bytes:
    """What `command URL action.proc` prints; it says `joined` on stderr at its first heartbeat."""
    with subprocess.Popen(
        [*command, url, "action.proc"],
        bufsize=0,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **env},
    ) as client:
        assert client.stderr is not None
        assert client.stderr.readline() == b"joined\n"
        run.go()
        out, _ = client.communicate(timeout=60)
        assert client.returncode == 0
    return out


def check_client(
    command: list[str | Path], url: str, tmp_path: Path, log_dir: Path, **env: str
) -> None:
    with published(tmp_path, "/bin/true; /bin/true", "--publish", url) as run:
        out = followed_by(command, url, run, env)
        assert run.wait() == 0
    # The shell was executed before anybody could join.
    log = [line for line in the_log(log_dir).splitlines(True) if b'"kind":"proc.' in line]
    assert out == b"".join(log[-out.count(b"\n") :])
    assert out.count(b"proc.exec") >= 2


@pytest.mark.skipif(
    not (shutil.which("gcc") and Path("/usr/include/zmq.h").exists()), reason="needs libzmq3-dev"
)
def test_a_program_in_c_follows(url: str, tmp_path: Path, log_dir: Path) -> None:
    program = tmp_path / "subscriber"
    source = REPO / "examples" / "subscriber.c"
    subprocess.run(["gcc", "-Wall", "-Werror", "-O1", "-o", program, source, "-lzmq"], check=True)
    check_client([program], url, tmp_path, log_dir)


def test_the_python_example_follows(url: str, tmp_path: Path, log_dir: Path) -> None:
    example = REPO / "examples" / "subscriber.py"
    check_client([sys.executable, example], url, tmp_path, log_dir)


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_the_shell_example_follows(url: str, tmp_path: Path, log_dir: Path) -> None:
    capsule_command = tmp_path / "capsule"
    capsule_command.write_text(f'#!/bin/sh\nexec {sys.executable} -m capsule "$@"\n')
    capsule_command.chmod(0o755)
    with published(tmp_path, "/bin/true", "--publish", url) as run:
        script = subprocess.Popen(
            ["sh", REPO / "examples" / "subscriber.sh", url],
            env={**os.environ, "CAPSULE": str(capsule_command)},
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert script.stdout is not None
        first = script.stdout.readline()  # the shell itself: it is from the start
        run.go()
        rest, _ = script.communicate(timeout=60)
        assert (script.returncode, run.wait()) == (0, 0)
    log = [r for r in read_log(log_dir) if r.get("kind") in ("proc.exec", "net.connect")]
    assert (first + rest).decode() == "".join(
        f"{r['pid']}\t{r['exe']}\t{r['kind']}\t{r['target']}\t\n" for r in log
    )


NODE_PATH = os.environ.get("NODE_PATH", "")


@pytest.mark.skipif(
    not any(Path(p, "zeromq").is_dir() for p in NODE_PATH.split(":") if p),
    reason="needs node with zeromq (npm install zeromq; NODE_PATH)",
)
def test_the_node_example_follows(url: str, tmp_path: Path, log_dir: Path) -> None:
    check_client(["node", REPO / "examples" / "subscriber.js"], url, tmp_path, log_dir)

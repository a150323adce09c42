"""A run is published, and others follow it: from processes of their own, over real sockets."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

import capsule as capsule_api
from capsule.logdir import parts
from capsule.subscriber import Silent, Subscription
from tests.conftest import REPO
from tests.logs import read_log
from tests.publishing import CAPSULE, STORM, Follower, Run, published, the_log


@pytest.fixture
def url() -> str:
    return f"ipc://{os.environ['XDG_RUNTIME_DIR']}/s"


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
    second, marker = tmp_path / "second", tmp_path / "over"
    os.mkfifo(second)
    options = ("--publish", url, "--publish-queue", "5000")
    script = f"{STORM.format(n=400)}; : >{marker}; read x <{second}; exit 0"
    with published(tmp_path, script, *options) as run:
        stopped, *others = [Follower(url) for _ in range(20)]
        with capsule_api.subscribe(url, ["action.file"]) as stream:
            while not stream.joined:
                stream.poll(0.1)
            os.kill(stopped.process.pid, signal.SIGSTOP)
            run.go()
            # The storm's end is not the end of its being published: what comes behind it is.
            assert any(record.data.get("target") == str(marker) for record in stream)
        os.kill(stopped.process.pid, signal.SIGCONT)
        with second.open("w"):
            pass
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


def test_the_node_example_follows(
    url: str, tmp_path: Path, log_dir: Path, node_bin: Path, node_modules: Path
) -> None:
    command = [node_bin / "node", REPO / "examples" / "subscriber.js"]
    check_client(command, url, tmp_path, log_dir, NODE_PATH=str(node_modules))

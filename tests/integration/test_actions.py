"""What real programs do, told by their documentation, and what our Actions say of them.

Each expectation comes from the program's manual, not from our output.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blake3
import pytest

from tests.conftest import RunCapsule
from tests.integration.conftest import with_node
from tests.logs import actions, end

Action = dict[str, Any]
PYTHON = sys.executable


@pytest.fixture
def traced(capsule: RunCapsule, log_dir: Path) -> Callable[..., list[Action]]:
    """Run a command under `capsule trace`; return its Actions, the conservation law checked."""

    def run(*words: str | Path, status: int = 0, options: tuple[str, ...] = (), **how: Any) -> Any:
        done = capsule("trace", "-q", *options, "--", *words, **how)
        assert done.returncode == status, done.stderr.decode()
        found = actions(log_dir)
        sealed = end(log_dir)
        assert sealed["complete"] is True
        assert sum(action["count"] for action in found) == sealed["summary"]["events"]
        for action in found:
            if action["kind"] == "proc.exec" and "errors" not in action:
                assert action["exe"] and action["argv"] and action["cwd"]
                assert "uid" in action
                assert "parent" in action or action["proc"] == 1
        return found

    return run


def programs(found: list[Action]) -> list[str]:
    return [a["argv"][0].rpartition("/")[2] for a in found
            if a["kind"] == "proc.exec" and "errors" not in a]  # fmt: skip


def targets(found: list[Action], kind: str, worked: bool = True) -> set[str]:
    return {a.get("target", "") for a in found if a["kind"] == kind
            and (not worked or sum(a.get("errors", {}).values()) < a["count"])}  # fmt: skip


def written(found: list[Action]) -> set[str]:
    return targets(found, "file.write")


def need(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def test_gcc_runs_its_four_programs(traced: Any, tmp_path: Path) -> None:
    """gcc(1): preprocessing and compilation (cc1), assembly (as), linking (collect2, ld)."""
    need("gcc")
    (tmp_path / "hello.c").write_text("int main(void) { return 0; }\n")
    found = traced("gcc", "hello.c", "-o", "hello", cwd=tmp_path)
    assert programs(found) == ["gcc", "cc1", "as", "collect2", "ld"]
    opened = targets(found, "file.open")
    assert str(tmp_path / "hello.c") in opened
    assert str(tmp_path / "hello") in written(found)
    execs = {programs([a])[0]: a for a in found if a["kind"] == "proc.exec" and "errors" not in a}
    assert execs["cc1"]["parent"] == execs["gcc"]["proc"]
    assert execs["ld"]["parent"] == execs["collect2"]["proc"]
    statuses = [a["status"] for a in found if a["kind"] == "proc.exit"]
    assert statuses == [0, 0, 0, 0, 0]


def test_git_commit_writes_objects_and_moves_the_branch(traced: Any, tmp_path: Path) -> None:
    """gitrepository-layout(5): objects, refs/heads, logs, index, COMMIT_EDITMSG."""
    need("git")
    git = ["git", "-c", "user.name=n", "-c", "user.email=a@b.invalid"]
    subprocess.run([*git, "init", "-q", "-b", "main", "."], cwd=tmp_path, check=True)
    (tmp_path / "file").write_text("x\n")
    subprocess.run([*git, "add", "file"], cwd=tmp_path, check=True)
    found = traced(*git, "commit", "-q", "-m", "message", cwd=tmp_path)
    layout = str(tmp_path / ".git") + "/"
    renamed = {a["to"] for a in found if a["kind"] == "file.rename" and "errors" not in a}
    assert layout + "refs/heads/main" in renamed
    assert layout + "index" in renamed
    assert layout + "COMMIT_EDITMSG" in written(found)
    assert layout + "logs/HEAD" in written(found)
    moved = targets(found, "file.link") | targets(found, "file.rename")
    assert any(path.startswith(layout + "objects/") for path in moved)


def test_tar_reads_what_it_archives(traced: Any, tmp_path: Path) -> None:
    """tar(1): -c creates the archive -f names, from the files given."""
    need("tar")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"x" * 5000)
    found = traced("tar", "-cf", "out.tar", "in", cwd=tmp_path)
    read = [a for a in found if a["kind"] == "file.read" and a["target"] == f"{tmp_path}/in/a"]
    assert sum(a["bytes"] for a in read) == 5000
    (archive,) = {a["target"] for a in found if a["kind"] == "file.create"} & {
        f"{tmp_path}/out.tar"
    }
    total = sum(a["bytes"] for a in found if a["kind"] == "file.write" and a["target"] == archive)
    assert total == (tmp_path / "out.tar").stat().st_size
    assert str(tmp_path / "in") in targets(found, "dir.list")


def test_threads_belong_to_their_process(traced: Any) -> None:
    """concurrent.futures: a pool of 4 starts at most 4 threads; join waits for them."""
    code = (
        "import threading as t\n"
        "b = t.Barrier(5)\n"
        "ts = [t.Thread(target=b.wait) for _ in range(4)]\n"
        "[x.start() for x in ts]; b.wait(); [x.join() for x in ts]\n"
    )
    found = traced(PYTHON, "-S", "-E", "-c", code)
    assert {a["proc"] for a in found} == {1}
    assert sum(a["count"] for a in found if a["kind"] == "thread.spawn") == 4
    assert len([a for a in found if a["kind"] == "proc.exit"]) == 1
    ended = {a["tid"] for a in found if a["kind"] == "thread.exit"}
    assert ended <= {a["tid"] for a in found if a["kind"] == "thread.spawn"}


@pytest.mark.skipif(os.getuid() != 0, reason="unshare -p needs root")
def test_pid_namespace(traced: Any) -> None:
    """unshare(1): -f forks, -p puts the child in a new pid namespace, where it is pid 1."""
    need("unshare")
    found = traced("unshare", "-fp", "sh", "-c", "echo $$; /bin/true; /bin/true")
    execs = [a for a in found if a["kind"] == "proc.exec" and "errors" not in a]
    assert programs(found) == ["unshare", "sh", "true", "true"]
    unshare, shell, *trues = execs
    assert shell["parent"] == unshare["proc"]
    assert [true["parent"] for true in trues] == [shell["proc"]] * 2
    assert len({a["proc"] for a in found}) == 4
    assert any("priv.namespace" in a.get("tags", ()) for a in found)
    ends = [a for a in found if a["kind"] == "proc.exit"]
    assert len(ends) == 4


@pytest.mark.skipif(os.getuid() != 0, reason="chown needs root")
def test_setuid_program_runs_as_its_owner(traced: Any, tmp_path: Path) -> None:
    """execve(2): with the set-user-ID bit the effective user becomes the owner of the file."""
    sleep = tmp_path / "sleep"
    shutil.copy("/bin/sleep", sleep)
    os.chown(sleep, 65534, -1)
    sleep.chmod(0o4755)
    found = traced("sh", "-c", f"{sleep} 0.3; true")
    (execed,) = [a for a in found if a["kind"] == "proc.exec" and a["target"] == str(sleep)]
    assert execed["uid"] == 65534
    parent = next(a for a in found if a["kind"] == "proc.exit" and a["proc"] == 1)
    assert parent["uid"] == 0


@pytest.mark.skipif(os.getuid() != 0, reason="sudo -u without a password needs root")
def test_sudo_becomes_nobody_before_it_runs_id(traced: Any) -> None:
    """sudo(8): -u runs the command as that user; id(1) then prints that user's ids."""
    need("sudo")
    found = traced("sudo", "-u", "nobody", "id", "-u")
    import pwd

    nobody = pwd.getpwnam("nobody").pw_uid
    (ident,) = [a for a in found if a["kind"] == "proc.exec" and "errors" not in a
                and a["argv"] == ["id", "-u"]]  # fmt: skip
    assert ident["uid"] == nobody
    ends = {a["proc"]: a["uid"] for a in found if a["kind"] == "proc.exit"}
    assert ends[ident["proc"]] == nobody
    assert any("priv.change" in a.get("tags", ()) for a in found if a["kind"] == "cred.change")


def test_http_server_and_its_client(traced: Any, tmp_path: Path) -> None:
    """http.server listens where it is told; urllib connects there: one process each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "page").write_text("hello")
    code = (
        "import http.server as h, threading, urllib.request as u\n"
        f"s = h.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler)\n"
        "threading.Thread(target=s.handle_request).start()\n"
        f"print(u.urlopen('http://127.0.0.1:{port}/page').read().decode())\n"
    )
    found = traced(PYTHON, "-c", code, cwd=tmp_path)
    address = f"127.0.0.1:{port}"
    assert address in targets(found, "net.bind")
    assert address in targets(found, "net.listen")
    assert targets(found, "net.connect", worked=False) >= {address}
    (accepted,) = [a for a in found if a["kind"] == "net.accept" and "errors" not in a]
    assert accepted["local"] == address
    assert accepted["target"].startswith("127.0.0.1:")
    sent = {a["target"] for a in found if a["kind"] == "net.send"}
    # The request, the answer, and where the host's own name is looked up: the name server.
    assert {to for to in sent if not to.endswith(":53")} == {address, accepted["target"]}
    assert str(tmp_path / "page") in targets(found, "file.open")


def test_npm_version_reads_and_writes_no_package(
    traced: Any, tmp_path: Path, node_bin: Path
) -> None:
    """npm(1): --version prints the version; npm is a node program, started by `#!`."""
    env = {**os.environ, "HOME": str(tmp_path), **with_node(node_bin, os.environ["PATH"])}
    found = traced("npm", "--version", cwd=tmp_path, env=env)
    assert any("node" in a["exe"] or "node" in a.get("interpreter", "") for a in found)
    outside = [path for path in written(found) if path.startswith("/usr/")]
    assert outside == []


def test_pip_installs_a_local_wheel(traced: Any, tmp_path: Path) -> None:
    """pip install --target DIR puts the wheel's files and its .dist-info there (PEP 427)."""
    import zipfile

    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info/"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "x = 1\n")
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
                         "Tag: py3-none-any\n")  # fmt: skip
        archive.writestr(info + "RECORD", "")
    words = [PYTHON, "-m", "pip", "-qqq", "--disable-pip-version-check", "install",
             "--no-index", "--no-deps", "--target", str(tmp_path / "to"), str(wheel)]  # fmt: skip
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed in this environment")
    found = traced(*words, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)})
    assert str(wheel) in targets(found, "file.open")
    moved = {a["to"] for a in found if a["kind"] == "file.rename" and "errors" not in a}
    names = {path.rpartition("/")[2] for path in written(found) | moved}
    assert {"tiny.py", "METADATA", "RECORD"} <= names
    assert (tmp_path / "to" / "tiny.py").exists()


@pytest.mark.skipif(not Path("/var/lib/apt/lists").is_dir(), reason="no apt here")
def test_apt_get_simulation_changes_nothing_of_the_system(traced: Any, tmp_path: Path) -> None:
    """apt-get(8): -s performs a simulation and does not change the system."""
    apt = need("apt-get")
    found = traced(apt, "-s", "install", "dpkg")
    assert "/var/lib/dpkg/status" in targets(found, "file.open")
    changed = {path for path in written(found) if path.startswith(("/usr/", "/etc/"))}
    assert changed == set()
    assert [a for a in found if "write.system" in a.get("tags", ())] == []


def test_script_says_its_interpreter_and_hash(traced: Any, tmp_path: Path) -> None:
    """execve(2): a script's first line names its interpreter."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -e\nexit 4\n")
    script.chmod(0o755)
    found = traced(script, status=4, options=("--hash-exe",))
    (execed,) = [a for a in found if a["kind"] == "proc.exec" and "errors" not in a]
    assert execed["interpreter"] == "/bin/sh -e"
    assert execed["blake3"] == blake3.blake3(script.read_bytes()).hexdigest()
    assert execed["ppid"] > 0
    assert any(name.startswith("pid:[") for name in execed["namespaces"])
    assert execed["started_ns"] <= execed["first_ns"] + 10**9


def test_own_rules_and_secrets_kept(capsule: RunCapsule, log_dir: Path, tmp_path: Path) -> None:
    rules = tmp_path / "own.toml"
    rules.write_text('[[rule]]\ntag = "own.true"\nkind = "proc.exec"\ntarget = "**/true"\n')
    words = ["true", "--password=hunter2"]
    assert capsule("trace", "-q", "--rules", rules, "--no-redact", "--", *words).returncode == 0
    (execed,) = [a for a in actions(log_dir) if a["kind"] == "proc.exec"]
    assert (execed["tags"], execed["argv"]) == (["own.true"], words)
    rules.write_text("[[rule]]\n")
    done = capsule("trace", "-q", "--rules", rules, "--", "true")
    assert done.returncode == 125
    assert b"own.toml: rule 1: tag must be a text" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_importing_the_raw_text_twice_gives_the_same_actions(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    text = tmp_path / "x.strace"
    subprocess.run(
        ["strace", "-f", "-ttt", "-s", "1024", "-y", "-o", text, "sh", "-c", "ls /; (true); true"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    runs = []
    for _ in range(2):
        assert capsule("import", "-q", text).returncode == 0
        keep = ("seq", "hash", "prev")
        runs.append([{k: v for k, v in a.items() if k not in keep} for a in actions(log_dir)])
    assert runs[0] == runs[1]
    assert len(runs[0]) > 20


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_storm_of_true_leaves_no_process_without_a_face(
    count: int, traced: Any, tmp_path: Path
) -> None:
    """Every /bin/true of a storm has exe, argv, cwd, uid and parent (checked in `traced`)."""
    found = traced("sh", "-c", f"i=0; while [ $i -lt {count} ]; do /bin/true; i=$((i+1)); done",
                   cwd=tmp_path)  # fmt: skip
    trues = [a for a in found if a["kind"] == "proc.exec" and a["target"] == "/bin/true"]
    assert len(trues) == count
    assert {(a["cwd"], a["uid"], a["parent"]) for a in trues} == {(str(tmp_path), os.getuid(), 1)}
    assert len({a["proc"] for a in trues}) == count


def test_tree_of_forks_has_one_root_and_no_phantoms(traced: Any) -> None:
    """fork(2): each of 2**6 - 1 processes forks two, or execs; all are children of one."""
    code = (
        "import os\n"
        "def go(depth):\n"
        "    if depth == 0: os.execv('/bin/true', ['true'])\n"
        "    pids = []\n"
        "    for _ in range(2):\n"
        "        pid = os.fork()\n"
        "        if pid == 0: go(depth - 1); os._exit(0)\n"
        "        pids.append(pid)\n"
        "    for pid in pids: os.waitpid(pid, 0)\n"
        "go(6)\n"
    )
    found = traced(PYTHON, "-S", "-E", "-c", code)
    # A fork that a SIGCHLD interrupts has no child yet: the kernel restarts it (ERESTARTNOINTR).
    spawned = [a["child"] for a in found if a["kind"] == "proc.spawn" and "child" in a]
    ended = [a["proc"] for a in found if a["kind"] == "proc.exit"]
    assert len(spawned) == len(set(spawned)) == 126
    assert sorted(ended) == sorted([1, *spawned])


@pytest.mark.slow
def test_memory_stays_flat_over_100_000_processes() -> None:
    """benchmarks/aggregate.py: at most 1.2 times the memory of 10,000."""
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "aggregate.py"
    done = subprocess.run([PYTHON, script, "--assert"], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


@pytest.mark.skipif(os.getuid() != 0, reason="ns_last_pid needs root")
def test_pid_that_is_used_again_is_another_process(traced: Any) -> None:
    """proc(5): ns_last_pid sets the pid that the next child gets, in a pid namespace of its own."""
    code = (
        "import os, time\n"
        "for n in range(3):\n"
        "    open('/proc/sys/kernel/ns_last_pid', 'w').write('49')\n"
        "    pid = os.fork()\n"
        "    if pid == 0: os._exit(n)\n"
        "    assert pid == 50, pid\n"
        "    os.waitpid(pid, 0)\n"
    )
    words = ["unshare", "-fp", "--mount-proc", PYTHON, "-S", "-E", "-c", code]
    found = traced(*words)
    statuses = [a["status"] for a in found if a["kind"] == "proc.exit"]
    assert statuses[:3] == [0, 1, 2]
    spawned = [a for a in found if a["kind"] == "proc.spawn" and a.get("ns_pid") == 50]
    assert len({a["child"] for a in spawned}) == 3
    ended = {a["proc"] for a in found if a["kind"] == "proc.exit"}
    assert {a["child"] for a in spawned} <= ended

"""Finding and killing a tree of real processes."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

from capsule.killtree import find_tree, kill_tree


def test_a_tree_is_found_and_killed_and_the_spared_live(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    tree = subprocess.Popen(["sh", "-c", f"sleep 100 & setsid sleep 100 & echo >{fifo}; wait"])
    spared = subprocess.Popen(["sleep", "100"])
    fifo.read_text()
    spare = {os.getpid(), spared.pid}
    found = find_tree([os.getpid()], None, spare)
    assert tree.pid in found
    assert len(found) == 3
    assert kill_tree([os.getpid()], None, spare) is True
    assert tree.wait() == -9
    assert spared.poll() is None
    spared.kill()
    spared.wait()


BOMB = """
import os
while True:
    try:
        os.fork()
    except BlockingIOError:
        pass
"""


def test_a_fork_bomb_does_not_outrun_the_kill() -> None:
    """100 processes that fork whenever they may; the limit counts for users other than root."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (100, 100))
        if os.getuid() == 0:
            os.setresuid(54321, 54321, 54321)

    bomb = subprocess.Popen(["/usr/bin/python3", "-S", "-E", "-c", BOMB], preexec_fn=limit)
    while len(find_tree([bomb.pid], None, ())) < 50:
        assert bomb.poll() is None
    assert kill_tree([os.getpid()], None, {os.getpid()}) is True
    bomb.wait()

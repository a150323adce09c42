"""`--detach-on-exit` lets go of every process, also of one that strace has not met yet."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from tests.conftest import RunCapsule


@pytest.mark.parametrize("repeat", range(10))
def test_a_daemon_just_forked_is_not_killed_with_strace(
    repeat: int, capsule: RunCapsule, tmp_path: Path
) -> None:
    """A third of them were: EXITKILL, inherited from the parent, hit those not yet detached."""
    told = tmp_path / "told"
    os.mkfifo(told)
    reader = os.open(told, os.O_RDONLY | os.O_NONBLOCK)
    script = f"setsid sh -c 'sleep 0.05; echo alive >{told}' >/dev/null 2>&1 &"
    done = capsule("trace", "-q", "--detach-on-exit", "sh", "-c", script)
    assert done.returncode == 0
    assert select.select([reader], [], [], 20)[0], "the daemon is dead"
    assert os.read(reader, 16) == b"alive\n"
    os.close(reader)

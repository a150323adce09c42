"""How many processes and threads a run's target may have at once: `--max-procs N`.

A control group of its own with the pids controller (cgroup v2, or v1's) counts exactly the
target and all it starts, whoever they run as. Where none can be made there is RLIMIT_NPROC
(setrlimit(2)), which counts every process of the target's user and does not hold root.

At the limit the target's fork fails with EAGAIN, as it would on a full machine; nothing is
killed, and the log shows each failure.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from capsule.errors import TraceFailed


class ProcLimit(Protocol):
    """A limit that a target at its gate is put under."""

    by: str

    def hold(self, pid: int) -> None: ...
    def close(self) -> None: ...


class Unlimited:
    by = "nothing"

    def hold(self, pid: int) -> None:
        pass

    def close(self) -> None:
        pass


UNLIMITED = Unlimited()


class GroupLimit:
    """A control group named for the run, with at most `count` tasks in it."""

    by = "pids cgroup"

    def __init__(self, parent: Path, run: str, count: int) -> None:
        self.path = parent / f"capsule-{run}"
        self.path.mkdir()
        try:
            (self.path / "pids.max").write_text(str(count))
        except OSError:
            self.close()
            raise

    def hold(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        # What outlives the run (--detach-on-exit) stays limited, in a group that stays too.
        with suppress(OSError):
            self.path.rmdir()


class UserLimit:
    """RLIMIT_NPROC: at most `count` processes of that user, those that run already included."""

    by = "RLIMIT_NPROC"

    def __init__(self, count: int) -> None:
        self._count = count

    def hold(self, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_NPROC, (self._count, self._count))

    def close(self) -> None:
        pass


def _pids_groups() -> Iterator[Path]:
    """Our own group in each hierarchy that may have the pids controller (cgroups(7))."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    ours = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    for words in mounts:
        kind = words[words.index("-") + 1]
        options = words[-1].split(",")
        for _, controllers, path in ours:
            v1 = kind == "cgroup" and "pids" in controllers.split(",") and "pids" in options
            if v1 or (kind == "cgroup2" and not controllers):
                # A container may see its own group as the root: the path then leads nowhere.
                for group in (Path(words[4] + path), Path(words[4])):
                    if group.is_dir():
                        yield group
                        break


def limit_processes(run: str, count: int, *, user: int) -> ProcLimit:
    """The best limit there is here. TraceFailed when neither kind would hold user `user`."""
    for parent in _pids_groups():
        with suppress(OSError):
            return GroupLimit(parent, run, count)
    if user == 0:
        raise TraceFailed(
            "--max-procs: no pids control group can be made here, and RLIMIT_NPROC does not hold "
            "root; run as another user (--log-user NAME)"
        )
    already = 0
    for status in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            already += status.stat().st_uid == user and len(os.listdir(status / "task"))
    return UserLimit(already + count)

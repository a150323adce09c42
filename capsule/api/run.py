"""One run, read from its log: what `capsule.read` gives, and what a traced run has too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capsule import logdir
from capsule.api.action import Action, action
from capsule.errors import CapsuleError
from capsule.history import Digest, Node, digest, tree, walk
from capsule.procstat import signal_number
from capsule.records import Follower, Wanted, backwards, first_line, forwards, load, type_of
from capsule.verify import Report
from capsule.verifyrun import verify_run

POLL_S = 0.05


class Run:
    """A run's log. Nothing is kept in memory: each question reads the log anew.

    A run that still goes on has the answers of its log so far; `actions` alone follows it.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        """The log's (first) file."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @property
    def id(self) -> str:
        """The run's id, by which every `capsule` command knows it."""
        return logdir.split_name(self.log)[0]

    @property
    def start(self) -> dict[str, Any]:
        """The start record: `argv`, `cwd`, `uid`, `host`, `kernel`, … (docs/log-format.md)."""
        line = first_line(self.log)
        if not line:
            raise CapsuleError(f"{self.log} has no record yet")
        return load(line)

    @property
    def end(self) -> dict[str, Any] | None:
        """The end record; None while the run goes on, and for ever if it was cut off."""
        last = next(backwards(self.log), b"")
        return load(last) if type_of(last) == "end" else None

    @property
    def complete(self) -> bool:
        """Whether the log was written to its end. `verify` says whether that can be believed."""
        return self.end is not None

    @property
    def returncode(self) -> int | None:
        """The program's exit status, -N if signal N ended it (as subprocess has it).

        None while the run goes on, if it was cut off, and where strace's own text was imported.
        """
        told = (self.end or {}).get("exit") or {}
        if "signal" in told:
            return -signal_number(told["signal"])
        code = told.get("code")
        return code if isinstance(code, int) else None

    @property
    def head(self) -> str | None:
        """The hash of the last record, 64 hex digits: pin it, and no change goes unseen."""
        last = next(backwards(self.log), None)
        return None if last is None else str(load(last)["hash"])

    def verify(self) -> Report:
        """Check the log, as `capsule verify` does. CapsuleError if it cannot be read."""
        return verify_run(self.log)

    def records(self) -> Iterator[dict[str, Any]]:
        """Every record there is, of every type, as the log has it. Does not wait for more."""
        return (load(line) for line in forwards(self.log))

    def actions(self, *kinds: str) -> Iterator[Action]:
        """The Actions, those of `kinds` ("net", "file.open", "proc.*"; none: all), in order.

        While the run goes on, waits for more, to the end of the log.
        """
        wanted = Wanted(kinds)
        return map(action, wanted.only(line for line in self._lines() if type_of(line) == "action"))

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """The records of what is known to be missing or not seen: `count` and `why`."""
        return [load(line) for line in forwards(self.log) if type_of(line) == "gap"]

    @property
    def processes(self) -> list[Node]:
        """Every program that a process ran: who started whom, its words, time, end and tags."""
        return [node for _, node in walk(self.tree())]

    def tree(self) -> list[Node]:
        """The roots of the process tree; `children` of each lead on."""
        return tree(load(line) for line in forwards(self.log) if type_of(line) == "action")

    def summary(self) -> Digest:
        """What ran, what was read and written, who was talked to, what failed, what stands out."""
        return digest(self.records())

    def _lines(self) -> Iterator[bytes]:
        follower = Follower(self.log)
        try:
            while True:
                alive = self._goes_on(follower)  # asked before reading: what it wrote is there
                lines = follower.read()
                yield from lines
                if lines and type_of(lines[-1]) == "end":
                    return
                if not lines:
                    if not alive:
                        return
                    time.sleep(POLL_S)
        finally:
            follower.close()

    def _goes_on(self, follower: Follower) -> bool:
        return follower.writer_lives()


def read(run: str | Path = logdir.LATEST, *, log_dir: str | Path | None = None) -> Run:
    """The run that `run` names: its id or a unique prefix, a file, or "latest".

    `log_dir`: where it is, if not in CAPSULE_LOG_DIR or /tmp/capsule-<uid>. Raises CapsuleError.
    """
    directory = logdir.log_dir(None if log_dir is None else str(log_dir))
    path = logdir.find_run(str(run), directory)
    return Run(path.absolute())

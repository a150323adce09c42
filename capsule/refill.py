"""Reads from a run's log what its stream did not bring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capsule.errors import CapsuleError
from capsule.records import first_line, forwards, load, seq_of


class LogReader:
    """The log that a publisher names, if it can be read here and is the same run's.

    `path` overrides the place, for a log that is mounted elsewhere.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def __call__(self, facts: dict[str, Any], first: int, last: int) -> Iterator[bytes] | None:
        """Records `first` to `last` of the run that `facts` tells of, or None: out of reach."""
        path = self.find(facts)
        return _between(path, first, last) if path is not None else None

    def find(self, facts: dict[str, Any]) -> Path | None:
        """Where the log is."""
        path = self._path or (Path(facts["log"]) if facts.get("log") else None)
        try:
            if path is not None and load(first_line(path)).get("run") == facts["run"]:
                return path
        except (CapsuleError, OSError):
            pass
        return None


def _between(path: Path, first: int, last: int) -> Iterator[bytes]:
    for line in forwards(path, first):
        if seq_of(line) > last:
            return
        yield line

"""`trace --status-fd N`: what Capsule itself says, for the program that started it.

One JSON object a line on descriptor N, and nothing on stderr, which is the target's alone:

    {"run": ID, "log": PATH}     the run is about to start
    {"message": TEXT}            what stderr would have been told
    {"summary": {…}}             how it ended, as --summary writes it; last
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

PREFIX = "capsule: "


class Messages(io.TextIOWrapper):
    """Stands in for `sys.stderr`: each line becomes a message."""

    def __init__(self, fd: int) -> None:
        super().__init__(io.FileIO(fd, "w"), encoding="utf-8", errors="backslashreplace")
        self._text = ""

    def write(self, text: str) -> int:
        self._text += text
        *lines, self._text = self._text.split("\n")
        for line in lines:
            self.put({"message": line.removeprefix(PREFIX)})
        return len(text)

    def put(self, facts: Mapping[str, Any]) -> None:
        """Write one object. That nobody listens any more does not matter to the run."""
        with suppress(OSError):
            self.buffer.write(orjson.dumps(facts) + b"\n")


def redirect(fd: int) -> None:
    """Have all that Capsule says go to `fd` from here on."""
    sys.stderr = Messages(fd)


def tell(facts: Mapping[str, Any]) -> None:
    """Tell `facts` to who asked for it with --status-fd."""
    if isinstance(sys.stderr, Messages):
        sys.stderr.put(facts)

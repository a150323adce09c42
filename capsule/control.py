"""The line between the supervisor and one stage: JSON messages over a socket pair."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

import orjson


class Control:
    """A stage's line to the supervisor: JSON messages, and end of file when it is gone."""

    _SIZE = struct.Struct("<I")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, **message: Any) -> None:
        data = orjson.dumps(message)
        # When the other side is gone, whoever polls sees its end of file.
        with contextlib.suppress(OSError):
            self._sock.sendall(self._SIZE.pack(len(data)) + data)

    def receive(self) -> dict[str, Any] | None:
        """The next message, or None at end of file."""
        size = self._read(self._SIZE.size)
        data = self._read(self._SIZE.unpack(size)[0]) if size else b""
        message: dict[str, Any] | None = orjson.loads(data) if data else None
        return message

    def _read(self, size: int) -> bytes:
        """Exactly `size` bytes, or none at end of file."""
        try:
            data = self._sock.recv(size, socket.MSG_WAITALL)
        except ConnectionError:
            return b""
        return data if len(data) == size else b""

    def hang_up(self) -> None:
        """Say nothing more; the other side takes it for our death, but may still speak."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()


def control_pair() -> tuple[Control, Control]:
    """The supervisor's and the stage's end of one control line."""
    ours, theirs = socket.socketpair()
    return Control(ours), Control(theirs)

"""Where a run is published and subscribed to: `tcp://HOST:PORT` and `ipc://PATH`.

TCP that leaves the machine is encrypted and authenticated with CURVE (CurveZMQ, ZeroMQ RFC 26)
or refused. A socket file has the rights of its directory: whoever may create files there may
connect, but in a directory that all share (sticky, as /tmp) nobody but its owner.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from capsule.errors import UsageError

MAX_IPC_PATH = 107
"""Bytes of a socket's path (unix(7): sun_path holds 108, the last one is zero)."""

QUEUE = 100_000
"""Messages kept for one slow subscriber. All queues share the memory of the messages."""

FORMS = "give tcp://HOST:PORT or ipc://PATH"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address. `url` is ZeroMQ's form of it; `path` is set for ipc and absolute.

    `local`: what is sent there cannot leave this machine.
    """

    url: str
    local: bool
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, both Z85 (ZeroMQ RFC 32), 40 characters."""

    public: bytes
    secret: bytes


@dataclass(frozen=True, slots=True)
class Publish:
    """How a run is published. With `keys`, TCP is encrypted, for holders of `authorized` only.

    `authorized` is a directory of public keys (`NAME.key`). `lossless`: a subscriber that is
    slow makes the target wait instead of missing records. `queue`: messages kept for each.
    """

    endpoints: tuple[Endpoint, ...]
    lossless: bool = False
    keys: KeyPair | None = None
    authorized: Path | None = None
    queue: int = QUEUE


def parse_endpoint(url: str) -> Endpoint:
    """Read one URL. Raises UsageError that says what is wrong with it."""
    scheme, separator, rest = url.partition("://")
    if not separator or not rest:
        raise UsageError(f"{url}: not an address; {FORMS}")
    if scheme == "ipc":
        return _ipc(url, rest)
    if scheme == "tcp":
        return _tcp(url, rest)
    raise UsageError(f"{url}: cannot publish over {scheme}; {FORMS}")


def _ipc(url: str, rest: str) -> Endpoint:
    if rest.startswith(("@", "*")):
        raise UsageError(f"{url}: such a socket has no directory whose rights protect it; {FORMS}")
    path = Path(os.path.abspath(rest))
    if len(os.fsencode(path)) > MAX_IPC_PATH:
        raise UsageError(f"{url}: a socket's path has at most {MAX_IPC_PATH} bytes")
    return Endpoint(f"ipc://{path}", local=True, path=path)


def _tcp(url: str, rest: str) -> Endpoint:
    host, colon, port = rest.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"{url}: no host and port from 1 to 65535; {FORMS}")
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare and not host.startswith("["):
        raise UsageError(f"{url}: write an IPv6 address in brackets: tcp://[{host}]:{port}")
    if bare == "localhost":
        host = bare = "127.0.0.1"
    # Not every run publishes, and this takes a while to import.
    import ipaddress

    local = bare == "lo"
    with suppress(ValueError):
        local = local or ipaddress.ip_address(bare).is_loopback
    return Endpoint(f"tcp://{host}:{int(port)}", local)


def prepare_socket_path(path: Path) -> None:
    """Make sure that a socket may be created at `path`. Raises UsageError.

    What a run that was killed left there is removed; a socket that is in use, or a file, is not.
    """
    if not path.parent.is_dir():
        raise UsageError(f"ipc://{path}: no such directory: {path.parent}")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"ipc://{path}: is in the way and no socket; choose another path")
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise UsageError(f"ipc://{path}: {error.strerror}; choose another path") from None
    raise UsageError(f"ipc://{path}: another run is published there; choose another path")


def socket_mode(directory: Path) -> int:
    """The permission bits of a socket in `directory`: connecting takes write permission."""
    mode = directory.stat().st_mode
    return 0o700 if mode & stat.S_ISVTX else 0o700 | stat.S_IMODE(mode) & 0o077

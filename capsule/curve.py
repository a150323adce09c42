"""CURVE keys: made, read, and who may subscribe (ZAP, ZeroMQ RFC 27). Knows ZeroMQ.

A key pair is two files in pyzmq's certificate format: `NAME.key`, the public half, and
`NAME.key_secret`, which only its owner may read.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import zmq
from zmq.auth import create_certificates, load_certificate
from zmq.auth.thread import ThreadAuthenticator

from capsule.endpoints import KeyPair
from capsule.errors import CapsuleError, UsageError

PUBLIC = ".key"
SECRET = ".key_secret"
_DOMAIN = "capsule"
_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


def check_available() -> None:
    """CapsuleError when this machine's libzmq was built without CURVE."""
    if not zmq.has("curve"):
        raise CapsuleError("this libzmq has no CURVE; install pyzmq from its wheel on PyPI")


def default_base() -> Path:
    """Where keys are when nothing else is said: $XDG_CONFIG_HOME/capsule/capsule (no suffix)."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(home) / "capsule" / "capsule"


def make_keys(base: Path) -> tuple[Path, Path]:
    """Create `base`.key and `base`.key_secret (0600); returns both. Never writes over one."""
    check_available()
    public, secret = Path(f"{base}{PUBLIC}"), Path(f"{base}{SECRET}")
    for path in (public, secret):
        if path.exists() or path.is_symlink():
            raise CapsuleError(f"{path} exists already; remove it, or name another file")
    before = os.umask(0o077)
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        create_certificates(base.parent, base.name)
        public.chmod(0o644)
    except OSError as error:
        raise CapsuleError(f"cannot write {base}{SECRET}: {error.strerror}") from None
    finally:
        os.umask(before)
    return public, secret


def load_pair(path: Path) -> KeyPair:
    """Read a secret key file. CapsuleError when it is missing, not one, or open to others."""
    check_available()
    public, secret = _load(path)
    if secret is None:
        raise CapsuleError(f"{path} holds no secret key; name the file that ends in {SECRET}")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise CapsuleError(f"others may read {path} (mode {mode:04o}); run `chmod 600 {path}`")
    return KeyPair(public, secret)


def load_public(text: str) -> bytes:
    """A public key, given as itself (40 characters) or as the file that holds it."""
    if _Z85.fullmatch(text) and not Path(text).exists():
        return text.encode()
    return _load(Path(text))[0]


def check_authorized(directory: Path) -> int:
    """How many public keys `directory` holds. CapsuleError when it has none, or a bad one."""
    try:
        files = sorted(path for path in directory.iterdir() if path.suffix == PUBLIC)
    except OSError as error:
        raise CapsuleError(f"cannot read {directory}: {error.strerror}") from None
    if not files:
        raise CapsuleError(
            f"no key ({PUBLIC} file) in {directory}; put each subscriber's public key there"
        )
    for path in files:
        _load(path)
    return len(files)


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = load_certificate(path)
    except OSError as error:
        reason = error.strerror or "no such file"
        raise CapsuleError(
            f"cannot read the key {path}: {reason}; `capsule keygen` makes one"
        ) from None
    except ValueError:
        raise CapsuleError(f"{path} is no key file; `capsule keygen` makes one") from None
    return public, secret


def serve(context: zmq.Context[Any], keys: KeyPair, authorized: Path) -> ThreadAuthenticator:
    """Start the ZAP handler that lets only the holders of the keys in `authorized` in."""
    handler = ThreadAuthenticator(context)
    handler.start()
    handler.configure_curve(domain=_DOMAIN, location=str(authorized))
    return handler


def guard(sock: zmq.Socket[bytes], keys: KeyPair) -> None:
    """Have `sock`'s next binds demand CURVE."""
    sock.set(zmq.CURVE_SERVER, 1)
    sock.set(zmq.CURVE_PUBLICKEY, keys.public)
    sock.set(zmq.CURVE_SECRETKEY, keys.secret)
    sock.set_string(zmq.ZAP_DOMAIN, _DOMAIN)


def introduce(sock: zmq.Socket[Any], keys: KeyPair, server: bytes) -> None:
    """Have `sock` connect with CURVE to the holder of the public key `server`."""
    try:
        sock.set(zmq.CURVE_SERVERKEY, server)
        sock.set(zmq.CURVE_PUBLICKEY, keys.public)
        sock.set(zmq.CURVE_SECRETKEY, keys.secret)
    except zmq.ZMQError:
        raise UsageError(f"not a CURVE key: {server.decode(errors='replace')}") from None

"""strace's way of writing strings, arrays, descriptors and socket addresses, read back.

Sources: strace's print_quoted_string_ex (util.c), printfd (util.c), print_sockaddr
(sockaddr.c). Input is the raw text of one argument; nothing here raises on any bytes.
"""

from __future__ import annotations

import ipaddress
import re

_STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"(\.\.\.)?', re.DOTALL)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"a": b"\a",
            b"b": b"\b"}  # fmt: skip
_DEVICE = re.compile(rb"<(?:char|block) [0-9a-f]+:[0-9a-f]+>$")
_FIELD_NAME = re.compile(rb"^[a-z_0-9]+=(?=[\"\[{0-9A-Z@-])")
_PORT = re.compile(rb"port=htons\((\d+)\)")
_IN4 = re.compile(rb'inet_addr\("([0-9.]+)"\)')
_IN6 = re.compile(rb'inet_pton\(AF_INET6, "([^"]*)"')
_UNIX = re.compile(rb'(?:sun_)?path=(@?)"((?:[^"\\]|\\.)*)"', re.DOTALL)
_FAMILY = re.compile(rb"sa_family=([A-Z][A-Z0-9_]*)")
_NETLINK = re.compile(rb"nl_pid=(-?\d+)")
_SOCKET = re.compile(rb"^(?:socket:\[|(?:TCP|UDP|TCPv6|UDPv6|UDPLITE|UNIX|UNIX-[A-Z]+|NETLINK|RAW|"
                     rb"RAWv6|PACKET|PING|PINGv6|SCTP|DCCP|SMC|MPTCP|XDP|VSOCK|ALG|BLUETOOTH|"
                     rb"[A-Z0-9]+v?6?):\[)")  # fmt: skip
_PEER = re.compile(rb"->(.*)\]$", re.DOTALL)

FILE, PIPE, SOCKET = 0, 1, 2
"""Classes of what a descriptor is: a file, a pipe or the like, a socket."""


def _unescape_one(match: re.Match[bytes]) -> bytes:
    code = match.group(1)
    if code[:1] == b"x" and len(code) == 3:
        return bytes([int(code[1:], 16)])
    if code[0] in b"01234567":
        return bytes([int(code, 8) & 255])
    return _LETTERS.get(code, code)


def unescape(text: bytes) -> bytes:
    """Undo strace's C escapes (octal, `\\x..`, `\\n` …)."""
    return _ESCAPE.sub(_unescape_one, text) if b"\\" in text else text


def unquote(text: bytes) -> tuple[bytes, bool] | None:
    """Return a string argument's bytes, and whether `-s` cut them; None if it is no string."""
    if text[:1] != b'"':
        text = _FIELD_NAME.sub(b"", text)
    match = _STRING.match(text)
    if match is None:
        return None
    return unescape(match.group(1)), match.group(2) is not None


def strings(text: bytes) -> tuple[list[bytes], bool] | None:
    """Return the strings of an array such as an argv, and whether any were cut or left out."""
    if text[:1] != b"[":
        text = _FIELD_NAME.sub(b"", text)
    if text[:1] != b"[":
        return None
    found = []
    cut = False
    at = 1
    while at < len(text):
        match = _STRING.match(text, at)
        if match is not None:
            found.append(unescape(match.group(1)))
            cut = cut or match.group(2) is not None
            at = match.end()
        else:
            cut = cut or text.startswith(b"...", at)
            at += 1
    return found, cut


def decoration(text: bytes) -> bytes | None:
    """Return what `-y` says a descriptor is: `3</a>`, or `</a>`, gives `/a`; None if nothing."""
    start = text.find(b"<")
    end = text.rfind(b">")
    if start < 0 or end <= start:
        return None
    inner = _DEVICE.sub(b"", text[start + 1 : end])
    return unescape(inner.removesuffix(b" (deleted)"))


def classify(name: bytes) -> int:
    """Return the class of a descriptor by its `-y` text."""
    if name[:1] == b"/":
        return FILE
    if name.startswith((b"pipe:[", b"anon_inode:")):
        return PIPE
    return SOCKET if _SOCKET.match(name) else FILE


def peer(name: bytes) -> bytes | None:
    """Return the peer's address in a `-yy` text such as `TCP:[127.0.0.1:1->127.0.0.1:80]`."""
    match = _PEER.search(name)
    if match is None:
        return None
    if name.startswith(b"UNIX"):
        path = re.search(rb'"(.*)"', match.group(1), re.DOTALL)
        return b"unix:" + path.group(1) if path else None
    return match.group(1)


def sockaddr(text: bytes) -> tuple[bytes, bytes] | None:
    """Return a socket address as (text, family): `127.0.0.1:80`, `[::1]:80`, `unix:/run/x`.

    Families that are not known keep strace's own text, cut at 256 bytes. None if it is no
    address (a pointer, NULL).
    """
    family_match = _FAMILY.search(text)
    if family_match is None:
        return None
    family = family_match.group(1)
    port = _PORT.search(text)
    if family == b"AF_INET" and port and (match := _IN4.search(text)):
        return match.group(1) + b":" + port.group(1), family
    if family == b"AF_INET6" and port and (match := _IN6.search(text)):
        return b"[" + match.group(1) + b"]:" + port.group(1), family
    if family in (b"AF_UNIX", b"AF_LOCAL", b"AF_FILE"):
        unix = _UNIX.search(text)
        name = unix.group(1) + unescape(unix.group(2)) if unix else b""
        return b"unix:" + name, b"AF_UNIX"
    if family == b"AF_NETLINK" and (match := _NETLINK.search(text)):
        return b"netlink:" + match.group(1), family
    if family == b"AF_UNSPEC":
        return b"unspec", family
    return text[:256], family


def is_internet(address: bytes) -> bool:
    """Say whether an address of `sockaddr` is IPv4 or IPv6."""
    host, _, port = address.rpartition(b":")
    if not port.isdigit():
        return False
    try:
        ipaddress.ip_address(host.strip(b"[]").decode("ascii", "replace"))
    except ValueError:
        return False
    return True


def absolute(base: bytes | None, name: bytes) -> bytes | None:
    """Return `name` as an absolute path, seen from the directory `base` (already resolved).

    `//` and `/./` go; `..` goes only where no symbolic link can lie: at the front, against
    `base`, which the kernel has resolved. `/a/../b` stays, since `/a` may be a link. None if
    the name is relative and `base` is not known.
    """
    if name.startswith(b"/"):
        out: list[bytes] = []
    elif base is None:
        return None
    else:
        out = [part for part in base.split(b"/") if part]
    resolved = True  # what `out` holds so far is known to hold no link
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b".." and resolved:
            if out:
                out.pop()
            continue
        resolved = False
        out.append(part)
    return b"/" + b"/".join(out)

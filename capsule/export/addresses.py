"""The address that a net.* Action's target is, taken apart.

A target is what `capsule.literals` wrote: `127.0.0.1:80`, `[::1]:80`, `unix:/run/x`,
`netlink:12`, or what strace calls the socket (`socket:[123]`).
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import NamedTuple

_WITH_PORT = re.compile(r"\[(?P<v6>[^\]]+)\]:(?P<port6>\d+)|(?P<v4>[^:]+):(?P<port4>\d+)")


class Address(NamedTuple):
    """An address; `ip` and `port` only of AF_INET and AF_INET6. `text` is the whole of it."""

    text: str
    ip: str | None = None
    port: int | None = None
    version: int | None = None


@functools.lru_cache(4096)
def parse(text: str) -> Address:
    """Take a target apart. What is no IP address is kept as its text alone."""
    found = _WITH_PORT.fullmatch(text)
    if found is None:
        return Address(text)
    try:
        ip = ipaddress.ip_address((found["v6"] or found["v4"]).partition("%")[0])
    except ValueError:
        return Address(text)
    port = int(found["port6"] or found["port4"])
    return Address(text, str(ip), port, ip.version) if port < 65536 else Address(text)

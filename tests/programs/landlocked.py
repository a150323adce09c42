"""Run a command under a JSON file of landlockconfig: `landlocked.py FILE COMMAND…`.

A reader and applier of its own: it imports nothing of Capsule's, takes the file's words as
landlock-lsm/landlockconfig describes them and the numbers from linux/landlock.h, and refuses what
it does not know. A rule whose path is not there is passed over, as llconfig does it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import struct
import sys
from pathlib import Path
from typing import Any

FS = [
    "execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char",
    "make_dir", "make_reg", "make_sock", "make_fifo", "make_block", "make_sym", "refer", "truncate",
    "ioctl_dev",
]  # fmt: skip
NET = ["bind_tcp", "connect_tcp"]
SCOPE = ["abstract_unix_socket", "signal"]
ON_FILES = {"execute", "write_file", "read_file", "truncate", "ioctl_dev"}
CREATE, ADD, RESTRICT, PR_SET_NO_NEW_PRIVS = 444, 445, 446, 38


def bits(words: list[str], known: list[str]) -> int:
    assert words and len(set(words)) == len(words)
    return sum(1 << known.index(word) for word in words)


def path(template: str) -> str:
    """The path that a template without variables stands for."""
    assert not re.search(r"(?<!\$)(\$\$)*\$\{", template), f"a variable in {template!r}"
    return template.replace("$$", "$")


def read(text: str) -> dict[str, Any]:
    """Return `handled` (fs, net, scope), `paths` and `ports` of a configuration."""
    found = json.loads(text)
    assert set(found) <= {"abi", "ruleset", "pathBeneath", "netPort"} and found["abi"] >= 1
    (held,) = found["ruleset"]
    assert held and set(held) <= {"handledAccessFs", "handledAccessNet", "scoped"}
    paths: dict[str, int] = {}
    ports: dict[int, int] = {}
    for rule in found.get("pathBeneath", ()):
        assert set(rule) == {"allowedAccess", "parent"} and rule["parent"]
        for parent in map(path, rule["parent"]):
            assert parent.startswith("/") and parent not in paths
            paths[parent] = bits(rule["allowedAccess"], FS)
    for rule in found.get("netPort", ()):
        assert set(rule) == {"allowedAccess", "port"} and rule["port"]
        for port in rule["port"]:
            assert 0 <= port < 1 << 16 and port not in ports
            ports[port] = bits(rule["allowedAccess"], NET)
    handled = tuple(
        bits(held[key], known) if key in held else 0
        for key, known in (("handledAccessFs", FS), ("handledAccessNet", NET), ("scoped", SCOPE))
    )
    assert all(not rights & ~handled[0] for rights in paths.values())
    assert all(not rights & ~handled[1] for rights in ports.values())
    return {"handled": handled, "paths": paths, "ports": ports}


def call(number: int, *args: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    got: int = libc.syscall(number, *args)
    if got < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got


def apply(config: dict[str, Any]) -> None:
    ruleset = call(CREATE, struct.pack("=QQQ", *config["handled"]), ctypes.c_size_t(24), 0)
    for name, rights in config["paths"].items():
        try:
            fd = os.open(name, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if not os.path.isdir(name):
            assert not rights & ~bits(sorted(ON_FILES), FS), name
        call(ADD, ruleset, 1, struct.pack("=Qi", rights, fd), 0)
        os.close(fd)
    for port, rights in config["ports"].items():
        call(ADD, ruleset, 2, struct.pack("=QQ", rights, port), 0)
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call(RESTRICT, ruleset, 0)


if __name__ == "__main__":
    apply(read(Path(sys.argv[1]).read_text("utf-8")))
    os.execvp(sys.argv[2], sys.argv[2:])

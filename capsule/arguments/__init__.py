"""Arguments of system calls that a policy has rules for: which, what they mean, their numbers.

strace writes an argument as the names of its value (`TCGETS`, `CLONE_VM|SIGCHLD`); a seccomp
filter compares numbers. `constants.tsv` has both, from the kernel's headers (tests/constants.py).
Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

INT = 0xFFFFFFFF
"""What the kernel reads of an argument that is an int: a filter must not compare the rest."""

NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (clone(2))."""

NEWTIME = 0x80
UNTRACED = 0x800000


@dataclass(frozen=True, slots=True, order=True)
class Comparison:
    """What seccomp can say of an argument: `argument[index] & mask == value`."""

    index: int
    mask: int
    value: int

    def plain(self) -> dict[str, int | str]:
        """Return it as one JSON object."""
        return {"index": self.index, "mask": self.mask, "op": "==", "value": self.value}


@dataclass(frozen=True, slots=True)
class Watched:
    """The argument of a call that rules are about.

    `index` counts as the kernel does, `shown` as strace does. Of a value only the bits in `mask`
    count. `harmless` values do no more than their call, and depend on where a program runs (on a
    terminal, in a thread): they are granted with the call.
    """

    index: int
    shown: int
    group: str
    harmless: tuple[str, ...] = ()
    mask: int = INT


_CLONE = ("0",)
WATCHED: dict[str, Watched] = {
    "ioctl": Watched(1, 1, "ioctl", ("TCGETS", "TCGETS2", "TIOCGWINSZ", "TIOCGPGRP", "TIOCGSID",
                                     "FIONREAD", "FIONBIO", "FIOCLEX", "FIONCLEX")),
    "fcntl": Watched(1, 1, "fcntl", ("F_DUPFD", "F_DUPFD_CLOEXEC", "F_GETFD", "F_SETFD", "F_GETFL",
                                     "F_SETFL", "F_GETLK", "F_SETLK", "F_SETLKW", "F_OFD_GETLK",
                                     "F_OFD_SETLK", "F_OFD_SETLKW", "F_GETPIPE_SZ")),
    "prctl": Watched(0, 0, "prctl", ("PR_SET_NAME", "PR_GET_NAME", "PR_SET_VMA", "PR_GET_DUMPABLE",
                                     "PR_CAPBSET_READ", "PR_GET_NO_NEW_PRIVS", "PR_GET_SECCOMP",
                                     "PR_SET_NO_NEW_PRIVS", "PR_GET_PDEATHSIG")),
    "clone": Watched(0, 1, "clone", _CLONE, NAMESPACES | UNTRACED),
    "unshare": Watched(0, 0, "clone", _CLONE, NAMESPACES | NEWTIME),
    "personality": Watched(0, 0, "personality", ("PER_LINUX", "0xffffffff")),
    "setsockopt": Watched(1, 1, "level", ("SOL_SOCKET",)),
    "keyctl": Watched(0, 0, "keyctl"),
    "ptrace": Watched(0, 0, "ptrace"),
    "bpf": Watched(0, 0, "bpf"),
}  # fmt: skip
"""Calls by name. Calls not named here are allowed or not, whatever their arguments are."""

SHOWN = {**{name: one.shown for name, one in WATCHED.items()}, "clone3": 0}
"""Call → which of strace's arguments to count. No filter sees clone3's: they speak for clone."""

ANY = "*"
"""Stands for all values, where one was seen whose number is not known."""

_COMMENT = re.compile(r"\s*/\*.*?\*/")
_IOC = re.compile(r"_IOC\(([^,]+), (\w+), (\w+), (\w+)\)")
_FLAGS = re.compile(r"\{?flags=")
_DIRECTIONS = {"_IOC_NONE": 0, "_IOC_WRITE": 1, "_IOC_READ": 2}


@cache
def constants() -> dict[tuple[str, str], int]:
    """Return (group, name) → number, of the table."""
    text = Path(__file__).with_name("constants.tsv").read_text("ascii")
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return {(group, name): int(number, 16) for group, name, number in rows}


def number(group: str, text: str) -> int | None:
    """Return the number of names joined by `|`; None if one of them is not known.

    Of names that share a number strace writes all: `A or B`.
    """
    text = _FLAGS.sub("", _COMMENT.sub("", text), count=1).strip().rstrip("}")
    made = _IOC.fullmatch(text)
    if made:
        return _ioc(*made.groups())
    whole = 0
    for part in text.split("|"):
        value = _word(group, _known(group, part))
        if value is None:
            return None
        whole |= value
    return whole


def _known(group: str, part: str) -> str:
    """Return the first of the names `A or B` that is known, else the first."""
    words = [word.strip() for word in part.split(" or ")]
    return next((word for word in words if _word(group, word) is not None), words[0])


def _word(group: str, word: str) -> int | None:
    if word.startswith("SIG") and group == "clone":
        return 0  # the signal of the end: in no mask
    try:
        return int(word, 0)
    except ValueError:
        return constants().get((group, word))


def _ioc(way: str, kind: str, request: str, size: str) -> int | None:
    """Return the number of a request as ioctl(2) puts it together."""
    try:
        directions = sum(_DIRECTIONS[one.strip()] for one in way.split("|"))
        return directions << 30 | int(size, 0) << 16 | int(kind, 0) << 8 | int(request, 0)
    except (KeyError, ValueError):
        return None


def what(call: str, text: str) -> str:
    """Return what a rule calls an argument that strace wrote: `ioctl TCGETS`, `clone 0`."""
    call = "clone" if call == "clone3" else call
    watched = WATCHED[call]
    value = number(watched.group, text)
    if value is None:
        return f"{call} {ANY}"
    if watched.mask == INT:
        plain = _COMMENT.sub("", text).strip()
        if _IOC.fullmatch(plain) is None:
            plain = "|".join(_known(watched.group, part) for part in plain.split("|"))
        return f"{call} {plain}"
    return named(call, value)


def named(call: str, value: int) -> str:
    """Return what a rule calls an argument whose number is known: `ioctl TIOCSTI`."""
    watched = WATCHED[call]
    value &= watched.mask
    names = sorted(
        (bits, name)
        for (group, name), bits in constants().items()
        if group == watched.group and (bits == value if watched.mask == INT else bits)
    )
    if watched.mask == INT:
        return f"{call} {names[0][1] if names else hex(value)}"
    return f"{call} {'|'.join(sorted(n for bits, n in names if bits & value == bits)) or 0}"


def where(kind: str, text: str) -> tuple[Comparison, ...] | None:
    """Return what has to hold of a call's arguments, for a rule of this kind.

    () stands for all values; None: the rule is not about arguments, or names none that is known.
    """
    first, _, rest = text.partition(" ")
    if kind == "argument" and first in WATCHED:
        if rest == ANY:
            return ()
        watched = WATCHED[first]
        value = number(watched.group, rest)
        if value is not None:
            return (Comparison(watched.index, watched.mask, value & watched.mask),)
    elif kind == "socket":
        family, type_ = number("family", first), number("type", rest)
        if family is not None and type_ is not None:
            return (Comparison(0, INT, family), Comparison(1, 0xF, type_ & 0xF))
    return None

"""Paths that differ from run to run by a token, as one pattern. Pure.

A pattern is a path in which `*` stands for one or more characters of one component. It is made
only from paths of two different runs, never above the second component, never directly in a home
directory or one of the system's, never where credentials are kept (`forbidden`).

A token is what two names do not share, if it is a number in both, or looks random in both and is
as long in both (mktemp(3), hashes). Names of one to three hexadecimal digits are tokens where a
store spreads its files over directories by their hash (`.git/objects/ab/…`; `fanout`).
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterable, Sequence

MOST = 400
"""Paths of one right compared with each other; more stay as they are."""

CREDENTIALS = frozenset(
    (
        ".ssh", ".gnupg", ".aws", ".kube", ".docker", ".azure", "gcloud", ".password-store", ".pki",
        "keyrings", ".mozilla", ".terraform.d", "secrets", "private",
    )
)  # fmt: skip
"""Names of directories where credentials are kept: no pattern has one in it."""

SYSTEM = frozenset(
    (
        "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/root", "/run",
        "/sbin", "/srv", "/sys", "/usr", "/usr/bin", "/usr/lib", "/usr/local",
        "/usr/local/bin", "/usr/sbin",
        "/usr/share", "/var", "/var/lib", "/var/log",
    )
)  # fmt: skip
"""Directories in which a name of which nothing is fixed is no pattern."""

AT_HOME = ("", "/.config", "/.local", "/.local/share")
"""Below a home directory: where no pattern lies directly."""

OF_ANYONE = frozenset(("mem", "environ", "root", "cwd", "fd", "exe"))
"""What is in /proc/<pid> and gives another process away: never of whatever process."""

MKSTEMP = 6
"""As many characters mkstemp(3) makes up, at least."""

DIGITS = "0123456789"

PYTHON = re.compile(r"[a-z0-9_]{8}")
"""What Python's tempfile makes up; by default after `tmp`, with nothing between."""

_PYTHON_DEFAULT = re.compile(rf"tmp{PYTHON.pattern}")

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_WORD = re.compile(r"[^A-Za-z0-9]+")
_LIKELY_RANDOM = re.compile(r"\d|[a-z][A-Z]|[A-Z][a-z]")
_SHORT_HEX = re.compile(r"[0-9a-f]{1,3}")
_HASHED = re.compile(r"((?:/[^/]+)+?)((?:/[0-9a-f]{1,3}){1,6})/[0-9a-f]{16,}(?:[./-][^/]*)?")


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(re.escape(part) for part in pattern.split("*")))


def matches(pattern: str, path: str) -> bool:
    """Say whether a pattern covers `path`."""
    return _regex(pattern).fullmatch(path) is not None


def fanout(paths: Iterable[str]) -> set[str]:
    """Return the directories whose names of one to three hexadecimal digits begin a hash.

    Such are those of paths like `objects/ab/cdef…` (git), `http-v2/1/2/3/123…` (pip) and
    `sha512/ab/cd/ef…` (npm).
    """
    found = set()
    for path in paths:
        hashed = _HASHED.fullmatch(path)
        if hashed:
            parent, short = hashed[1], hashed[2].split("/")[1:]
            for depth in range(len(short)):
                found.add("/".join([parent, *short[:depth]]))
    return found


def patterns(runs: Sequence[Iterable[str]], home: str, spread: set[str] | None = None) -> list[str]:
    """Return the patterns that paths of two or more of these runs share.

    `spread` are the directories that `fanout` found; without it, it is asked about these paths.
    """
    sets = [set(paths) for paths in runs]
    if spread is None:
        spread = fanout(path for one in sets for path in one)
    everywhere = set.intersection(*sets) if sets else set()
    alone = [
        [path.split("/") for path in sorted(one - everywhere)[:MOST] if "*" not in path]
        for one in sets
    ]
    found: set[str] = set()
    for index, mine in enumerate(alone):
        for theirs in alone[index + 1 :]:
            by_shape: dict[tuple[int, str], list[list[str]]] = {}
            for path in theirs:
                by_shape.setdefault((len(path), path[1]), []).append(path)
            for path in mine:
                for other in by_shape.get((len(path), path[1]), ()):
                    pattern = _merge(path, other, spread)
                    if pattern is not None and not forbidden(pattern, home):
                        found.add(pattern)
                        break
    # a first comparison may share a character by chance: the wider pattern stays
    return sorted(
        one for one in found if not any(one != two and matches(two, one) for two in found)
    )


def forbidden(pattern: str, home: str) -> bool:
    """Say whether a pattern would reach where none may."""
    parts = pattern.split("/")[1:]
    first = next((index for index, part in enumerate(parts) if "*" in part), len(parts))
    parent = "/" + "/".join(parts[:first])
    if first == 0 or CREDENTIALS.intersection(parts):
        return True
    if parent == "/proc" and OF_ANYONE.intersection(parts):
        return True
    if parent in SYSTEM and parts[first] == "*":
        return True
    homes = {posixpath.normpath(home), "/root"}
    homes.update(posixpath.join("/home", part) for part in parts[1:2] if parts[0] == "home")
    return parent == "/home" or any(parent == one + at for one in homes for at in AT_HOME)


def _merge(one: list[str], two: list[str], spread: set[str]) -> str | None:
    """Return the pattern of two paths, as lists of as many components, or None."""
    merged = []
    for at, (mine, theirs) in enumerate(zip(one, two, strict=True)):
        if mine == theirs:
            merged.append(mine)
            continue
        name = _merge_names(mine, theirs)
        short = _SHORT_HEX.fullmatch(mine) and _SHORT_HEX.fullmatch(theirs)
        if name is None and short and {"/".join(one[:at]), "/".join(two[:at])} <= spread:
            name = "*"
        if name is None:
            return None
        merged.append(name)
    return None if merged == one else "/".join(merged)


def _merge_names(one: str, two: str) -> str | None:
    """Return the pattern of two names that are not the same, or None."""
    made = _PYTHON_DEFAULT.match(one), _PYTHON_DEFAULT.match(two)
    if all(made) and one[11:] == two[11:]:
        # to look random it lacks a digit, or shares its first character, too often: 1 of 11
        return f"tmp*{one[11:]}"
    before = len(posixpath.commonprefix((one, two)))
    after = len(posixpath.commonprefix((one[before:][::-1], two[before:][::-1])))
    start = len(one[:before].rstrip(DIGITS))
    rest = one[len(one) - after :].lstrip(DIGITS)
    numbers = one[start : len(one) - len(rest)], two[start : len(two) - len(rest)]
    if all(word.isdecimal() for word in numbers):
        return f"{one[:start]}*{rest}"
    if len(one) == len(two):
        before, after = _widened(one, two, before, after)
        middles = one[before : len(one) - after], two[before : len(two) - after]
        if _random(*middles):
            return f"{one[:before]}*{one[len(one) - after :]}"
    return _merge_words(one, two)


def _merge_words(one: str, two: str) -> str | None:
    """Return the pattern of two names of several words, of which more than one differs."""
    mine, theirs = _WORD.split(one), _WORD.split(two)
    if len(mine) < 2 or _WORD.findall(one) != _WORD.findall(two):
        return None
    merged = []
    for first, second in zip(mine, theirs, strict=True):
        if first == second:
            merged.append(first)
        elif (first.isdecimal() and second.isdecimal()) or _random(first, second):
            merged.append("*")
        else:
            return None
    gaps = [*_WORD.findall(one), ""]
    return "".join(word + gap for word, gap in zip(merged, gaps, strict=True))


def _widened(one: str, two: str, before: int, after: int) -> tuple[int, int]:
    """Give back letters at a token's ends that two random names share by chance.

    Up to the next character that is no letter or digit, or the name's end, if that is two away at
    most; else until the token is as long as mkstemp(3) makes it. What begins a name stays.
    """
    start = _WORD.split(one[:before])
    if len(start) > 1 and len(start[-1]) <= 2:
        before -= len(start[-1])
    end = _WORD.split(one[len(one) - after :])[0]
    if len(end) <= 2:
        after -= len(end)
    while len(one) - before - after < MKSTEMP and before > 1 and one[before - 1].isalnum():
        before -= 1
    return before, after


def _random(one: str, two: str) -> bool:
    """Say whether two words, as long as each other, look as if they had been made up."""
    if len(one) != len(two) or len(one) < 4 or not all(map(_TOKEN.fullmatch, (one, two))):
        return False
    likely = [_LIKELY_RANDOM.search(word) is not None for word in (one, two)]
    # of eight letters and digits made up, none is a digit once in eighteen times
    if all(likely):
        return True
    made_up = all(word.isalnum() or PYTHON.fullmatch(word) for word in (one, two))
    return any(likely) and len(one) >= MKSTEMP and made_up

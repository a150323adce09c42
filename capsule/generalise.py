"""Paths that differ from run to run by a token, as one pattern. Pure.

A pattern is a path in which `*` stands for one or more characters of one component. It is made
only from paths of two different runs, never above the second component, never directly in a home
directory, never where credentials are kept.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterable, Sequence

MOST = 400
"""Paths of one right compared with each other; more stay as they are."""

CREDENTIALS = frozenset((".ssh", ".gnupg", ".aws", ".kube", ".docker", ".azure", "gcloud"))
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_LIKELY_RANDOM = re.compile(r"\d|[a-z][A-Z]|[A-Z][a-z]")


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(re.escape(part) for part in pattern.split("*")))


def matches(pattern: str, path: str) -> bool:
    """Say whether a pattern covers `path`."""
    return _regex(pattern).fullmatch(path) is not None


def patterns(runs: Sequence[Iterable[str]], home: str) -> list[str]:
    """Return the patterns that paths of two or more of these runs share, shortest first."""
    sets = [set(paths) for paths in runs]
    everywhere = set.intersection(*sets) if sets else set()
    alone = [sorted(one - everywhere)[:MOST] for one in sets]
    found: set[str] = set()
    for index, mine in enumerate(alone):
        for theirs in alone[index + 1 :]:
            by_shape: dict[tuple[int, str], list[str]] = {}
            for path in theirs:
                by_shape.setdefault(_shape(path), []).append(path)
            for path in mine:
                if any(matches(pattern, path) for pattern in found):
                    continue
                for other in by_shape.get(_shape(path), ()):
                    pattern = _merge(path, other)
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
    homes = {posixpath.normpath(home), "/root", "/home"}
    return parent in homes or posixpath.dirname(parent) == "/home"


def _shape(path: str) -> tuple[int, str]:
    parts = path.split("/")
    return len(parts), parts[1]


def _merge(path: str, other: str) -> str | None:
    merged = []
    for one, two in zip(path.split("/"), other.split("/"), strict=True):
        if one == two:
            merged.append(one)
            continue
        before = len(posixpath.commonprefix((one, two)))
        after = len(posixpath.commonprefix((one[before:][::-1], two[before:][::-1])))
        middles = [word[before : len(word) - after] for word in (one, two)]
        if "*" in path or "*" in other or not all(map(_TOKEN.fullmatch, middles)):
            return None
        numbers = all(word.isdecimal() for word in middles)
        random = (
            len(one) == len(two)
            and len(middles[0]) >= 4
            and all(map(_LIKELY_RANDOM.search, middles))
        )
        if not numbers and not random:
            return None
        merged.append(one[:before] + "*" + one[len(one) - after :])
    return "/".join(merged)

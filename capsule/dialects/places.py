"""Where a policy's files lie, for those who open directories and files that are there. Pure.

A mount is put on what exists. So what a program makes anew can only be allowed with the directory
it is made in, and all of that directory then.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from capsule import generalise
from capsule.behaviour import PATHS
from capsule.policy import Policy

NAMED = PATHS | {"bind", "connect"}
"""Kinds of rules that can name a path (a socket's as `unix:/…`, which begins with none)."""

_LIBRARY = re.compile(r"\.so(\.[0-9]+)*$|\.node$")


@dataclass(frozen=True, slots=True)
class Places:
    """`directories` in which something is made or removed, and other `files` that are written.
    `refused`: what is made, removed or written where the directory is never opened. `programs`,
    `libraries`: what is run, and what is read and named like code, or the directories of those
    that are made. None is below another of its kind."""

    directories: tuple[str, ...]
    files: tuple[str, ...]
    refused: tuple[str, ...]
    programs: tuple[str, ...]
    libraries: tuple[str, ...]


def of(policy: Policy, home: str, without: Iterable[str] = ()) -> Places:
    """Return the places of a policy; nothing is said of what is at or below one of `without`."""
    left_out = tuple(without)
    made = {w for k, w in policy.rules if k in ("create", "delete")}
    made |= {w.removeprefix("unix:") for k, w in policy.rules if k == "bind" and w[:6] == "unix:/"}
    directories, files, refused, programs, libraries = set(), set(), set(), set(), set()
    patterns = {what for (_, what), rule in policy.rules.items() if rule.pattern}
    for path in {_first_made(one, made) for one in made if not under(one, left_out)}:
        parent = _parent(path, patterns)
        if not guarded(parent, home):
            directories.add(parent)
        else:
            refused.add(path)
            files |= {path} - patterns
    for kind, what in policy.rules:
        if kind in ("write", "change") and not under(what, left_out):
            if what not in patterns:
                files.add(what)
            elif not guarded(_parent(what, patterns), home):
                directories.add(_parent(what, patterns))
            else:
                refused.add(what)
        elif kind == "exec":
            programs.add(_stays(what, made, patterns, home))
        elif kind == "read" and _LIBRARY.search(posixpath.basename(what)):
            libraries.add(_stays(what, made, patterns, home))
    tops = _tops(directories)
    return Places(
        tuple(tops),
        tuple(sorted(one for one in files if not under(one, tops))),
        tuple(sorted(one for one in refused if not under(one, tops))),
        tuple(_tops(programs)),
        tuple(one for one in _tops(libraries) if not under(one, programs)),
    )


def under(path: str, directories: Iterable[str]) -> bool:
    """Say whether a path is one of these or lies below one."""
    return any(path == one or path.startswith(one.rstrip("/") + "/") for one in directories)


def guarded(directory: str, home: str) -> bool:
    """Say whether a directory must not be opened as a whole."""
    parts = directory.strip("/").split("/")
    homes = {posixpath.normpath(home), "/root"}
    if generalise.CREDENTIALS.intersection(parts) or posixpath.dirname(directory) == "/home":
        return True
    if directory in generalise.SYSTEM or (len(parts) == 1 and directory != "/tmp"):
        return True
    return any(directory == one + at for one in homes for at in generalise.AT_HOME)


def _first_made(path: str, made: set[str]) -> str:
    """Return the uppermost part of a path that is made or removed."""
    parts = path.split("/")
    for length in range(2, len(parts)):
        part = "/".join(parts[:length])
        if part in made:
            return part
    return path


def _parent(path: str, patterns: set[str]) -> str:
    """Return the directory that a path is in; of a pattern, the one above its first `*`."""
    if path in patterns:
        path = path[: path.index("*") + 1]
    return posixpath.dirname(path)


def _stays(path: str, made: set[str], patterns: set[str], home: str) -> str:
    """Return the path, or the directory in which it is made if that may be opened."""
    first = _first_made(path, made)
    if first not in made and path not in patterns:
        return path
    parent = _parent(first, patterns)
    return path if guarded(parent, home) else parent


def _tops(paths: set[str]) -> list[str]:
    return sorted(one for one in paths if not under(one, paths - {one}))

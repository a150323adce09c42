"""A policy's rules about paths and ports → Landlock rules. Pure: what is on disk is asked for.

A Landlock rule hangs on a file or directory that is there when it is set, and holds for all that
is below (landlock(7)). So a file that may be made anew can only be allowed with the directory it
is made in, and then for all of that directory: `Plan.wide` says where that is more than the
policy allows.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Literal, Protocol

from capsule import generalise
from capsule.behaviour import PATHS
from capsule.policy import Policy


class Fs(IntFlag):
    """LANDLOCK_ACCESS_FS_*, and since which ABI each is there (`SINCE`)."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


class Net(IntFlag):
    """LANDLOCK_ACCESS_NET_* (ABI 4)."""

    BIND_TCP = 1
    CONNECT_TCP = 2


class Scope(IntFlag):
    """LANDLOCK_SCOPE_* (ABI 6)."""

    ABSTRACT_UNIX_SOCKET = 1
    SIGNAL = 2


NEWEST = 7
"""The newest ABI that this knows; 7 added nothing to hold, but audit."""

ON_FILES = Fs.EXECUTE | Fs.WRITE_FILE | Fs.READ_FILE | Fs.TRUNCATE | Fs.IOCTL_DEV
"""The rights that a rule on something else than a directory may have."""

NO_FS, NO_NET = Fs(0), Net(0)

Kind = Literal["file", "dir", "device"]


class Tree(Protocol):
    """What is on disk. Symbolic links are followed."""

    def kind(self, path: str) -> Kind | None:
        """What is there; None for nothing."""

    def is_shared(self, path: str) -> bool:
        """Whether a directory is meant for everyone's files: sticky, like /tmp."""

    def matching(self, pattern: str) -> Iterable[str]:
        """What is there that a pattern stands for."""

    def link(self, path: str) -> str | None:
        """The text of a symbolic link; None if there is none."""

    def links(self, directory: str) -> Iterable[str]:
        """The symbolic links that lie directly in a directory."""


def handled(abi: int) -> tuple[Fs, Net, Scope]:
    """Return all that a kernel of this ABI can hold."""
    fs = Fs((1 << 13) - 1)
    fs |= Fs.REFER if abi >= 2 else Fs(0)
    fs |= Fs.TRUNCATE if abi >= 3 else Fs(0)
    fs |= Fs.IOCTL_DEV if abi >= 5 else Fs(0)
    net = Net.BIND_TCP | Net.CONNECT_TCP if abi >= 4 else Net(0)
    scope = Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL if abi >= 6 else Scope(0)
    return fs, net, scope


@dataclass(slots=True)
class Plan:
    """What a ruleset is made of.

    `paths`: rights of what is there. `own`: rights below /proc/self, which only the target
    itself can name. `ports`: by number. `open_ports`: rights that hold for every port. `wide`:
    directories that get rights for more than the policy names, with the rule's path. `refused`:
    paths that cannot be allowed without opening a directory that must not be. `absent`: how many
    paths are not there and cannot come to be.
    """

    paths: dict[str, Fs] = field(default_factory=dict)
    own: Fs = NO_FS
    ports: dict[int, Net] = field(default_factory=dict)
    open_ports: Net = NO_NET
    scoped: Scope = Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL
    wide: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    absent: int = 0


def plan(policy: Policy, home: str, tree: Tree, allow_wide: Collection[str] = ()) -> Plan:
    """Return the rules for a policy. `allow_wide`: directories that may be opened nevertheless."""
    return _Planner(policy, home, tree, allow_wide).plan()


_MAKE_BY_CALL = (
    (Fs.MAKE_REG, ("open", "openat", "openat2", "creat", "mknod", "mknodat", "link", "linkat")),
    (Fs.MAKE_DIR, ("mkdir", "mkdirat")),
    (Fs.MAKE_SYM, ("symlink", "symlinkat")),
    (Fs.MAKE_FIFO, ("mknod", "mknodat")),
    (Fs.MAKE_SOCK, ("bind", "mknod", "mknodat")),
)
_RENAMES = frozenset(("rename", "renameat", "renameat2"))
_READ = Fs.READ_FILE | Fs.READ_DIR
_WRITE = Fs.WRITE_FILE | Fs.TRUNCATE
_REMOVE = Fs.REMOVE_FILE | Fs.REMOVE_DIR
_PROC = "/proc/self"


class _Names:
    """The paths of one right, patterns apart."""

    def __init__(self, policy: Policy, kind: str) -> None:
        rules = [rule for key, rule in policy.rules.items() if key[0] == kind]
        self._exact = {rule.what for rule in rules if not rule.pattern}
        self._wild = [rule.what for rule in rules if rule.pattern]

    def __contains__(self, path: str) -> bool:
        return (
            path in self._exact
            or path in self._wild
            or any(generalise.matches(one, path) for one in self._wild)
        )


class _Planner:
    def __init__(
        self, policy: Policy, home: str, tree: Tree, allow_wide: Collection[str]
    ) -> None:  # fmt: skip
        self.policy, self.home, self.tree = policy, posixpath.normpath(home), tree
        self.allow_wide = set(allow_wide)
        self.calls = {what for kind, what in policy.rules if kind == "call"}
        known = policy.calls_known
        self.make = Fs(0)
        for right, names in _MAKE_BY_CALL:
            if not known or self.calls.intersection(names):
                self.make |= right
        self.renames = not known or bool(self.calls & _RENAMES)
        self.created, self.deleted = _Names(policy, "create"), _Names(policy, "delete")
        self.out = Plan()
        self._kinds: dict[str, Kind | None] = {}

    def plan(self) -> Plan:
        rights = {"read": _READ, "write": _WRITE, "exec": Fs.EXECUTE | Fs.READ_FILE}
        for (kind, what), rule in sorted(self.policy.rules.items()):
            if kind not in PATHS or kind == "change":
                continue  # no Landlock right stands for chmod(2) and the like
            if what == _PROC or what.startswith((f"{_PROC}/", "/proc/*")):
                self._proc(kind)
            elif kind in rights:
                self._use(what, rights[kind], pattern=rule.pattern)
            else:
                self._change_directory(what, kind, pattern=rule.pattern)
        self._addresses()
        return self.out

    # -- paths

    def _kind(self, path: str) -> Kind | None:
        if path not in self._kinds:
            self._kinds[path] = self.tree.kind(path)
        return self._kinds[path]

    def _proc(self, kind: str) -> None:
        """Below /proc/self: to be read in any process, as children have numbers of their own."""
        if kind in ("read", "exec"):
            self._grant("/proc", _READ)
            self.out.wide.setdefault("/proc", "/proc/self")
        elif kind == "write":
            self.out.own |= _WRITE | Fs.READ_FILE

    def _use(self, what: str, rights: Fs, *, pattern: bool) -> None:
        """Grant rights on the file or directory itself, or where it will be made."""
        anew = self._made_at(what)
        if anew is not None:
            self._grant_wide(anew, rights, what)
            return
        found = list(self.tree.matching(what)) if pattern else [what]
        found = [path for path in found if self._kind(path) is not None]
        self.out.absent += not found
        for path in found:
            # On a directory itself: to list it, not to read what is below.
            self._grant(path, rights & Fs.READ_DIR if self._kind(path) == "dir" else rights)

    def _change_directory(self, what: str, kind: str, *, pattern: bool = False) -> None:
        """Grant that a name is made or removed in its directory."""
        here = None if pattern else self._kind(what)
        if here == "device" or (kind == "create" and here is not None and self._stays(what)):
            return  # opening what is there needs no right to make it
        parent = posixpath.dirname(what)
        directory = self._made_at(parent) or parent
        rights = self.make if kind == "create" else _REMOVE
        rights |= Fs.REFER if self.renames or self.calls & {"link", "linkat"} else Fs(0)
        self._grant_wide(directory, rights, what)

    def _stays(self, path: str) -> bool:
        """Whether what is at `path` now will be there all the time: nothing may replace it."""
        here = self._kind(path)
        if here is None or path in self.deleted:
            return False
        return here != "file" or not self.renames

    def _made_at(self, path: str) -> str | None:
        """The directory in which the uppermost part of `path` that may be made anew is made."""
        parts = path.split("/")
        for length in range(2, len(parts) + 1):
            part = "/".join(parts[:length])
            if part in self.created and self._kind(part) != "device" and not self._stays(part):
                return posixpath.dirname(part)
        return None

    def _grant_wide(self, directory: str, rights: Fs, why: str) -> None:
        while directory != "/" and self._kind(directory) != "dir":
            directory = posixpath.dirname(directory)
        if guarded(directory, self.home, self.tree) and directory not in self.allow_wide:
            if self._kind(why) in (None, "dir") or rights & _REMOVE:
                self.out.refused.setdefault(directory, why)
            else:
                self._grant(why, rights)  # as long as it is this very file
            return
        self._grant(directory, rights)
        if rights & ~(Fs.READ_DIR | Fs.REFER):
            self.out.wide.setdefault(directory, why)

    def _grant(self, path: str, rights: Fs) -> None:
        kind = self._kind(path)
        if kind is None:
            return
        if kind != "dir":
            rights &= ON_FILES
            if kind == "device" and (not self.policy.calls_known or "ioctl" in self.calls):
                rights |= Fs.IOCTL_DEV
        if rights:
            self.out.paths[path] = self.out.paths.get(path, Fs(0)) | rights

    # -- addresses

    def _addresses(self) -> None:
        for kind, what in self.policy.rules:
            right = {"connect": Net.CONNECT_TCP, "bind": Net.BIND_TCP}.get(kind)
            if right is None:
                continue
            if what.startswith("unix:@"):
                if kind == "connect":
                    self.out.scoped &= ~Scope.ABSTRACT_UNIX_SOCKET
            elif what.startswith("unix:/"):
                if kind == "bind":
                    self._change_directory(what.removeprefix("unix:"), "create")
            elif (port := _port(what)) is not None:
                self.out.ports[port] = self.out.ports.get(port, Net(0)) | right
            elif what.endswith(":*"):
                self.out.open_ports |= right


def guarded(directory: str, home: str, tree: Tree) -> bool:
    """Say whether a directory must not be opened as a whole."""
    parts = directory.strip("/").split("/")
    if directory in (home, "/root") or generalise.CREDENTIALS.intersection(parts):
        return True
    if posixpath.dirname(directory) == "/home":
        return True
    if tree.is_shared(directory):
        return False
    return len(parts) == 1 or home.startswith(directory + "/")


def _port(address: str) -> int | None:
    host, _, port = address.rpartition(":")
    numeric = host and port.isdecimal() and len(port) < 6 and ("." in host or "]" in host)
    return int(port) if numeric else None

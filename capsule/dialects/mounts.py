"""A policy's paths as mounts: what a sandbox of bind mounts has to show. Pure but for the tree.

What is bound is what Landlock would be told (`landlock.plan`): both hang on files and directories
that are there. A policy names what links lead to, and a program goes through the links: those on
this machine that lead to what is bound are made again. Paths are escaped as in a log.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field

from capsule.dialects.places import under
from capsule.dialects.rendering import several
from capsule.enforce import landlock
from capsule.enforce.landlock import Fs, Tree
from capsule.policy import Policy

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Where programs and libraries are, with links among each other: shown as a whole."""

ALTERNATIVES = "/etc/alternatives"
"""Debian's links from /usr to /usr."""

MOST_LINKS = 40
"""As many links as the kernel follows in one path (path_resolution(7))."""

DEVICES = frozenset(
    f"/dev/{name}"
    for name in ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx")
)
"""What bubblewrap's `--dev` makes, which sandbox-runtime uses too."""

_WRITE = Fs.WRITE_FILE | Fs.REMOVE_DIR | Fs.REMOVE_FILE | Fs.MAKE_REG | Fs.MAKE_DIR | Fs.MAKE_SYM


@dataclass(slots=True)
class Mounts:
    """What to show where it is; none of these lies below another that grants as much.

    `private`: directories to replace by empty ones. `bare`: directories that show no more than
    what is bound below. `links`: path → text. `proc`, `dev`: whether anything there is used;
    `devices` are those besides. `notes`: where this differs from the policy.
    """

    read: list[str] = field(default_factory=list)
    write: list[str] = field(default_factory=list)
    private: list[str] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    proc: bool = False
    dev: bool = False
    notes: list[str] = field(default_factory=list)


def of(policy: Policy, home: str, tree: Tree) -> Mounts:
    """Return what a policy needs to see of the machine that `tree` is of."""
    return _Finder(policy, home, tree).find()


class _Finder:
    def __init__(self, policy: Policy, home: str, tree: Tree) -> None:
        self.policy, self.home, self.tree = policy, home, tree
        self.plan = landlock.plan(policy, home, tree)
        self.out = Mounts()
        self.read: set[str] = set()
        self.write: set[str] = set()
        self.listed: set[str] = set()

    def find(self) -> Mounts:
        for path, rights in sorted(self.plan.paths.items()):
            self._take(path, rights)
        for (kind, what), rule in sorted(self.policy.rules.items()):
            if kind == "change" and self.tree.kind(what) and not rule.pattern:
                self._take(what, Fs.WRITE_FILE)
            elif kind == "connect" and what.startswith("unix:/"):
                self._take(what.removeprefix("unix:"), Fs.READ_FILE)
        self._system()
        out = self.out
        self.write -= {one for one in self.write if under(posixpath.dirname(one), self.write)}
        out.write = sorted(self.write)
        whole = {one for one in self.read if under(posixpath.dirname(one), self.read | self.write)}
        out.read = sorted(self.read - whole - self.write)
        out.devices.sort()
        self._links_to_what_is_shown()
        self._notes()
        return out

    def _take(self, path: str, rights: Fs) -> None:
        if under(path, ["/dev"]):
            self.out.dev = True
            if path.count("/") == 2 and self.tree.kind(path) == "device":
                self.out.devices.append(path)
            return
        if under(path, ["/proc"]):
            self.out.proc = True
            return
        followed = follow(path, self.tree)
        if followed is None:
            return
        real, links = followed
        self.out.links.update(links)
        if self.tree.kind(real) != "dir":
            (self.write if rights & Fs.WRITE_FILE else self.read).add(real)
        elif not rights & _WRITE:
            self._list(real)
        elif landlock.guarded(real, self.home, self.tree):
            self.out.notes.append(f"denies changing {real}: all that is in it would be open")
        elif self.tree.is_shared(real) and not self._stays_behind(real):
            self.out.private.append(real)
        else:
            self.write.add(real)

    def _list(self, directory: str) -> None:
        if landlock.guarded(directory, self.home, self.tree):
            self.out.bare.append(directory)
        else:
            self.listed.add(directory)
            self.read.add(directory)

    def _stays_behind(self, directory: str) -> bool:
        """Whether the program leaves something in a directory that all share, such as /tmp."""
        for (kind, what), _ in self.policy.rules.items():
            made = what.removeprefix("unix:") if kind == "bind" else what
            if kind not in ("create", "bind") or not under(posixpath.dirname(made), [directory]):
                continue
            nearest = posixpath.dirname(made)
            while nearest != directory and self.tree.kind(nearest) is None:
                nearest = posixpath.dirname(nearest)
            if nearest == directory and ("delete", made) not in self.policy.rules:
                return True
        return False

    def _system(self) -> None:
        found = self.read | self.write
        for directory in SYSTEM:
            own = self.tree.kind(directory) == "dir" and self.tree.link(directory) is None
            if own and any(under(one, [directory]) for one in found):
                self.read.add(directory)
        if "/usr" in self.read and self.tree.kind(ALTERNATIVES) == "dir":
            self.read.add(ALTERNATIVES)

    def _links_to_what_is_shown(self) -> None:
        """Find the links that lead to what is bound, in the directories above it."""
        out = self.out
        shown = [*out.read, *out.write]
        above = {"/"}
        for path in shown:
            while (path := posixpath.dirname(path)) != "/":
                above.add(path)
        for directory in sorted(above):
            for link in sorted(self.tree.links(directory)):
                followed = follow(link, self.tree)
                if followed and followed[0] != "/":
                    real, links = followed
                    if under(real, shown) or any(under(one, [real]) for one in shown):
                        out.links.update(links)
        for link in list(out.links):
            if under(link, [*shown, "/proc", "/dev"]):
                del out.links[link]  # is there with its directory

    def _notes(self) -> None:
        out = self.out
        system = [one for one in SYSTEM if one in out.read]
        if system:
            out.notes.append(f"allows reading and running all that is in {several(system)}")
        listed = [one for one in out.read if one in self.listed and one not in system]
        if listed:
            out.notes.append(f"allows reading all that is in {several(listed)}, as it is listed")
        whole = [one for one in out.write if self.tree.kind(one) == "dir"]
        if whole:
            out.notes.append(f"allows reading and changing all that is in {several(whole)}")
        out.notes.append("cannot say that what may be read may not be run, or the reverse")
        if out.bare:
            names = several(sorted(out.bare))
            out.notes.append(f"denies listing all of {names}: only what the policy names is there")
        for directory, path in sorted(self.plan.refused.items()):
            out.notes.append(f"denies making or removing {path}: all of {directory} would be open")
        if self.plan.absent:
            out.notes.append(f"denies {self.plan.absent} paths that are not on this machine now")


def follow(path: str, tree: Tree) -> tuple[str, dict[str, str]] | None:
    """Return where a path leads, and the links on the way with their texts; None: in circles."""
    links: dict[str, str] = {}
    done, hops = "", 0
    todo = path.split("/")[::-1]
    while todo:
        name = todo.pop()
        if name == "..":
            done = posixpath.dirname(done).rstrip("/")
        elif name not in ("", "."):
            here = f"{done}/{name}"
            text = tree.link(here)
            if text is None:
                done = here
                continue
            hops += 1
            if hops > MOST_LINKS:
                return None
            links[here] = text
            done = "" if text.startswith("/") else done
            todo += text.split("/")[::-1]
    return done or "/", links

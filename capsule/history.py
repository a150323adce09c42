"""What a log says as a whole: the tree of its processes, and a digest of what they did.

Pure: an iterable of records in (dicts of docs/log-format.md), plain data out. Paths and
addresses are the records' own text.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]

READS = frozenset(("file.open", "file.read", "dir.list"))
WRITES = frozenset(("file.create", "file.write", "file.truncate", "file.copy"))
CHANGES = frozenset(("file.delete", "file.rename", "file.link", "file.chmod", "file.chown",
                     "dir.create", "dir.delete"))  # fmt: skip
HOSTS = frozenset(("net.connect", "net.accept", "net.send"))
_NOISE = ("/dev/", "/proc/", "/sys/")


@dataclass(slots=True)
class Node:
    """One program a process ran: from its exec (or its birth) to the next exec or its end."""

    proc: int
    pid: int | None
    argv: list[str]
    exe: str | None
    first_ns: int | None
    last_ns: int | None = None
    born: bool = False  # runs its parent's program: it was forked and has not called exec
    end: str | None = None  # "exit 0", "SIGKILL"
    tags: list[str] = field(default_factory=list)
    actions: int = 0
    children: list[Node] = field(default_factory=list)


class Forest:
    """The process tree, grown record by record. `roots` are in the order seen, by `proc`."""

    def __init__(self) -> None:
        self.roots: dict[int, Node] = {}  # also when they have ended
        self._current: dict[int, Node] = {}  # proc → what it runs now

    def feed(self, record: Record) -> Node | None:
        """Take one record; the program it belongs to, or None where no process is known."""
        if record.get("type") != "action":
            return None
        proc = record.get("proc")
        if not isinstance(proc, int):
            return None
        kind = record["kind"]
        node = self._current.get(proc)
        worked = "errors" not in record
        if kind == "proc.exec" and worked:
            node = _execed(record, node, self._current, self.roots)
        elif node is None:
            node = self._current[proc] = _node(record, record.get("exe"), born=True)
            self.roots[proc] = node
        _account(node, record)
        if kind == "proc.spawn" and isinstance(child := record.get("child"), int):
            born = Node(child, record.get("child_pid"), node.argv, node.exe,
                        record.get("last_ns"), born=True)  # fmt: skip
            # the child's own records may have come first, and its end too
            known = self.roots.pop(child, None)
            if known is None:
                self._current[child] = known = born
            node.children.append(known)
        elif kind == "proc.exit":
            node.end = _end(record)
            self._current.pop(proc, None)
        return node


def tree(records: Iterable[Record]) -> list[Node]:
    """Return the roots of the process tree; a program's children are those it started."""
    forest = Forest()
    for record in records:
        forest.feed(record)
    return list(forest.roots.values())


def _node(record: Record, exe: str | None, born: bool) -> Node:
    argv = record.get("argv") or ([exe] if exe else [])
    return Node(record["proc"], record.get("pid"), list(argv), exe, record.get("first_ns"),
                born=born)  # fmt: skip


def _execed(
    record: Record, node: Node | None, current: dict[int, Node], roots: dict[int, Node]
) -> Node:
    new = _node(record, record.get("target"), born=False)
    current[new.proc] = new
    if node is None:
        roots[new.proc] = new
        return new
    if node.born and not node.children:
        # a fork whose only purpose was this exec: one node for both
        node.argv, node.exe, node.born = new.argv, new.exe, False
        current[new.proc] = node
        return node
    node.end = "exec"
    node.children.append(new)
    return new


def _account(node: Node, record: Record) -> None:
    node.actions += 1
    last = record.get("last_ns")
    if isinstance(last, int):
        node.last_ns = last if node.last_ns is None else max(node.last_ns, last)
        if node.first_ns is None:
            node.first_ns = record.get("first_ns")
    for tag in record.get("tags", ()):
        if tag not in node.tags:
            node.tags.append(tag)


def _end(record: Record) -> str:
    if "signal" in record:
        return f"{record['signal']}{' (core dumped)' if record.get('core') else ''}"
    return f"exit {record['status']}" if "status" in record else "ended"


@dataclass(slots=True)
class Digest:
    """What a person asks first of a run."""

    argv: list[str] = field(default_factory=list)
    cwd: str | None = None
    processes: int = 0
    events: int = 0
    actions: int = 0
    programs: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    hosts: Counter[str] = field(default_factory=Counter)
    bytes_sent: int = 0
    bytes_received: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    failed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    tags: dict[str, Counter[str]] = field(default_factory=dict)  # tag → what tripped it
    redacted: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    complete: bool = False

    def parts(self, paths: Iterable[str], *, within: bool) -> list[str]:
        """Return those of the paths that are inside, or outside, the working directory."""
        return sorted(path for path in paths if inside(self.cwd, path) == within)


def digest(records: Iterable[Record]) -> Digest:
    """Return the digest of one run's records."""
    found = Digest()
    procs: set[int] = set()
    for record in records:
        kind = record.get("type")
        if kind == "start":
            if "imported" not in record:  # else they are the import's own
                found.argv = list(record.get("argv") or [])
                found.cwd = record.get("cwd")
        elif kind == "end":
            found.complete = bool(record.get("complete"))
        elif kind == "action":
            if isinstance(proc := record.get("proc"), int):
                procs.add(proc)
            _digest_action(found, record)
    found.processes = len(procs)
    return found


def _digest_action(found: Digest, record: Record) -> None:
    kind, target = record["kind"], record.get("target")
    count = record.get("count", 0)
    found.actions += 1
    found.events += count
    errors = record.get("errors") or {}
    failures = sum(errors.values())
    for name, number in errors.items():
        found.errors[name] += number
        found.failed[name, kind, target or ""] += number
    for tag in record.get("tags", ()):
        found.tags.setdefault(tag, Counter())[f"{kind} {target}" if target else kind] += 1
    found.redacted += record.get("redacted", 0)
    if kind == "proc.exit" and ("signal" in record or record.get("status")):
        found.ends[f"{record.get('exe') or record.get('pid')}: {_end(record)}"] += 1
    if failures >= count and "EINPROGRESS" not in errors:
        return
    if kind == "proc.exec":
        found.programs[target or "?"] += 1
        found.argv = found.argv or list(record.get("argv") or [])
        found.cwd = found.cwd or record.get("cwd")
    elif kind in HOSTS and target and not target.startswith(("unix:", "socket:", "netlink:")):
        found.hosts[target] += count
    if kind == "net.send":
        found.bytes_sent += record.get("bytes", 0)
    elif kind == "net.recv":
        found.bytes_received += record.get("bytes", 0)
    if not isinstance(target, str) or not target.startswith("/") or target.startswith(_NOISE):
        return
    writes = kind in WRITES or kind in CHANGES or record.get("access") in ("write", "read-write")
    if writes:
        found.written[target] += 1
    elif kind in READS:
        found.read[target] += 1
    if kind == "file.rename" and isinstance(to := record.get("to"), str) and to.startswith("/"):
        found.written[to] += 1


def inside(directory: str | None, path: str) -> bool:
    """Say whether `path` lies in `directory`."""
    if directory is None:
        return False
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def by_directory(paths: Iterable[str]) -> list[tuple[str, int]]:
    """Return the directories of these paths with how many lie in each, the fullest first."""
    counts = Counter(posixpath.dirname(path) for path in paths)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def walk(roots: list[Node]) -> Iterator[tuple[list[bool], Node]]:
    """Yield every node, depth first, with, for each level, whether it is the last of its kin."""
    stack: list[tuple[list[bool], Node]] = [([], root) for root in reversed(roots)]
    while stack:
        path, node = stack.pop()
        yield path, node
        kin = node.children
        for index in range(len(kin) - 1, -1, -1):
            stack.append(([*path, index == len(kin) - 1], kin[index]))

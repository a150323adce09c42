"""What one run did, as facts that a policy allows or not. Pure: records in, facts out.

A fact is a pair (kind, what); `KINDS` says which there are. A call on a path counts only when
it worked: a path that was not there needs no right. Connections count when they were tried.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from capsule import arguments, syscalls

Key = tuple[str, str]

KINDS = {
    "call": "the system call",
    "argument": "the argument of a call",
    "memory": "executable memory",
    "socket": "the socket",
    "connect": "the connection to",
    "bind": "the local address",
    "exec": "the program",
    "read": "reading",
    "write": "writing",
    "create": "creating",
    "delete": "removing",
    "change": "changing the attributes of",
}
"""Kind of fact → how a person calls it."""

PATHS = frozenset(("exec", "read", "write", "create", "delete", "change"))

_BY_KIND = {
    "file.create": ("create", "write"),
    "file.truncate": ("write",),
    "file.delete": ("delete",),
    "file.rename": ("delete",),
    "file.chmod": ("change",),
    "file.chown": ("change",),
    "dir.list": ("read",),
    "dir.create": ("create",),
    "dir.delete": ("delete",),
    "proc.exec": ("exec",),
}
_BY_ACCESS = {"read": ("read",), "write": ("write",), "read-write": ("read", "write")}
_PROC_PID = re.compile(r"/proc/(\d+)(?=/|$)")
_DELETED = " (deleted)"
_RELATED = {
    "file.read": {"ipc.read", "net.recv"},
    "file.write": {"ipc.write", "net.send"},
    "file.copy": {"net.send"},
    "file.open": {"file.create"},
    "proc.spawn": {"thread.spawn"},
    "sys.exit": {"proc.exit", "thread.exit"},
}


_REFUSED = frozenset({"EPERM", "EACCES"})
"""What the calls get that a policy does not allow (capsule/enforce)."""


@dataclass(slots=True)
class Fact:
    """How often, and the first record that says so (None: no Action could be named)."""

    count: int
    seq: int | None
    proc: int | None


@dataclass(slots=True)
class Behaviour:
    """One run. `calls_known`: the log says which system calls were made; or with what arguments."""

    run: str
    argv: list[str]
    facts: dict[Key, Fact] = field(default_factory=dict)
    calls_known: bool = False
    arguments_known: bool = False


class Reader:
    """Takes a run's records in order; `end` is its end record, wanted first ({}: it has none).

    `refused`: what an enforced policy refused counts as if it had been done.
    """

    def __init__(self, end: Mapping[str, Any], *, refused: bool = False) -> None:
        self._found = Behaviour("", [])
        self._refused = refused
        self._pids: set[str] = set()
        calls = end.get("calls")
        self._found.calls_known = calls is not None
        self._first: dict[Key, int] = {}
        self._wanted: dict[str, list[Key]] = {}  # kind of Action → calls still without evidence
        self._found.arguments_known = "arguments" in end
        for name, count, line in calls or ():
            row = syscalls.BY_NAME.get(name)
            self._counted("memory" if row is None else "call", name, row, count, line)
        for name, text, count, line in end.get("arguments", ()):
            what = arguments.what(name, text)
            self._counted("argument", what, syscalls.BY_NAME.get(name), count, line)

    def _counted(
        self, fact: str, what: str, row: syscalls.Row | None, count: int, line: int
    ) -> None:
        key = (fact, what)
        known = self._found.facts.get(key)
        if known is not None:  # the same value, by another name or call
            known.count += count
            self._first[key] = min(line, self._first[key])
            return
        self._found.facts[key] = Fact(count, None, None)
        self._first[key] = line
        kind = "mem.map" if row is None else row.kind
        for one in {kind} | _RELATED.get(kind, set()):
            self._wanted.setdefault(one, []).append(key)

    def read(self, records: Iterable[Mapping[str, Any]]) -> Behaviour:
        """Return what they say."""
        for record in records:
            kind = record.get("type")
            if kind == "start" and not self._found.run:
                self._found.run = record["run"]
                self._found.argv = list(record.get("argv") or [])
                self._refused &= "enforced" in record
            elif kind == "action":
                self._action(record)
        return self._found

    def _action(self, record: Mapping[str, Any]) -> None:
        kind, target = record["kind"], record.get("target")
        if "pid" in record:
            self._pids.add(str(record["pid"]))
        if kind in self._wanted and "lines" in record:
            self._evidence(kind, record)
        if kind == "sys.unknown":
            self._add("call", target or "?", record)
        if not isinstance(target, str):
            return
        if kind == "net.socket":
            self._add("socket", f"{target} {_socket_type(record.get('call', ''))}".strip(), record)
        elif kind in ("net.connect", "net.bind"):
            self._add(kind[4:], target, record)
        elif kind == "net.send" and not target.startswith(("socket:", "netlink:", "unix:")):
            self._add("connect", target, record)
        errors = record.get("errors") or {}
        worked = sum(errors.values()) < record.get("count", 0)
        if not worked and not (self._refused and not _REFUSED.isdisjoint(errors)):
            return
        if kind == "mem.protect" and "PROT_EXEC" in target:
            way = "PROT_WRITE|PROT_EXEC" if "PROT_WRITE" in target else "PROT_EXEC"
            self._add("memory", f"mprotect {way}", record)
        rights = _BY_KIND.get(kind, ())
        if kind in ("file.open", "file.create"):
            rights = (*rights, *_BY_ACCESS.get(record.get("access", ""), ()))
        for right in dict.fromkeys(rights):
            self._path(right, target, record)
        if kind in ("file.rename", "file.link"):
            self._path("create", record.get("to", ""), record)
        if kind == "file.link":
            self._path("create", target, record)

    def _path(self, right: str, path: str, record: Mapping[str, Any]) -> None:
        if not path.startswith("/"):
            return
        path = "/" + posixpath.normpath(path.removesuffix(_DELETED)).lstrip("/")
        found = _PROC_PID.match(path)
        if found and found[1] in self._pids:
            path = "/proc/self" + path[found.end() :]
        self._add(right, path, record)

    def _add(self, kind: str, what: str, record: Mapping[str, Any]) -> None:
        count = record.get("count", 0)
        fact = self._found.facts.get((kind, what))
        if fact is None:
            fact = Fact(count, record["seq"], record.get("proc"))
            self._found.facts[kind, what] = fact
        else:
            fact.count += count

    def _evidence(self, kind: str, record: Mapping[str, Any]) -> None:
        """Let this Action speak for the calls whose first event may be in it."""
        first, last = record["lines"]
        left = []
        for key in self._wanted[kind]:
            line, fact = self._first[key], self._found.facts[key]
            if first <= line <= last and (fact.seq is None or first == line):
                fact.seq, fact.proc = record["seq"], record.get("proc")
            if first != line:
                left.append(key)
        if left:
            self._wanted[kind] = left
        else:
            del self._wanted[kind]


def _socket_type(call: str) -> str:
    """`SOCK_STREAM` of `SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP`."""
    return re.split(r"[,|]", call, maxsplit=1)[0].strip()

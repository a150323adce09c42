"""ecs: one document of the Elastic Common Schema (9.4) an Action, for Elasticsearch's bulk APIs.

What ECS has no field for is below `capsule`, a name of our own as ECS asks for.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from capsule import __version__
from capsule.export import addresses
from capsule.export.ecskinds import KINDS, UNKNOWN, VERSION
from capsule.export.jsonlines import json_lines
from capsule.export.lineage import Lineage, Process
from capsule.export.options import Options
from capsule.export.runs import Run
from capsule.export.times import rfc3339

Action = Mapping[str, Any]
Document = dict[str, Any]

_MAPPED = frozenset(("seq", "type", "tags", "prev", "hash", "proc", "pid", "exe", "uid"))
"""Members of an Action that the document says in full, and `capsule` leaves out."""
_SIDE = {"net.accept": "source", "net.recv": "source", "net.bind": "server", "net.listen": "server"}
_DIRECTION = {"net.accept": "ingress", "net.recv": "ingress", "net.connect": "egress",
              "net.send": "egress"}  # fmt: skip


def write(runs: Sequence[Run], options: Options) -> Iterator[bytes]:
    """Return the documents as lines of JSON, an Action each, in the order of the logs."""
    del options
    return json_lines(runs, lambda run: Mapper(run).document)


class Mapper:
    """Maps one run's Actions. Feed it all of them, in order."""

    def __init__(self, run: Run) -> None:
        origin = run.origin
        self._run = run.id
        self._lineage = Lineage()
        self._processes: dict[int, tuple[int, Document]] = {}
        host: Document = {"os": {"type": "linux", "family": "linux"}}
        if "host" in origin:
            host["hostname"] = host["name"] = str(origin["host"])
        if run.kernel:
            host["os"]["kernel"] = run.kernel
        if "boot_id" in origin:
            host["boot"] = {"id": str(origin["boot_id"])}
        self._host = orjson.Fragment(orjson.dumps(host))
        self._observer = {"type": "tracer", "vendor": "Capsule", "product": "Capsule Runtime",
                          "version": __version__}  # fmt: skip
        # An Action of a trace without stamps has no time of its own.
        self._time = rfc3339(run.time_ns)

    def document(self, action: Action) -> Document:
        """Return the ECS document of one Action."""
        kind = action["kind"]
        process = self._lineage.see(action)
        category, what = KINDS.get(kind, UNKNOWN)
        event: Document = {
            "kind": "event",
            "module": "capsule",
            "dataset": "capsule.action",
            "category": [category],
            "type": [what],
            "action": kind,
            "id": action["hash"],
            "sequence": action["seq"],
        }
        document: Document = {
            "@timestamp": self._stamp(action, event),
            "ecs": {"version": VERSION},
            "event": event,
            "host": self._host,
            "observer": self._observer,
        }
        errors = action.get("errors")
        failed = sum(errors.values()) if errors else 0
        event["outcome"] = "failure" if failed >= action["count"] else "success"
        if errors:
            document["error"] = {"code": ",".join(errors)}
        if "tags" in action:
            document["tags"] = action["tags"]
        if process is not None:
            document["process"] = self._process(process, action)
            if process.uid is not None:
                document["user"] = {"id": str(process.uid)}
        target = action.get("target")
        if target is not None and category == "file":
            document["file"] = _file(target, kind, action.get("to"))
        elif target is not None and category == "network":
            document |= _network(action)
        own = {key: value for key, value in action.items() if key not in _MAPPED}
        document["capsule"] = {"run": self._run, **own}
        return document

    def _stamp(self, action: Action, event: Document) -> str:
        first_ns = action.get("first_ns")
        if first_ns is not None:
            last_ns = action.get("last_ns", first_ns)
            self._time = event["start"] = rfc3339(first_ns)
            event["end"] = rfc3339(last_ns)
            event["duration"] = last_ns - first_ns
        return self._time

    def _process(self, process: Process, action: Action) -> Document:
        age, made = self._processes.get(process.proc, (-1, {}))
        if age != process.age:
            made = self._made(process)
            self._processes[process.proc] = (process.age, made)
        if action["kind"] == "proc.exit":
            made = dict(made)
            del self._processes[process.proc]
            if "status" in action:
                made["exit_code"] = action["status"]
            if "last_ns" in action:
                made["end"] = rfc3339(action["last_ns"])
        return made

    def _made(self, process: Process) -> Document:
        found: Document = {"entity_id": f"{self._run}/{process.proc}"}
        if process.pid is not None:
            found["pid"] = process.pid
        if process.exe is not None:
            found["executable"] = process.exe
            found["name"] = posixpath.basename(process.exe)
        if process.argv:
            found["args"] = process.argv
            found["args_count"] = len(process.argv)
            found["command_line"] = shlex.join(process.argv)
        if process.cwd is not None:
            found["working_directory"] = process.cwd
        if process.started_ns is not None:
            found["start"] = rfc3339(process.started_ns)
        if process.parent is not None:
            found["parent"] = {"entity_id": f"{self._run}/{process.parent}"}
            if process.ppid is not None:
                found["parent"]["pid"] = process.ppid
        return found


def _file(path: str, kind: str, to: str | None) -> Document:
    found: Document = {"path": path}
    if path.startswith("/"):
        found["directory"], found["name"] = posixpath.split(path)
        extension = posixpath.splitext(found["name"])[1][1:]
        if extension:
            found["extension"] = extension
    if kind.startswith("dir."):
        found["type"] = "dir"
    elif kind == "file.link" and to is not None:
        found["target_path"] = to
    return found


def _network(action: Action) -> Document:
    """The other side: `source` where it came to us, else `destination`; `server` if it is ours."""
    kind = action["kind"]
    address = addresses.parse(action["target"])
    side: Document = {"address": address.text}
    network: Document = {}
    if address.ip is not None:
        side |= {"address": address.ip, "ip": address.ip, "port": address.port}
        network["type"] = f"ipv{address.version}"
    if "bytes" in action:
        network["bytes"] = action["bytes"]
    if kind in _DIRECTION:
        network["direction"] = _DIRECTION[kind]
    found: Document = {_SIDE.get(kind, "destination"): side}
    if network:
        found["network"] = network
    if "local" in action:
        local = addresses.parse(action["local"])
        found["destination"] = {"address": local.ip or local.text}
        if local.ip is not None:
            found["destination"] |= {"ip": local.ip, "port": local.port}
    return found

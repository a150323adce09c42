"""ocsf: one event of the Open Cybersecurity Schema Framework (schema.ocsf.io, 1.8.0) an Action.

Times are milliseconds since the epoch, as OCSF has them; the Action's own members, nanoseconds
included, are kept in `unmapped`. `metadata.uid` is the hash of the record.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from capsule import __version__
from capsule.export import addresses
from capsule.export.jsonlines import json_lines
from capsule.export.lineage import Lineage, Process
from capsule.export.ocsfkinds import (
    CATEGORIES,
    EXTENSION,
    FILE,
    KINDS,
    MEMORY,
    NETWORK,
    OTHER,
    PROCESS,
    VERSION,
    WITHOUT_TARGET,
    Class,
)
from capsule.export.options import Options
from capsule.export.runs import Run

Action = Mapping[str, Any]
Event = dict[str, Any]

_MAPPED = frozenset(("seq", "type", "kind", "count", "tags", "prev", "hash"))
"""Members of an Action that an event says in full, and `unmapped` leaves out."""
_DIRECTION = {"net.connect": (2, "Outbound"), "net.send": (2, "Outbound"),
              "net.accept": (1, "Inbound"), "net.recv": (1, "Inbound"),
              "net.listen": (1, "Inbound"), "net.bind": (1, "Inbound")}  # fmt: skip
_LAUNCH = {"proc.spawn": (2, "Fork"), "proc.exec": (3, "Exec")}


def write(runs: Sequence[Run], options: Options) -> Iterator[bytes]:
    """Return the events as lines of JSON, an Action each, in the order of the logs."""
    del options
    return json_lines(runs, lambda run: Mapper(run).event)


class Mapper:
    """Maps one run's Actions. Feed it all of them, in order."""

    def __init__(self, run: Run) -> None:
        origin = run.origin
        self._run = run.id
        self._lineage = Lineage()
        self._product = {
            "name": "Capsule Runtime",
            "vendor_name": "Capsule",
            "version": __version__,
        }
        self._processes: dict[int, tuple[int, orjson.Fragment]] = {}
        device: Event = {
            "type_id": 0,
            "type": "Unknown",
            "hostname": str(origin.get("host") or "unknown"),
            "os": {"name": "Linux", "type": "Linux", "type_id": 200},
        }
        if run.kernel:
            device["os"]["kernel_release"] = run.kernel
        if "boot_id" in origin:
            device["boot_uid"] = str(origin["boot_id"])
        self._device = orjson.Fragment(orjson.dumps(device))
        # An Action of a trace without stamps has no time of its own.
        self._time_ms = run.time_ns // 1_000_000

    def event(self, action: Action) -> Event:
        """Return the OCSF event of one Action."""
        kind = action["kind"]
        process = self._lineage.see(action)
        target = action.get("target")
        form, activity = KINDS.get(kind, WITHOUT_TARGET)
        if target is None and form in (FILE, NETWORK, EXTENSION):
            form, activity = WITHOUT_TARGET
        event = self._base(action, form, activity)
        event["actor"] = self._actor(process)
        event["device"] = self._device
        if form is FILE:
            event["file"] = _file(action["target"], 2 if kind.startswith("dir.") else 0)
            if "to" in action and kind == "file.rename":
                event["file_result"] = _file(action["to"], 0)
        elif form is NETWORK:
            event |= _network(action)
        elif form is PROCESS:
            event |= self._process_facts(action, process)
        elif form is MEMORY:
            event["process"] = self._process(process)
            if "bytes" in action:
                event["size"] = action["bytes"]
        elif form is EXTENSION:
            event["driver"] = {"file": _file(action["target"], 0)}
        else:
            event["kernel"] = _kernel(kind, target)
        if kind == "proc.exit" and process is not None:
            self._processes.pop(process.proc, None)
        return event

    def _base(self, action: Action, form: Class, activity: int) -> Event:
        kind, errors, tags = action["kind"], action.get("errors"), action.get("tags")
        failed = sum(errors.values()) if errors else 0
        name = form.activities.get(activity, kind)
        metadata: Event = {
            "version": VERSION,
            "product": self._product,
            "profiles": ["host"],
            "log_name": self._run,
            "sequence": action["seq"],
            "uid": action["hash"],
            "event_code": kind,
        }
        if tags:
            metadata["labels"] = tags
        event: Event = {
            "class_uid": form.uid,
            "class_name": form.name,
            "category_uid": form.uid // 1000,
            "category_name": CATEGORIES[form.uid // 1000],
            "activity_id": activity,
            "activity_name": name,
            "type_uid": form.uid * 100 + activity,
            "type_name": f"{form.name}: {'Other' if activity == OTHER else name}",
            "severity_id": 2 if tags else 1,
            "severity": "Low" if tags else "Informational",
            "count": action["count"],
            "status_id": 2 if failed >= action["count"] else 1,
            "status": "Failure" if failed >= action["count"] else "Success",
            "metadata": metadata,
            "unmapped": {key: value for key, value in action.items() if key not in _MAPPED},
        }
        if errors:
            event["status_code"] = ",".join(errors)
        first_ns = action.get("first_ns")
        if first_ns is not None:
            self._time_ms = first_ns // 1_000_000
            event["start_time"] = self._time_ms
            event["end_time"] = action.get("last_ns", first_ns) // 1_000_000
        event["time"] = self._time_ms
        return event

    def _actor(self, process: Process | None) -> Event:
        # strace itself speaks in what belongs to no process
        return {"process": self._process(process)} if process else {"app_name": "strace"}

    def _process(self, process: Process | None) -> Event | orjson.Fragment:
        """A process object, made once for all events of a process that does not change."""
        if process is None:
            return {"uid": f"{self._run}/unknown"}
        age, made = self._processes.get(process.proc, (-1, None))
        if made is None or age != process.age:
            made = orjson.Fragment(orjson.dumps(self._made(process)))
            self._processes[process.proc] = (process.age, made)
        return made

    def _made(self, process: Process) -> Event:
        found: Event = {"uid": f"{self._run}/{process.proc}"}
        if process.pid is not None:
            found["pid"] = process.pid
        if process.exe is not None:
            found["file"] = _file(process.exe, 1)
            found["name"] = found["file"]["name"]
        if process.argv:
            found["cmd_line"] = shlex.join(process.argv)
        if process.cwd is not None:
            found["working_directory"] = process.cwd
        if process.uid is not None:
            found["user"] = {"uid": str(process.uid)}
        if process.started_ns is not None:
            found["created_time"] = process.started_ns // 1_000_000
        if process.parent is not None:
            found["parent_process"] = {"uid": f"{self._run}/{process.parent}"}
            if process.ppid is not None:
                found["parent_process"]["pid"] = process.ppid
        return found

    def _process_facts(self, action: Action, process: Process | None) -> Event:
        """What Process Activity has of its own: the process acted on, and how it went."""
        kind, target = action["kind"], action.get("target")
        subject = self._process(process)
        if kind == "proc.spawn" and "child" in action:
            subject = self._process(self._lineage.living.get(action["child"]))
        elif isinstance(target, str) and target.startswith("pid:") and target[4:].isdecimal():
            subject = {"pid": int(target[4:])}
        found: Event = {"process": subject}
        if kind in _LAUNCH:
            found["launch_type_id"], found["launch_type"] = _LAUNCH[kind]
        if "status" in action and kind == "proc.exit":
            found["exit_code"] = action["status"]
        return found


def _file(path: str, type_id: int) -> Event:
    """A file object. `type_id`: 0 where only the kernel knows what it is, 1 a file, 2 a folder."""
    folder, slash, name = path.rpartition("/")
    found: Event = {"name": name or path, "type_id": type_id}
    if path.startswith("/"):
        found["path"] = path
        if name:
            found["parent_folder"] = folder or slash
    return found


def _network(action: Action) -> Event:
    """The endpoints: `dst_endpoint` is who is talked to, or, for who waits, what is waited on."""
    kind = action["kind"]
    address = addresses.parse(action["target"])
    direction_id, direction = _DIRECTION.get(kind, (0, "Unknown"))
    info: Event = {"direction_id": direction_id, "direction": direction}
    if address.version:
        info["protocol_ver_id"] = address.version
    found: Event = {"connection_info": info}
    if kind in ("net.accept", "net.recv"):
        found["src_endpoint"] = _endpoint(address)
        if "local" in action:
            found["dst_endpoint"] = _endpoint(addresses.parse(action["local"]))
    else:
        found["dst_endpoint"] = _endpoint(address)
    if "bytes" in action:
        way = "bytes_out" if kind == "net.send" else "bytes_in"
        found["traffic"] = {"bytes": action["bytes"], way: action["bytes"]}
    return found


def _endpoint(address: addresses.Address) -> Event:
    if address.ip is None:
        return {"name": address.text}
    return {"ip": address.ip, "port": address.port}


def _kernel(kind: str, target: str | None) -> Event:
    found: Event = {"name": kind, "type_id": 2, "type": "System Call"}
    if target is not None and target.startswith("/"):
        found["path"] = target
    return found

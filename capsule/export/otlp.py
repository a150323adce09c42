"""otlp: OpenTelemetry's protocol in its JSON form, a request a line (OTLP 1.x, OTLP File Exporter).

A process is a span below that of its parent; an Action is a log record in the span of its process.
As OTLP's JSON has it, ids are hex and 64-bit integers are decimal text. A line holds either spans
(`resourceSpans`) or log records (`resourceLogs`) and is what /v1/traces or /v1/logs take. The ids
follow from the run's, so that an export made twice names the same trace.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from blake3 import blake3

from capsule import __version__
from capsule.export import addresses
from capsule.export.options import Options
from capsule.export.runs import Run

BATCH_RECORDS = 512
Action = Mapping[str, Any]
Json = dict[str, Any]

_INFO, _WARN = (9, "INFO"), (13, "WARN")
_SPAN_KIND_INTERNAL = 1
_STATUS_OK, _STATUS_ERROR = 1, 2
_SAID = frozenset(("type", "kind", "pid", "exe", "uid", "proc", "prev", "first_ns"))
"""Members of an Action that a record says elsewhere than below `capsule.`."""


def write(runs: Sequence[Run], options: Options) -> Iterator[bytes]:
    """Return requests as lines of JSON; the spans of processes that do not end come last."""
    del options
    for run in runs:
        telemetry = Telemetry(run)
        for action in run.actions():
            telemetry.add(action)
            yield from telemetry.drain(BATCH_RECORDS)
        telemetry.finish()
        yield from telemetry.drain(1)


@dataclass(slots=True)
class Span:
    """What one process did, from its first stamp to its last."""

    proc: int
    start_ns: int
    end_ns: int
    parent: int | None = None
    name: str = "?"
    attributes: Json = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    status: Json = field(default_factory=dict)


class Telemetry:
    """One run's spans and log records: `add` each Action, `finish`, and `drain` in between."""

    def __init__(self, run: Run) -> None:
        origin = run.origin
        self._run = run.id
        self._trace = _id(16, self._run)
        argv = origin.get("argv") or []
        self._resource = {"attributes": attributes({
            "service.name": posixpath.basename(str(argv[0])) if argv else "capsule",
            "service.instance.id": self._run,
            "host.name": str(origin.get("host") or "unknown"),
            "os.type": "linux",
            "os.description": str(origin.get("kernel") or "Linux"),
        })}  # fmt: skip
        self._scope = {"name": "capsule", "version": __version__}
        self._records: list[Json] = []
        self._done: list[Json] = []
        self._spans: dict[int, Span] = {}
        self._orphans: dict[int, Span] = {}  # have ended, but who started them is not known yet
        self._time_ns = run.time_ns

    def add(self, action: Action) -> None:
        """Take in an Action: a log record, and what it says of its process."""
        self._time_ns = action.get("first_ns", self._time_ns)
        if "proc" in action:
            self._account(action)
        self._records.append(self._record(action))

    def finish(self) -> None:
        """End the spans of those that have not ended, at their last Action."""
        for span in (*self._orphans.values(), *self._spans.values()):
            self._done.append(self._plain(span))
        self._orphans.clear()
        self._spans.clear()

    def drain(self, least: int) -> Iterator[bytes]:
        """Return requests, of each kind one if there are `least` of it."""
        for what, inner, held in (
            ("Logs", "logRecords", self._records),
            ("Spans", "spans", self._done),
        ):
            if len(held) >= least:
                scoped = {"scope": self._scope, inner: held}
                request = {
                    f"resource{what}": [{"resource": self._resource, f"scope{what}": [scoped]}]
                }
                yield orjson.dumps(request) + b"\n"
                held.clear()

    # -- processes --------------------------------------------------------------------------

    def _account(self, action: Action) -> None:
        proc, kind = action["proc"], action["kind"]
        first_ns = action.get("first_ns", self._time_ns)
        last_ns = action.get("last_ns", first_ns)
        span = self._spans.get(proc)
        if span is None:
            span = self._spans[proc] = Span(proc, first_ns, last_ns)
        span.start_ns = min(span.start_ns, action.get("started_ns", first_ns))
        span.end_ns = max(span.end_ns, last_ns)
        if "pid" in action:
            span.attributes["process.pid"] = action["pid"]
        if "exe" in action:
            span.attributes["process.executable.path"] = action["exe"]
            span.name = posixpath.basename(action["exe"]) or "?"
        if kind == "proc.exec" and "errors" not in action:
            self._executed(span, action, first_ns)
        elif kind == "proc.spawn" and "child" in action:
            self._born(action, first_ns)
        elif kind == "proc.exit":
            self._ended(span, action)

    def _executed(self, span: Span, action: Action, ts_ns: int) -> None:
        words = action.get("argv", [])
        span.attributes["process.command_args"] = words
        span.attributes["process.command_line"] = shlex.join(words)
        if "cwd" in action:
            span.attributes["process.working_directory"] = action["cwd"]
        if "ppid" in action:
            span.attributes["process.parent_pid"] = action["ppid"]
        if span.parent is None:
            span.parent = action.get("parent")
        span.events.append({
            "timeUnixNano": str(ts_ns),
            "name": "proc.exec",
            "attributes": attributes({"process.command_args": words}),
        })  # fmt: skip

    def _born(self, spawn: Action, ts_ns: int) -> None:
        child = spawn["child"]
        orphan = self._orphans.pop(child, None)
        if orphan is not None:
            orphan.parent = spawn["proc"]
            self._done.append(self._plain(orphan))
            return
        span = self._spans.setdefault(child, Span(child, ts_ns, ts_ns))
        if span.parent is None:
            span.parent = spawn["proc"]
            if "pid" in spawn:
                span.attributes.setdefault("process.parent_pid", spawn["pid"])

    def _ended(self, span: Span, action: Action) -> None:
        if "status" in action:
            span.attributes["process.exit.code"] = action["status"]
        signal = action.get("signal")
        if signal or action.get("status"):
            span.status = {"code": _STATUS_ERROR, "message": signal or f"exit {action['status']}"}
        else:
            span.status = {"code": _STATUS_OK}
        del self._spans[span.proc]
        if span.parent is None:
            self._orphans[span.proc] = span
        else:
            self._done.append(self._plain(span))

    def _plain(self, span: Span) -> Json:
        found = {
            "traceId": self._trace,
            "spanId": self._span_id(span.proc),
            "name": span.name,
            "kind": _SPAN_KIND_INTERNAL,
            "startTimeUnixNano": str(span.start_ns),
            "endTimeUnixNano": str(span.end_ns),
            "attributes": attributes(span.attributes),
            "events": span.events,
            "status": span.status,
        }
        if span.parent is not None:
            found["parentSpanId"] = self._span_id(span.parent)
        return found

    def _span_id(self, proc: int) -> str:
        return _id(8, f"{self._run}/{proc}")

    # -- Actions ----------------------------------------------------------------------------

    def _record(self, action: Action) -> Json:
        kind, target = action["kind"], action.get("target")
        number, text = _WARN if "errors" in action or "tags" in action else _INFO
        facts = {
            "process.pid": action.get("pid"),
            "process.executable.path": action.get("exe"),
            "user.id": str(action["uid"]) if "uid" in action else None,
        }
        if target is not None:
            if kind.startswith(("file.", "dir.")) and target.startswith("/"):
                facts["file.path"] = target
            elif kind.startswith("net."):
                address = addresses.parse(target)
                facts["network.peer.address"] = address.ip or address.text
                facts["network.peer.port"] = address.port
        if "errors" in action:
            facts["error.type"] = ",".join(action["errors"])
        facts |= {f"capsule.{key}": value for key, value in action.items() if key not in _SAID}
        record = {
            "timeUnixNano": str(self._time_ns),
            "severityNumber": number,
            "severityText": text,
            "eventName": kind,
            "body": {"stringValue": f"{kind} {target}" if target is not None else kind},
            "attributes": attributes(facts),
            "traceId": self._trace,
        }
        if "proc" in action:
            record["spanId"] = self._span_id(action["proc"])
        return record


def _id(size: int, what: str) -> str:
    """A trace or span id of `size` bytes, hex. That it is all zeros, which is forbidden, would be
    a preimage of BLAKE3."""
    return blake3(what.encode()).hexdigest(size)


def attributes(facts: Mapping[str, Any]) -> list[Json]:
    """Members as OTLP's key-value list; those that are None are left out."""
    return [{"key": key, "value": value_of(it)} for key, it in facts.items() if it is not None]


def value_of(value: Any) -> Json:
    """A value as OTLP's AnyValue. An integer beyond 64 bits with a sign becomes text."""
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue" if -(2**63) <= value < 2**63 else "stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [value_of(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes(value)}}
    return {}

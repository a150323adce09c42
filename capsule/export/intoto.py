"""in-toto: a Statement v1 with the predicate runtime-trace v0.1 for each run (in-toto.io).

Its subjects are the files that the run made or wrote and that are still here as it left them, by
SHA-256; where there are none, the log itself. The predicate says who was watched by what, the
processes, the addresses talked to and the files used, and, below `capsule_log`, the log's head,
first public key and verdict, by which the log is tied to the statement.

With a key the statement goes into a DSSE envelope (github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from capsule import __version__
from capsule.export import addresses, dsse
from capsule.export.options import Options
from capsule.export.produced import Produced, uri
from capsule.export.runs import Run
from capsule.export.tables import PROCESSES
from capsule.export.tables import account as account_process
from capsule.export.times import rfc3339

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/runtime-trace/v0.1"
PAYLOAD = "application/vnd.in-toto+json"
MONITOR = f"pkg:pypi/capsule-runtime@{__version__}"
"""A package URL, which is a URI; the shape of `process` entries is this monitor's."""

_TALKS = ("net.connect", "net.accept", "net.send", "net.recv")
Json = dict[str, Any]


def write(runs: Sequence[Run], options: Options) -> Iterator[bytes]:
    """Return a statement, or its envelope, a line a run."""
    signer = dsse.Signer(options.key) if options.key else None
    for run in runs:
        statement = orjson.dumps(_statement(run))
        made = signer.envelope(PAYLOAD, statement) if signer else statement
        yield made + b"\n"


def _statement(run: Run) -> Json:
    processes: dict[int, Json] = {}
    talks: dict[tuple[Any, ...], Json] = {}
    produced = Produced(run)
    for action in run.actions():
        proc = action.get("proc")
        if proc is not None:
            account_process(processes.setdefault(proc, {"events": 0}), action)
        produced.see(action)
        if action["kind"] in _TALKS and "target" in action:
            _account_talk(talks, action)
    rows = [_process(proc, processes[proc]) for proc in sorted(processes)]
    by_proc = {row["proc"]: row for row in rows}
    return {
        "_type": STATEMENT,
        "subject": produced.subjects() or [_log(run)],
        "predicateType": PREDICATE,
        "predicate": {
            "monitor": {"type": MONITOR, "tracePolicy": _policy(run)},
            "monitoredProcess": _monitored(run),
            "monitorLog": {
                "process": rows,
                "network": [_talk(talk, by_proc) for talk in talks.values()],
                "fileAccess": produced.accesses(),
            },
            "metadata": _metadata(run),
            "capsule_log": {
                "run": run.id,
                "verdict": run.report.verdict.name.lower(),
                "head": run.report.head,
                "publicKey": run.report.public_key,
                "records": run.report.records,
                "authenticatedThrough": run.report.authenticated_through,
            },
        },
    }


def _policy(run: Run) -> Json:
    """What was to be seen: which system calls, and how strace was started."""
    kept = ("syscalls", "strace", "imported")
    return {name: run.start[name] for name in kept if name in run.start}


def _monitored(run: Run) -> Json:
    origin = run.origin
    try:
        host = uuid.UUID(str(origin.get("boot_id"))).urn
    except ValueError:
        host = f"dns:{origin.get('host') or 'unknown'}"  # RFC 4501
    how = "import" if "imported" in run.start else "trace"
    found = {"hostID": host, "type": f"{MONITOR}#{how}", "event": run.id}
    for name in ("argv", "cwd", "uid", "host", "kernel"):
        if name in origin:
            found[name] = origin[name]
    if origin and "exit" in run.end:
        found["exit"] = run.end["exit"]
    return found


def _metadata(run: Run) -> Json:
    """When the run began and ended; of an import nobody can say."""
    if not run.origin:
        return {}
    stamps = {"buildStartedOn": run.start.get("time_ns"), "buildFinishedOn": run.end.get("time_ns")}
    return {name: rfc3339(ts_ns) for name, ts_ns in stamps.items() if ts_ns is not None}


def _process(proc: int, facts: Json) -> Json:
    """An entry of `process`: a row of the table `processes`."""
    found = {"proc": proc} | {name: facts[name] for name in PROCESSES if name in facts}
    for name in ("started", "last_seen"):
        if name in found:
            found[name] = rfc3339(found[name])
    return {name: value for name, value in found.items() if value is not None}


def _account_talk(talks: dict[tuple[Any, ...], Json], action: Json) -> None:
    key = (action.get("proc"), action["kind"], action["target"])
    talk = talks.setdefault(key, {"count": 0, "bytes": 0, "failed": 0})
    talk["count"] += action["count"]
    talk["bytes"] += action.get("bytes", 0)
    talk["failed"] += sum(action.get("errors", {}).values())
    talk.setdefault("key", key)


def _talk(talk: Json, by_proc: dict[Any, Json]) -> Json:
    """An entry of `network`, in the shape that runtime-trace v0.2 recommends."""
    proc, kind, target = talk.pop("key")
    address = addresses.parse(target)
    found: Json = {"address": target, "activity": kind, **talk}
    if address.ip is not None:
        found |= {"ip": address.ip, "port": address.port}
    if proc in by_proc:
        row = by_proc[proc]
        found["invokingProcess"] = {key: row[key] for key in ("proc", "pid", "exe") if key in row}
    return found


def _log(run: Run) -> Json:
    """The log as a resource: its records, a rotated log's files as one."""
    digest = hashlib.sha256()
    for line in run.lines():
        digest.update(line)
        digest.update(b"\n")
    return {"name": run.path.name, "uri": uri(bytes(run.path.absolute())),
            "digest": {"sha256": digest.hexdigest()}}  # fmt: skip

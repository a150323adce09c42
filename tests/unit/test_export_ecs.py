"""ecs: every field is one of ECS 9.4 and of its type, whatever the Action.

`FIELDS` says the type that ECS gives each field that we write; what is below `capsule` is ours.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capsule.export.ecskinds import KINDS
from capsule.syscalls import KINDS as ACTION_KINDS
from tests.exporting import HOSTILE, bodies, body, every_kind, exported, json_lines, make_run

FIELDS = {
    "@timestamp": "date", "ecs.version": "keyword", "tags": "keywords", "error.code": "keyword",
    "event.kind": "keyword", "event.module": "keyword", "event.dataset": "keyword",
    "event.category": "keywords", "event.type": "keywords", "event.action": "keyword",
    "event.id": "keyword", "event.sequence": "long", "event.start": "date", "event.end": "date",
    "event.duration": "long", "event.outcome": "keyword",
    "host.hostname": "keyword", "host.name": "keyword", "host.boot.id": "keyword",
    "host.os.type": "keyword", "host.os.family": "keyword", "host.os.kernel": "keyword",
    "observer.type": "keyword", "observer.vendor": "keyword", "observer.product": "keyword",
    "observer.version": "keyword", "user.id": "keyword",
    "process.entity_id": "keyword", "process.pid": "long", "process.executable": "keyword",
    "process.name": "keyword", "process.args": "keywords", "process.args_count": "long",
    "process.command_line": "wildcard", "process.working_directory": "keyword",
    "process.start": "date", "process.end": "date", "process.exit_code": "long",
    "process.parent.entity_id": "keyword", "process.parent.pid": "long",
    "file.path": "keyword", "file.directory": "keyword", "file.name": "keyword",
    "file.extension": "keyword", "file.type": "keyword", "file.target_path": "keyword",
    "network.type": "keyword", "network.bytes": "long", "network.direction": "keyword",
    "source.address": "keyword", "source.ip": "ip", "source.port": "long",
    "destination.address": "keyword", "destination.ip": "ip", "destination.port": "long",
    "server.address": "keyword", "server.ip": "ip", "server.port": "long",
}  # fmt: skip

EXPECTED_TYPES = {
    "driver": {"change", "end", "info", "start"},
    "file": {"access", "change", "creation", "deletion", "info"},
    "host": {"access", "change", "end", "info", "start"},
    "network": {"access", "allowed", "connection", "denied", "end", "info", "protocol", "start"},
    "process": {"access", "change", "end", "info", "start"},
}
"""event.category → the event.type words that ECS expects with it."""


def _date(value: Any) -> bool:
    return value[-1] == "Z" and bool(datetime.datetime.fromisoformat(value[:26]))


CHECKS: dict[str, Callable[[Any], bool]] = {
    "keyword": lambda value: isinstance(value, str),
    "wildcard": lambda value: isinstance(value, str),
    "keywords": lambda value: all(isinstance(item, str) for item in value),
    "long": lambda value: isinstance(value, int) and -(2**63) <= value < 2**63,
    "ip": lambda value: bool(ipaddress.ip_address(value)),
    "date": _date,
}


def leaves(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def faults(document: dict[str, Any]) -> list[str]:
    ours = {name: value for name, value in document.items() if name != "capsule"}
    found = [f"{name}: {value!r}" for name, value in leaves(ours)
             if name not in FIELDS or not CHECKS[FIELDS[name]](value)]  # fmt: skip
    event = document["event"]
    if not set(event["type"]) <= EXPECTED_TYPES[event["category"][0]]:
        found.append(f"{event['category']} {event['type']}")
    return found


def test_every_kind_is_mapped() -> None:
    assert set(KINDS) == set(ACTION_KINDS)


def test_every_kind_holds(tmp_path: Path) -> None:
    documents = json_lines(exported("ecs", make_run(tmp_path / "a.jsonl", every_kind())))
    assert len(documents) == len(every_kind())
    assert {text for document in documents for text in faults(document)} == set()


@pytest.mark.parametrize("harm", [{"@timestamp": "x"}, {"proces": 1}, {"server": {"ip": "a"}}])
def test_what_is_wrong_is_found(tmp_path: Path, harm: dict[str, Any]) -> None:
    run = make_run(tmp_path / "a.jsonl", [body("net.listen", target="[::]:80")])
    (document,) = json_lines(exported("ecs", run))
    assert faults(document) == []
    with pytest.raises(AssertionError):
        try:
            assert faults(document | harm) == []
        except ValueError as error:
            raise AssertionError from error


@given(st.lists(bodies, min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_anything_a_log_can_hold(tmp_path: Path, acts: list[dict[str, Any]]) -> None:
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    documents = json_lines(exported("ecs", make_run(path, acts)))
    for document, act in zip(documents, acts, strict=True):
        assert faults(document) == []
        kept = {key: act[key] for key in act if key in document["capsule"]}
        assert kept == {key: document["capsule"][key] for key in kept}


def test_what_a_document_says(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a.jsonl", [
        body("proc.exec", target="/bin/sh", argv=["sh", "-c", "a b"], cwd="/w"),
        body("file.write", target="/w/a.tar.gz", bytes=9, errors={"ENOSPC": 1}, count=2),
        body("net.connect", target="10.0.0.1:443", errors={"ECONNREFUSED": 1}),
        body("file.open", target=HOSTILE),
        body("proc.exit", status=3),
    ])  # fmt: skip
    exec_, write, connect, hostile, exit_ = json_lines(exported("ecs", run))
    assert exec_["process"]["command_line"] == "sh -c 'a b'"
    assert write["file"] == {"path": "/w/a.tar.gz", "directory": "/w", "name": "a.tar.gz",
                             "extension": "gz"}  # fmt: skip
    assert write["event"]["outcome"] == "success"  # one of two was
    assert write["@timestamp"] == "2026-01-01T00:00:00.000000000Z"
    assert write["event"]["duration"] == 1500
    assert connect["event"]["outcome"] == "failure"
    assert connect["error"] == {"code": "ECONNREFUSED"}
    assert connect["destination"] == {"address": "10.0.0.1", "ip": "10.0.0.1", "port": 443}
    assert hostile["file"]["path"] == HOSTILE
    assert exit_["process"]["exit_code"] == 3

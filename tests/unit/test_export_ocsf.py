"""ocsf: each event holds against the published schema, whatever the Action."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from capsule.export.ocsfkinds import KINDS, OTHER, VERSION, Class
from capsule.syscalls import KINDS as ACTION_KINDS
from tests.exporting import HOSTILE, RUN, bodies, body, every_kind, exported, json_lines, make_run

SCHEMA = get_ocsf_schema(version=VERSION)
SCHEMAS = OcsfJsonSchemaEmbedded(SCHEMA)


@functools.cache
def validator(class_uid: int) -> jsonschema.Draft202012Validator:
    name = SCHEMAS.lookup_class_name_from_uid(class_uid=class_uid)
    schema = SCHEMAS.get_class_schema(class_name=name, profiles=["host"])
    return jsonschema.Draft202012Validator(schema)


def faults(event: dict[str, Any]) -> list[str]:
    assert event["metadata"]["profiles"] == ["host"]
    return [error.message for error in validator(event["class_uid"]).iter_errors(event)]


def test_every_kind_is_mapped() -> None:
    assert set(KINDS) == set(ACTION_KINDS)


def test_names_are_those_of_the_schema() -> None:
    for one in {form for form, _ in KINDS.values()}:
        (found,) = (c for c in SCHEMA["classes"].values() if c["uid"] == one.uid)
        assert found["caption"] == one.name
        activities = found["attributes"]["activity_id"]["enum"]
        assert {n: activities[str(n)]["caption"] for n in one.activities} == dict(one.activities)
    used = {(form, activity) for form, activity in KINDS.values() if activity != OTHER}
    assert all(named(form, activity) for form, activity in used)


def named(form: Class, activity: int) -> bool:
    return activity in form.activities


def test_every_kind_holds_against_the_schema(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a.jsonl", every_kind())
    events = json_lines(exported("ocsf", run))
    assert len(events) == len(every_kind())
    assert {text for event in events for text in faults(event)} == set()
    assert {event["class_uid"] for event in events} >= {1001, 1003, 1004, 1007, 4001}


@pytest.mark.parametrize("harm", [{"time": "now"}, {"class": 1}, {"file": {"name": "x"}}])
def test_the_schema_finds_what_is_wrong(tmp_path: Path, harm: dict[str, Any]) -> None:
    run = make_run(tmp_path / "a.jsonl", [body("file.read", target="/x")])
    (event,) = json_lines(exported("ocsf", run))
    assert faults(event) == []
    assert faults(event | harm)


@given(st.lists(bodies, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_anything_a_log_can_hold(tmp_path: Path, acts: list[dict[str, Any]]) -> None:
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    events = json_lines(exported("ocsf", make_run(path, acts)) or b"\n") if acts else []
    assert len(events) == len(acts)
    for event, act in zip(events, acts, strict=True):
        assert faults(event) == []
        assert event["count"] == act["count"]
        assert event["unmapped"].get("target") == act.get("target")


def test_what_a_process_does_is_told_of_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a.jsonl", [
        body("proc.exec", target="/bin/sh", argv=["sh", "-c", "a b"], cwd="/w", parent=9, ppid=8),
        body("file.rename", target="/w/a.txt", to="/w/b"),
        body("net.recv", target="[::1]:53", bytes=5),
        body("proc.spawn", child=2, child_pid=101),
        body("proc.exit", proc=2, pid=101, status=3),
    ])  # fmt: skip
    launch, rename, recv, spawn, exit_ = json_lines(exported("ocsf", run))
    assert launch["type_name"] == "Process Activity: Launch"
    assert launch["process"] == {
        "uid": f"{RUN}/1", "pid": 100, "name": "sh", "cmd_line": "sh -c 'a b'",
        "file": {"name": "sh", "type_id": 1, "path": "/bin/sh", "parent_folder": "/bin"},
        "working_directory": "/w", "user": {"uid": "1000"}, "created_time": 1_767_225_600_000,
        "parent_process": {"uid": f"{RUN}/9", "pid": 8},
    }  # fmt: skip
    assert rename["file"]["path"] == "/w/a.txt"
    assert rename["file_result"]["path"] == "/w/b"
    assert rename["actor"]["process"] == launch["process"]
    assert recv["src_endpoint"] == {"ip": "::1", "port": 53}
    assert recv["traffic"] == {"bytes": 5, "bytes_in": 5}
    assert spawn["process"]["pid"] == 101
    assert exit_["exit_code"] == 3
    assert exit_["process"]["parent_process"]["pid"] == 100


def test_a_hostile_name_comes_back_whole(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a.jsonl", [body("file.open", target=HOSTILE)])
    (event,) = json_lines(exported("ocsf", run))
    assert event["file"]["path"] == HOSTILE

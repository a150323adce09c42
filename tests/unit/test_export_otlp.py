"""otlp: requests that OpenTelemetry's own protobufs take."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import orjson
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.exporting import HOSTILE, T0, bodies, body, every_kind, exported, make_run

IDS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}


def with_bytes(value: Any) -> Any:
    """OTLP's JSON with the ids as protobuf's own JSON has bytes: base64 and not hex."""
    if isinstance(value, list):
        return [with_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, item in value.items():
        if name in IDS:
            assert re.fullmatch(rf"[0-9a-f]{{{IDS[name]}}}", item)
            assert set(item) != {"0"}
            found[name] = base64.b64encode(bytes.fromhex(item)).decode()
        else:
            found[name] = with_bytes(item)
    return found


def taken(data: bytes) -> tuple[list[Any], list[Any]]:
    """The log records and the spans that the protobufs hold after parsing each line."""
    records, spans = [], []
    for line in data.splitlines():
        request = with_bytes(orjson.loads(line))
        if "resourceLogs" in request:
            logs = json_format.ParseDict(request, ExportLogsServiceRequest())
            records += [
                r for rl in logs.resource_logs for sl in rl.scope_logs for r in sl.log_records
            ]
        else:
            traces = json_format.ParseDict(request, ExportTraceServiceRequest())
            spans += [s for rs in traces.resource_spans for ss in rs.scope_spans for s in ss.spans]
    return records, spans


def plain(attributes: Any) -> dict[str, Any]:
    return {
        a.key: getattr(a.value, a.value.WhichOneof("value") or "string_value") for a in attributes
    }


def test_every_kind_is_taken(tmp_path: Path) -> None:
    acts = every_kind()
    records, spans = taken(exported("otlp", make_run(tmp_path / "a.jsonl", acts)))
    assert [record.event_name for record in records] == [act["kind"] for act in acts]
    assert {span.name for span in spans} == {"sh"}
    big = [plain(record.attributes).get("capsule.bytes") for record in records]
    assert 2**63 - 1 in big
    assert any(record.body.string_value.endswith(HOSTILE) for record in records)


@given(st.lists(bodies, min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_anything_a_log_can_hold(tmp_path: Path, acts: list[dict[str, Any]]) -> None:
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    records, spans = taken(exported("otlp", make_run(path, acts)))
    assert len(records) == len(acts)
    for record, act in zip(records, acts, strict=True):
        said = plain(record.attributes)
        assert said["capsule.count"] == act["count"]
        assert said.get("capsule.target") == act.get("target")
    assert len({span.span_id for span in spans}) == len(spans) or "proc.exit" in str(acts)


def test_spans_are_the_tree_of_processes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a.jsonl", [
        body("proc.exec", target="/bin/sh", argv=["sh", "-c", "x"], cwd="/w", ppid=7),
        body("proc.spawn", child=2, child_pid=101),
        body("proc.exec", proc=2, pid=101, exe="/bin/ls", target="/bin/ls", argv=["ls"], parent=1),
        body("proc.exec", proc=3, pid=102, exe="/bin/true", target="/bin/true", argv=["true"]),
        body("proc.exit", proc=3, pid=102, exe="/bin/true", status=0),
        body("proc.exit", proc=2, pid=101, exe="/bin/ls", signal="SIGKILL", last_ns=T0 + 9000),
        body("proc.spawn", child=3, child_pid=102),  # the child had been there before its fork
    ])  # fmt: skip
    records, spans = taken(exported("otlp", run))
    by_name = {span.name: span for span in spans}
    assert sorted(by_name) == ["ls", "sh", "true"] and len(spans) == 3
    shell = by_name["sh"]
    assert shell.parent_span_id == b""
    assert by_name["ls"].parent_span_id == by_name["true"].parent_span_id == shell.span_id
    assert {span.trace_id for span in spans} == {record.trace_id for record in records}
    assert by_name["ls"].status.message == "SIGKILL"
    assert by_name["ls"].end_time_unix_nano == T0 + 9000
    assert by_name["true"].status.code == 1
    assert plain(shell.attributes)["process.command_line"] == "sh -c x"
    assert [event.name for event in shell.events] == ["proc.exec"]
    assert records[2].span_id == by_name["ls"].span_id

"""perfetto: parses by the published protobuf, and keeps the rules by which it is drawn.

trace_processor_shell is neither on PyPI nor in Debian, so that `Replay` stands for what it does
with track events: packets sorted by time, one stack of slices a track, descriptors before events.
Where a trace_processor_shell is in PATH, it is asked too.
"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from tests.exporting import HOSTILE, T0, bodies, body, every_kind, exported, make_run


class Replay:
    """Slices, instants and counters of a trace, as a viewer arrives at them."""

    def __init__(self, data: bytes) -> None:
        trace = pb.Trace()
        trace.ParseFromString(data)
        self.tracks: dict[int, Any] = {}
        self.slices: list[tuple[str, str, int, int]] = []  # track, name, begin, end
        self.instants: Counter[str] = Counter()
        self.counters: defaultdict[str, list[float]] = defaultdict(list)
        self.events: list[Any] = []
        self.flows: Counter[int] = Counter()
        for packet in trace.packet:
            assert packet.trusted_packet_sequence_id
            if packet.HasField("track_descriptor"):
                self._described(packet.track_descriptor)
            elif packet.HasField("track_event"):
                assert packet.track_event.track_uuid in self.tracks
                self.events.append(packet)
        stacks: defaultdict[int, list[Any]] = defaultdict(list)
        for packet in sorted(self.events, key=lambda packet: packet.timestamp):
            self._event(packet, stacks)
        self.unfinished = [packet.track_event.name for stack in stacks.values() for packet in stack]

    def _described(self, track: Any) -> None:
        assert not track.HasField("parent_uuid") or track.parent_uuid in self.tracks
        self.tracks[track.uuid] = track

    def _event(self, packet: Any, stacks: dict[int, list[Any]]) -> None:
        event = packet.track_event
        self.flows.update(event.flow_ids)
        self.flows.subtract(event.terminating_flow_ids)
        track = self.tracks[event.track_uuid]
        stack = stacks[event.track_uuid]
        if event.type == event.TYPE_SLICE_BEGIN:
            stack.append(packet)
        elif event.type == event.TYPE_SLICE_END:
            begun = stack.pop()  # IndexError: an end without a begin
            assert not (stack and track.name == "Actions"), "slices of Actions overlap"
            where = track.name or track.process.process_name
            self.slices.append((where, begun.track_event.name, begun.timestamp, packet.timestamp))
        elif event.type == event.TYPE_INSTANT:
            self.instants[event.name] += 1
        else:
            assert event.type == event.TYPE_COUNTER
            self.counters[track.name].append(event.counter_value)


def replay(path: Path, acts: list[dict[str, Any]]) -> Replay:
    return Replay(exported("perfetto", make_run(path, acts)))


def test_processes_programs_and_actions(tmp_path: Path) -> None:
    ms = 1_000_000
    at = [{"first_ns": T0 + n * ms, "last_ns": T0 + n * ms} for n in range(10)]
    shell, child = {"proc": 1, "pid": 100}, {"proc": 2, "pid": 101}
    found = replay(tmp_path / "a.jsonl", [
        body("proc.exec", target="/bin/sh", argv=["sh"], **shell, **at[0]),
        body("proc.spawn", child=2, child_pid=101, target="pid:101", **shell, **at[1]),
        body("file.read", target="/x", bytes=5, **shell, first_ns=T0, last_ns=T0 + 3 * ms),
        body("file.read", target="/y", bytes=2, **shell, first_ns=T0 + ms, last_ns=T0 + 4 * ms),
        body("file.close", target="/x", **child, **at[2]),
        body("proc.exec", target="/bin/ls", exe="/bin/ls", argv=["ls", HOSTILE], **child, **at[3]),
        body("proc.exit", exe="/bin/ls", status=0, **child, **at[5]),
    ])  # fmt: skip
    assert sorted(found.slices) == [
        ("Actions", "file.read x", T0, T0 + 3 * ms),
        ("Actions", "file.read y", T0 + ms, T0 + 4 * ms),
        ("ls", "ls", T0 + 3 * ms, T0 + 5 * ms),
        ("ls", "sh", T0 + 2 * ms, T0 + 3 * ms),
    ]
    assert found.unfinished == ["sh"]
    assert found.instants["file.close x"] == 1
    assert found.counters == {"bytes read": [5, 7], "processes": [1, 2, 1]}
    assert set(found.flows.values()) == {0}
    pids = {t.process.pid: list(t.process.cmdline) for t in found.tracks.values() if t.process.pid}
    assert pids == {100: ["sh"], 101: ["ls", HOSTILE]}


def test_a_pid_that_is_used_again_does_not_join_two_processes(tmp_path: Path) -> None:
    found = replay(tmp_path / "a.jsonl", [
        body("proc.exec", target="/bin/sh", argv=["sh"]),
        body("proc.exit", status=0),
        body("proc.exec", target="/bin/sh", argv=["sh"], proc=2),
    ])  # fmt: skip
    named = sorted((t.process.pid, t.name) for t in found.tracks.values() if t.name != "Actions")
    assert named == [(0, "processes"), (0, "sh 100"), (100, "")]


def test_every_kind_is_shown_with_what_it_says(tmp_path: Path) -> None:
    acts = [body("proc.exec", target="/bin/sh"), *every_kind()]
    found = replay(tmp_path / "a.jsonl", acts)
    annotated = [packet.track_event.debug_annotations for packet in found.events]
    notes = [{note.name: note.int_value or note.string_value for note in one} for one in annotated]
    shown = {note["seq"]: note for note in notes if "seq" in note}
    assert len(shown) == sum("first_ns" in act for act in acts)
    assert {note.get("target") for note in shown.values()} >= {HOSTILE, "127.0.0.1:80"}
    assert max(note.get("bytes", 0) for note in shown.values()) == 2**63 - 1


@given(st.lists(bodies, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_anything_a_log_can_hold(tmp_path: Path, acts: list[dict[str, Any]]) -> None:
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    for act in acts:
        if "first_ns" in act:
            act["last_ns"] = max(act.get("last_ns", 0), act["first_ns"])
    found = replay(path, acts)
    assert all(begin <= end for _, _, begin, end in found.slices)


def test_trace_processor_opens_it(tmp_path: Path) -> None:
    shell = shutil.which("trace_processor_shell")
    if shell is None:
        pytest.skip("no trace_processor_shell: neither PyPI nor Debian has it")
    path = tmp_path / "t.pftrace"
    path.write_bytes(exported("perfetto", make_run(tmp_path / "a.jsonl", every_kind())))
    errors_sql = "SELECT sum(value) FROM stats WHERE severity = 'error'"
    sql = tmp_path / "q.sql"
    sql.write_text(f"SELECT (SELECT count(*) FROM slice), ({errors_sql})")
    done = subprocess.run([shell, "-q", sql, path], capture_output=True, check=True, text=True)
    slices, errors = done.stdout.splitlines()[1].split(",")
    assert int(slices) > 0
    assert int(errors) == 0

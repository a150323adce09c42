"""perfetto: a timeline for ui.perfetto.dev and trace_processor (protos/perfetto/trace).

Each process has a track: a slice for each program that it ran, with a flow from the fork that
made it, and below it tracks of its Actions: a slice from the first to the last call of an Action,
an instant where that is one moment. Actions of a process may overlap, slices of a track may not:
each goes to the first track of that name that is free, and the UI draws tracks of one name as one.
Threads have tracks of their own, with their lives. Counters add up bytes and living processes.

The log is read twice, since a process has to be named before its events.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blake3 import blake3

from capsule.export.options import Options
from capsule.export.runs import Run
from capsule.export.tables import PROCESSES, process_rows

BATCH_PACKETS = 2048
SEQUENCE = 1
BOOTTIME, REALTIME = 6, 1
"""Clocks by the numbers of Perfetto's BuiltinClock."""

_COUNTED = {"file.read": "bytes read", "file.write": "bytes written", "net.send": "bytes sent",
            "net.recv": "bytes received"}  # fmt: skip
_SHOWN = ("seq", "target", "to", "count", "bytes", "status", "signal", "argv", "tags")


def write(runs: Sequence[Run], options: Options) -> Iterator[bytes]:
    """Return the packets of a Trace, which may be cut and joined between any two."""
    del options
    for run in runs:
        timeline = Timeline(run)
        processes = [dict(zip(PROCESSES, row, strict=True)) for row in process_rows([run])]
        stamps = [process["started"] for process in processes if process["started"] is not None]
        timeline.start(min(stamps, default=run.time_ns))
        for process in processes:
            timeline.describe(process)
        for action in run.actions():
            timeline.add(action)
            if len(timeline.trace.packet) >= BATCH_PACKETS:
                yield timeline.drain()
        yield timeline.drain()


def uuid(*what: object) -> int:
    """A number of 64 bits for a track or a flow, the same in every export of the run."""
    return int.from_bytes(blake3("\0".join(map(str, what)).encode()).digest()[:8])


class Timeline:
    """Packets of one run: `start`, `describe` each process, `add` each Action.

    `drain` now and then.
    """

    def __init__(self, run: Run) -> None:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

        self._pb = pb
        self.trace = pb.Trace()
        self._run = run.id
        self._pids: set[int] = set()
        self._lanes: dict[int, list[int]] = {}  # proc → the end of each track's last slice
        self._born: dict[int, int] = {}  # proc → its first stamp
        self._open: set[int] = set()  # processes that a slice is open of
        self._tracks: dict[tuple[object, ...], int] = {}
        self._made = 0
        self._flows: set[int] = set()  # children whose fork has been seen
        self._totals: dict[str, int] = {}
        self._counted_ns = 0

    def drain(self) -> bytes:
        """Return what was added since the last call."""
        data: bytes = self.trace.SerializeToString()
        self.trace = self._pb.Trace()  # Clear() would keep the memory of every packet
        return data

    # -- what is there ----------------------------------------------------------------------

    def start(self, time_ns: int) -> None:
        """Say that our stamps are wall-clock times; what has no stamp is not shown."""
        packet = self.trace.packet.add(trusted_packet_sequence_id=SEQUENCE, timestamp=time_ns)
        packet.sequence_flags = self._pb.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        for clock in (BOOTTIME, REALTIME):
            packet.clock_snapshot.clocks.add(clock_id=clock, timestamp=time_ns)

    def describe(self, process: Mapping[str, Any]) -> None:
        """Make the track of a process, by its row of the table `processes`."""
        track = self._descriptor(uuid(self._run, process["proc"]))
        if process["started"] is not None:
            self._born[process["proc"]] = process["started"]
        name = posixpath.basename(process["exe"] or "") or "?"
        pid = process["pid"]
        if pid is None or pid in self._pids:  # a pid that is used again would join the two
            track.name = f"{name} {pid}"
            return
        self._pids.add(pid)
        track.process.pid = pid
        track.process.process_name = name
        track.process.cmdline.extend(process["argv"] or ())

    def _descriptor(self, number: int) -> Any:
        descriptor = self.trace.packet.add(trusted_packet_sequence_id=SEQUENCE).track_descriptor
        descriptor.uuid = number
        return descriptor

    def _track(self, *what: object, name: str, parent: int | None = None) -> int:
        number = self._tracks.get(what)
        if number is None:
            self._made += 1  # a track that is forgotten at an exit is not taken up again
            number = self._tracks[what] = uuid(self._run, *what, self._made)
            descriptor = self._descriptor(number)
            descriptor.name = name
            if parent is not None:
                descriptor.parent_uuid = parent
        return number

    # -- what happens -----------------------------------------------------------------------

    def add(self, action: Mapping[str, Any]) -> None:
        """Show an Action. One without a stamp, or of no process, has no place and is left out."""
        proc, first_ns = action.get("proc"), action.get("first_ns")
        if proc is None or first_ns is None:
            return
        kind, last_ns = action["kind"], action.get("last_ns", first_ns)
        life = uuid(self._run, proc)
        if proc not in self._open:
            born_ns = min(action.get("started_ns", first_ns), self._born.pop(proc, first_ns))
            self._begin(life, born_ns, action.get("exe"), action.get("argv"), proc)
        elif kind == "proc.exec" and "errors" not in action:
            self._event(life, first_ns, self._pb.TrackEvent.TYPE_SLICE_END)
            self._begin(life, first_ns, action.get("exe"), action.get("argv"), proc)
        self._show(action, proc, life, first_ns, last_ns)
        if kind in ("thread.spawn", "thread.exit") and "tid" in action:
            self._thread(action, first_ns)
        elif kind == "proc.exit":
            self._event(life, last_ns, self._pb.TrackEvent.TYPE_SLICE_END)
            self._open.discard(proc)
            self._count("processes", -1, last_ns)
            for lane in range(len(self._lanes.pop(proc, ())) or 1):
                self._tracks.pop((proc, "actions", lane), None)
        if kind in _COUNTED and "bytes" in action:
            self._count(_COUNTED[kind], action["bytes"], last_ns)

    def _begin(
        self, track: int, ts_ns: int, exe: str | None, argv: list[str] | None, proc: int
    ) -> None:
        """Begin the slice of a program."""
        event = self._event(track, ts_ns, self._pb.TrackEvent.TYPE_SLICE_BEGIN)
        event.name = posixpath.basename(exe or "") or "?"
        event.categories.append("program")
        if argv:
            event.debug_annotations.add(name="argv", string_value=shlex.join(argv))
        if proc not in self._open:
            self._open.add(proc)
            self._count("processes", 1, ts_ns)
            if proc in self._flows:
                self._flows.discard(proc)
                event.terminating_flow_ids.append(uuid(self._run, "fork", proc))

    def _show(
        self, action: Mapping[str, Any], proc: int, life: int, first_ns: int, last_ns: int
    ) -> None:
        types = self._pb.TrackEvent
        instant = first_ns == last_ns
        lane = 0 if instant else self._lane(proc, first_ns, last_ns)
        track = self._track(proc, "actions", lane, name="Actions", parent=life)
        event = self._event(
            track, first_ns, types.TYPE_INSTANT if instant else types.TYPE_SLICE_BEGIN
        )
        target = action.get("target")
        kind = action["kind"]
        event.name = f"{kind} {posixpath.basename(target) or target}" if target else kind
        event.categories.append(kind.partition(".")[0])
        notes = event.debug_annotations
        for name in _SHOWN:
            value = action.get(name)
            if isinstance(value, int):
                notes.add(name=name, int_value=value)
            elif value is not None:
                text = value if isinstance(value, str) else " ".join(value)
                notes.add(name=name, string_value=text)
        for name, times in action.get("errors", {}).items():
            notes.add(name=f"errors.{name}", int_value=times)
        if "child" in action:
            self._flows.add(action["child"])
            event.flow_ids.append(uuid(self._run, "fork", action["child"]))
        if not instant:
            self._event(track, last_ns, types.TYPE_SLICE_END)

    def _lane(self, proc: int, first_ns: int, last_ns: int) -> int:
        """The first track of the process's Actions whose last slice has ended by then."""
        ends = self._lanes.setdefault(proc, [])
        for lane, end_ns in enumerate(ends):
            if end_ns <= first_ns:
                ends[lane] = last_ns
                return lane
        ends.append(last_ns)
        return len(ends) - 1

    def _thread(self, action: Mapping[str, Any], ts_ns: int) -> None:
        tid, types = action["tid"], self._pb.TrackEvent
        what = (action["proc"], "thread", tid)
        if action["kind"] == "thread.exit":
            if what in self._tracks:
                self._event(self._tracks.pop(what), ts_ns, types.TYPE_SLICE_END)
            return
        if what in self._tracks:  # its end was not seen
            self._event(self._tracks.pop(what), ts_ns, types.TYPE_SLICE_END)
        track = self._tracks[what] = uuid(self._run, *what, ts_ns)
        descriptor = self._descriptor(track)
        descriptor.name = f"Thread {tid}"
        descriptor.parent_uuid = uuid(self._run, action["proc"])
        self._event(track, ts_ns, types.TYPE_SLICE_BEGIN).name = f"thread {tid}"

    def _count(self, name: str, more: int, ts_ns: int) -> None:
        """Add to a counter. Actions come nearly by their ends; a counter's time never goes back."""
        self._counted_ns = max(self._counted_ns, ts_ns)
        number = self._tracks.get((name,))
        if number is None:
            number = self._tracks[(name,)] = uuid(self._run, name)
            descriptor = self._descriptor(number)
            descriptor.name = name
            counter = self._pb.CounterDescriptor
            unit = counter.UNIT_COUNT if name == "processes" else counter.UNIT_SIZE_BYTES
            descriptor.counter.unit = unit
        self._totals[name] = self._totals.get(name, 0) + more
        event = self._event(number, self._counted_ns, self._pb.TrackEvent.TYPE_COUNTER)
        event.counter_value = self._totals[name]

    def _event(self, track: int, ts_ns: int, type_: int) -> Any:
        packet = self.trace.packet.add(timestamp=ts_ns, trusted_packet_sequence_id=SEQUENCE)
        event = packet.track_event
        event.type = type_
        event.track_uuid = track
        return event

"""The vocabulary: every record that crosses a boundary, and nothing else.

Two boundaries carry binary batches because they carry one entry per system call; their
layouts are fixed here. All integers are little-endian.

Event batch (parser → enricher), one blob:

    header   4s magic "CEB1" · u32 events · u32 spans · u32 heap bytes
    events   `events` x EVENT (88 bytes each, see `EVENT_FIELDS`)
    spans    `spans` x SPAN: u32 offset · u32 length, into the heap
    heap     raw bytes; every offset in this batch counts from its start

An event's arguments are `span_count` consecutive spans from `span_first`. Its texts
(`text`, `ret`, `ts`, `name`, `errno`) are offset and length into the heap; length 0 means
absent. A field's bytes are what strace wrote: nothing is unescaped or decoded here.

Fact batch (enricher → aggregator), one blob:

    header   4s magic "CFB1" · u32 rows · u32 strings · u32 heap bytes · u32 first · u32 forget
    rows     `rows` x FACT (48 bytes each, see `FACT_FIELDS`), in the order of the events
    strings  `strings` x SPAN: u32 offset · u32 length, into the heap
    heap     raw bytes: the new strings, and the rows' details

A string is sent once and known from then on by its number: this batch's strings have the
numbers `first`, `first` + 1, …; 0 is no string. Numbers are never used twice. After this
batch the receiver may forget every string whose number is below `forget`.

A row whose kind is PROCESS_FACT tells who a process is from here on (`amount` its pid or -1,
`target` its exe, `ts_ns` its effective uid or -1); one whose kind is PROCESS_GONE that the
process has ended and its number will not be seen again. Every other row is one event.

A row's detail is a list of fields, `DETAIL_FIELD` each followed by its value: bytes (type 0), an
i64 (1), or a list of bytes, each after its u32 length (2); see capsule/_detail.pyx.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass

NO_TIME = -(2**63)
"""`ts_ns` of an event whose line has no absolute stamp."""

NO_DURATION = -1
NO_PID = -1


class EventKind(enum.IntEnum):
    """What one event reports (strace(1), "OUTPUT")."""

    SYSCALL = 0
    SIGNAL = 1
    EXIT = 2
    KILLED = 3
    STOPPED = 4
    SUPERSEDED = 5
    NOTE = 6
    UNPARSED = 7


class EventFlag(enum.IntFlag):
    """Bits of EVENT's `flags`."""

    RETVAL = 1  # `retval` holds the value; without it the value is `?`, absent or over 64 bits
    JOINED = 2  # put together from an unfinished and a resumed half
    CORE = 4  # KILLED: "(core dumped)"
    INJECTED = 8  # the value was injected by strace
    ORPHAN = 16  # only one half of the call was ever seen
    SELF_NUMBER = 32  # killed by seccomp: the value is the call's own number, not a result
    TORN = 64  # other text broke the line; it may stand in the arguments


@dataclass(frozen=True, slots=True)
class Event:
    """One completed call, signal or exit; `None` (or an empty tuple) where the trace is silent.

    `line` is 1-based and names the line that opened the event. `args` are the raw top-level
    argument texts. Bytes are strace's own, so names that are not UTF-8 survive.
    """

    line: int
    pid: int | None
    ts: bytes | None
    ts_ns: int | None
    kind: EventKind
    name: bytes | None
    args: tuple[bytes, ...]
    ret: bytes | None
    retval: int | None
    errno: bytes | None
    dur_ns: int | None
    raw: bytes | None
    flags: EventFlag = EventFlag(0)


EVENT_MAGIC = b"CEB1"
EVENT_HEADER = struct.Struct("<4sIII")
EVENT_FIELDS = (
    # name, struct code
    ("line", "Q"),
    ("ts_ns", "q"),
    ("retval", "q"),
    ("dur_ns", "q"),
    ("pid", "i"),
    ("name_id", "H"),  # 1 + index into the parser's table of names; 0: not in the table
    ("kind", "B"),
    ("flags", "B"),
    ("text_off", "I"),  # the event without its prefix; of a note or unparsed line, all of it
    ("text_len", "I"),
    ("span_first", "I"),
    ("span_count", "I"),
    ("ret_off", "I"),
    ("ret_len", "I"),
    ("name_off", "I"),
    ("errno_off", "I"),
    ("ts_off", "I"),
    ("name_len", "H"),
    ("errno_len", "H"),
    ("ts_len", "H"),
    ("reserved0", "H"),
    ("reserved1", "I"),
)
EVENT = struct.Struct("<" + "".join(code for _, code in EVENT_FIELDS))
SPAN = struct.Struct("<II")
assert EVENT.size == 88


def read_events(batch: bytes | memoryview) -> Iterator[Event]:
    """Yield the events of one event batch, in order. For tools and tests, not for the hot path."""
    blob = bytes(batch)
    if not blob:
        return
    magic, n_events, n_spans, heap_len = EVENT_HEADER.unpack_from(blob)
    spans_at = EVENT_HEADER.size + n_events * EVENT.size
    heap_at = spans_at + n_spans * SPAN.size
    if magic != EVENT_MAGIC or heap_at + heap_len != len(blob):
        raise ValueError("not an event batch")
    heap = blob[heap_at:]
    spans = list(SPAN.iter_unpack(blob[spans_at:heap_at]))
    for row in EVENT.iter_unpack(blob[EVENT_HEADER.size : spans_at]):
        (line, ts_ns, retval, dur_ns, pid, _name_id, kind, flags, text_off, text_len, first, count,
         ret_off, ret_len, name_off, errno_off, ts_off, name_len, errno_len, ts_len, _, _,
        ) = row  # fmt: skip
        whole = kind in (EventKind.NOTE, EventKind.UNPARSED)
        yield Event(
            line=line,
            pid=None if pid == NO_PID else pid,
            ts=heap[ts_off : ts_off + ts_len] or None,
            ts_ns=None if ts_ns == NO_TIME else ts_ns,
            kind=EventKind(kind),
            name=heap[name_off : name_off + name_len] or None,
            args=tuple(heap[off : off + length] for off, length in spans[first : first + count]),
            ret=heap[ret_off : ret_off + ret_len] or None,
            retval=retval if flags & EventFlag.RETVAL else None,
            errno=heap[errno_off : errno_off + errno_len] or None,
            dur_ns=None if dur_ns == NO_DURATION else dur_ns,
            raw=heap[text_off : text_off + text_len] if whole else None,
            flags=EventFlag(flags),
        )


FACT_MAGIC = b"CFB1"
FACT_HEADER = struct.Struct("<4sIIIII")
FACT_FIELDS = (
    # name, struct code
    ("line", "Q"),
    ("ts_ns", "q"),
    ("amount", "q"),  # bytes read, written, mapped; -1: none
    ("proc", "I"),  # 0: no process is known
    ("target", "I"),  # string
    ("errno", "I"),  # string
    ("detail_off", "I"),
    ("detail_len", "I"),
    ("kind", "H"),  # index into syscalls.KINDS
    ("access", "B"),  # how a file was opened: 1 read, 2 write, 3 both
    ("flags", "B"),  # FactFlag
)
FACT = struct.Struct("<" + "".join(code for _, code in FACT_FIELDS))
assert FACT.size == 48

PROCESS_FACT = 0xFFFF
PROCESS_GONE = 0xFFFE
NO_AMOUNT = -1


class FactFlag(enum.IntFlag):
    """Bits of FACT's `flags`."""

    JOINED = 1  # the stamp is of the call's first half, so it may lie far back


DETAIL_FIELD = struct.Struct("<BBI")  # index into DETAIL_KEYS, type, length of the value
DETAIL_KEYS = (
    "path", "to", "argv", "argv_cut", "cwd", "root", "parent", "ppid", "interpreter", "blake3",
    "child", "child_pid", "tid", "flags", "status", "signal", "core", "sender", "code", "family",
    "redacted", "call", "text", "local", "unseen", "ns_pid", "fds", "cgroup", "namespaces",
    "started_ns", "setuid_ignored", "kept",
)  # fmt: skip
"""Names of an Action's own keys. Append only: their order is the order in the record."""

DetailValue = bytes | int | list[bytes]

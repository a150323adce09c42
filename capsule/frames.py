"""What is published: a message of two frames, `head` and `payload`. Pure.

    head      <topic> <seq> <number> <run>      ASCII, separated by single blanks
    payload   a record's exact line, without its newline; or an event, or JSON

`topic` begins the first frame, so ZeroMQ's prefix subscription works on it. `seq` is the
record's place in the log. `number` counts the messages of this very topic from 1, whether or
not somebody subscribed, so that a subscriber of any prefix sees by it what it has missed.

    action.<kind>                     an Action                  seq: the record's
    start gap checkpoint end          the other records          seq: the record's
    event.<name>                      a system call or signal    seq: line of the strace text
    stream.heartbeat stream.end       about the stream           seq: the last record's

docs/subscribe.md describes all of it for people who write a client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

HEARTBEAT = "stream.heartbeat"
END = "stream.end"
RECORD_TOPICS = ("action.", "checkpoint", "end", "gap", "start")
"""Prefixes that together mean every record, and nothing else."""

_RECORD = re.compile(rb'\{"seq":(\d+),"type":"(?:action","kind":"([^"\\ ]+)|(\w+))".*')
_EVENT = re.compile(rb'\{"line":(\d+).*?"kind":"(\w+)"(?:,"name":"([^"\\ ]+)")?.*')


@dataclass(frozen=True, slots=True)
class Frame:
    """One message, taken apart."""

    topic: str
    seq: int
    number: int
    run: str
    payload: bytes

    def facts(self) -> dict[str, Any]:
        """The payload of a `stream.` message: run, seq, head, log, host, boot_id, topics, …"""
        found: dict[str, Any] = orjson.loads(self.payload)
        return found


def pack_head(topic: bytes, seq: int, number: int, run: bytes) -> bytes:
    """The first frame of a message."""
    return b"%b %d %d %b" % (topic, seq, number, run)


def unpack(message: Sequence[bytes]) -> Frame:
    """Take a message apart. Raises ValueError for one that is none of ours."""
    head, payload = message
    topic, seq, number, run = head.decode("ascii").split(" ")
    return Frame(topic, int(seq), int(number), run, payload)


def records(lines: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """The records of whole lines of a log: (topic, seq, the line without its newline)."""
    for match in _RECORD.finditer(lines):
        seq, kind, name = match.groups()
        yield b"action." + kind if kind else name, int(seq), match[0]


def events(lines: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """The events of JSON lines (`capsule parse`): (topic, raw line's number, the JSON line).

    What has no name (an exit, a line that was not understood) has its kind for one.
    """
    for match in _EVENT.finditer(lines):
        line, kind, name = match.groups()
        yield b"event." + (name or kind), int(line), match[0]


def overlaps(prefix: bytes, begin: bytes) -> bool:
    """Whether a subscription to `prefix` can match topics that begin with `begin`."""
    return prefix.startswith(begin) or begin.startswith(prefix)

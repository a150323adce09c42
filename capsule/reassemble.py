"""What a subscriber makes of its messages: records without gap or duplicate, or word of the gap.

`Reassembler` is pure: messages in, items out; the log, where it can be reached, is a callable.

A stream is joined at its first heartbeat, which says how many messages of each topic there
have been. From there on a missing number is a loss. What was lost is read from the log if that
is possible. With every record subscribed to, a loss shows at the next message and records keep
their order; with a part of them it may show as late as the next heartbeat, and what is then
read from the log comes after newer records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from capsule.frames import END, RECORD_TOPICS, Frame, records


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the log, or one event (then `seq` is its line of the strace text).

    `line` are the record's exact bytes, without the newline.
    """

    topic: str
    seq: int
    run: str
    line: bytes

    @property
    def data(self) -> dict[str, Any]:
        """The record's members."""
        found: dict[str, Any] = orjson.loads(self.line)
        return found


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages did not arrive: `count` of them (None: unknown), found out at record `before`.

    `filled`: they were read from the log, and were the items just before this one.
    """

    run: str
    count: int | None
    before: int
    filled: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The run's stream is over. `seq` and `head` are of the log's last record."""

    run: str
    seq: int
    head: str
    complete: bool
    why: str | None


Item = Record | Gap | Ended

ReadLog = Callable[[dict[str, Any], int, int], Iterable[bytes] | None]
"""(a heartbeat's facts, first seq, last seq) → those lines of the run's log; None: out of reach."""


def no_log(facts: dict[str, Any], first: int, last: int) -> None:
    """A log that cannot be reached."""


class Reassembler:
    """Follows one publisher, run after run. `topics` are prefixes; none means every record.

    `from_start` delivers the records before the join as well, from the log; `missing_start` is
    set when that cannot be done.
    """

    def __init__(
        self,
        topics: Sequence[str] = (),
        *,
        from_start: bool = False,
        read_log: ReadLog = no_log,
    ) -> None:
        self.topics = tuple(topics) or RECORD_TOPICS
        self._from_start = from_start
        self._read_log = read_log
        # Whoever gets every record can go by the log's own sequence.
        self._gets_all = all(
            any(wanted.startswith(topic) for topic in self.topics) for wanted in RECORD_TOPICS
        )
        self.missing_start = False
        self._begin("")

    def _begin(self, run: str) -> None:
        self._run = run
        self._joined = False
        self._ended = False
        self._held: list[Frame] = []
        self._facts: dict[str, Any] = {}
        self._numbers: dict[str, int] = {}
        self._last_seq = -1
        self._sure_of = -1  # up to this record nothing is missing
        self._delivered: set[int] = set()  # after it

    @property
    def is_joined(self) -> bool:
        """Whether a heartbeat of the present run has been heard."""
        return self._joined

    def feed(self, frame: Frame) -> Iterator[Item]:
        """Take one message; yield what it lets through, in order.

        That may be all of the log, so it is read as it is asked for. All of it must be taken
        before the next message is fed.
        """
        if frame.run != self._run:
            if self._joined and not self._ended:
                yield Gap(self._run, None, frame.seq, filled=False)
            self._begin(frame.run)
        if frame.topic.startswith("stream."):
            facts = frame.facts()
            if not self._joined:
                yield from self._join(facts)
            yield from self._check(facts)
            if frame.topic == END:
                self._ended = True
                yield Ended(frame.run, frame.seq, facts["head"], facts["complete"], facts["why"])
        elif not self._wants(frame.topic):
            pass
        elif not self._joined:
            self._held.append(frame)
        elif frame.topic.startswith("event."):
            yield from self._take_event(frame)
        else:
            yield from self._take(frame)

    def _wants(self, topic: str) -> bool:
        # As ZeroMQ does: a blank ends the topic, so that "action.proc.exec " is that one only.
        return f"{topic} ".startswith(self.topics)

    def _join(self, facts: dict[str, Any]) -> Iterator[Item]:
        self._joined = True
        self._facts = facts
        seq = facts["seq"]
        replayed = False
        if self._from_start and seq >= 0:
            lines = self._read_log(facts, 0, seq)
            self.missing_start = lines is None
            if lines is not None:
                replayed = True
                yield from self._wanted_records(lines)
        held, self._held = self._held, []
        for frame in held:
            if frame.topic.startswith("event."):
                self._numbers[frame.topic] = frame.number
                yield _record(frame)
            elif not replayed:
                # All that is held came before this heartbeat, so the log has it too.
                yield _record(frame)
        self._numbers.update(facts["topics"])
        self._last_seq = self._sure_of = seq

    def _take_event(self, frame: Frame) -> Iterator[Item]:
        known = self._numbers.get(frame.topic, frame.number - 1)
        if frame.number > known + 1:
            yield Gap(self._run, frame.number - known - 1, frame.seq, filled=False)
        self._numbers[frame.topic] = frame.number
        yield _record(frame)

    def _take(self, frame: Frame) -> Iterator[Item]:
        known = self._numbers.get(frame.topic, 0)
        if frame.number <= known:
            return  # was read from the log before it arrived
        if frame.number > known + 1 or (self._gets_all and frame.seq != self._last_seq + 1):
            yield from self._recover(frame.seq - 1)
            known = self._numbers.get(frame.topic, 0)
            if frame.number > known + 1:
                yield Gap(self._run, frame.number - known - 1, frame.seq, filled=False)
        self._numbers[frame.topic] = frame.number
        self._last_seq = frame.seq
        self._delivered.add(frame.seq)
        yield _record(frame)

    def _check(self, facts: dict[str, Any]) -> Iterator[Item]:
        """Compare with a heartbeat: after it, everything up to its seq is settled."""
        self._facts = facts
        if self._missing(facts["topics"]):
            yield from self._recover(facts["seq"])
            missing = self._missing(facts["topics"])
            if missing:
                yield Gap(self._run, sum(missing.values()), facts["seq"], filled=False)
                for topic, count in missing.items():
                    self._numbers[topic] = self._numbers.get(topic, 0) + count
        self._last_seq = max(self._last_seq, facts["seq"])
        self._sure_of = facts["seq"]
        self._delivered.clear()

    def _missing(self, topics: dict[str, int]) -> dict[str, int]:
        return {
            topic: number - self._numbers.get(topic, 0)
            for topic, number in topics.items()
            if self._wants(topic) and number > self._numbers.get(topic, 0)
        }

    def _recover(self, last: int) -> Iterator[Item]:
        """Read from the log what has not arrived up to record `last`."""
        lines = self._read_log(self._facts, self._sure_of + 1, last)
        if lines is None:
            return
        count = 0
        for record in self._wanted_records(lines):
            if record.seq not in self._delivered:
                self._numbers[record.topic] = self._numbers.get(record.topic, 0) + 1
                count += 1
                yield record
        if count:
            yield Gap(self._run, count, last + 1, filled=True)
        self._last_seq = max(self._last_seq, last)
        self._sure_of = max(self._sure_of, last)
        self._delivered = {seq for seq in self._delivered if seq > self._sure_of}

    def _wanted_records(self, lines: Iterable[bytes]) -> Iterator[Record]:
        for line in lines:
            for topic, seq, text in records(line):
                if self._wants(name := topic.decode()):
                    yield Record(name, seq, self._run, text)


def _record(frame: Frame) -> Record:
    return Record(frame.topic, frame.seq, frame.run, frame.payload)

"""Checking one log with many processes: each takes a segment, their ends have to meet.

A worker believes what the first line of its segment says of the record before it, and checks
all that follows from that. The verifier then holds each segment's beginning against the end of
the one before, and judges the few records that need it, in order. Where anything does not fit,
the same bytes go through the ordinary verifier, which alone says what is wrong: the verdict
never depends on the number of processes.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from capsule import chain
from capsule._chain import BAD, MORE, Scanner
from capsule.records import open_log
from capsule.verify import Fault, Verifier

SEGMENT = 8 << 20
CHUNK = 1 << 18
_FIRST = re.compile(rb'\{"seq":(0|[1-9][0-9]{0,18}),"type":"')
_PREV = re.compile(rb',"prev":"([0-9a-f]{64})","hash":"[0-9a-f]{64}"\}$')


@dataclass(frozen=True, slots=True)
class State:
    """Where a scan stands. `unsigned`, `actions` and `count` count from the state before."""

    seq: int
    head: bytes
    unsigned: int
    actions: int
    count: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that holds in itself: what it assumed, its records to judge, its end."""

    first_seq: int
    first_prev: bytes
    controls: tuple[tuple[str, bytes, State], ...]
    end: State


def scan_segment(path: str, begin: int, end: int) -> Segment | None:
    """Check the whole lines in bytes `begin` to `end` of a log; None if anything is wrong."""
    fd = open_log(Path(path))
    try:
        os.lseek(fd, begin, os.SEEK_SET)
        rest, left = b"", end - begin
        scan: Scanner | None = None
        first: tuple[int, bytes] = (0, b"")
        controls: list[tuple[str, bytes, State]] = []
        while left and (chunk := os.read(fd, min(CHUNK, left))):
            left -= len(chunk)
            buf = rest + chunk
            if scan is None:
                line = buf[: buf.find(b"\n")] if b"\n" in buf else b""
                seq, prev = _FIRST.match(line), _PREV.search(line)
                if line and not (seq and prev):
                    return None
                if seq and prev:
                    first = int(seq[1]), prev[1]
                    scan = Scanner(*first, 2**63)
            if scan is None:
                rest = buf
                continue
            pos = 0
            while (stop := scan.scan(buf, pos)) != MORE:
                if stop == BAD:
                    return None
                controls.append((scan.kind, buf[scan.pos : scan.line_end], _state(scan)))
                pos = scan.line_end + 1
            rest = buf[scan.pos :]
        if scan is None or rest or left:
            return None
        return Segment(*first, tuple(controls), _state(scan))
    finally:
        os.close(fd)


def _state(scan: Scanner) -> State:
    state = State(scan.seq, scan.head, scan.unsealed, scan.actions, scan.count_sum)
    scan.unsealed = scan.actions = scan.count_sum = 0
    return state


class ManyVerifier(Verifier):
    """A Verifier that can take in segments which workers have scanned."""

    def absorb(self, segment: Segment) -> bool:
        """Go on by `segment`. False: it does not fit, and this verifier is spent."""
        scan = self._scan
        if self._rest or self._bad or self._end is not None:
            return False
        if (segment.first_seq, segment.first_prev) != (scan.seq, scan.head):
            return False
        for kind, line, state in segment.controls:
            if self._end is not None or not self._advance(state):
                return False
            try:
                self._judge(kind, line)
            except Fault:
                return False
        return self._advance(segment.end)

    def _advance(self, state: State) -> bool:
        scan = self._scan
        scan.seq, scan.head = state.seq, state.head
        scan.unsealed += state.unsigned
        scan.actions += state.actions
        scan.count_sum = (scan.count_sum + state.count) % 2**64
        # The ordinary way stops at a record that is pinned, or that comes after the end.
        return scan.unsealed <= scan.limit and scan.seq <= scan.watch

    def skipped(self, size_bytes: int) -> None:
        """`size_bytes` were absorbed in place of being fed."""
        self._offset += size_bytes

    def copy(self) -> ManyVerifier:
        """Another verifier in the same state."""
        twin = copy.copy(self)
        twin._scan = self._scan.copy()
        twin._heads = list(self._heads)
        return twin


def verify_file(
    verifier: ManyVerifier,
    path: Path,
    pool: ProcessPoolExecutor,
    jobs: int,
    progress: Callable[[int], None],
) -> ManyVerifier:
    """Feed the file `path` to `verifier` with `jobs` workers; returns the one to go on with."""
    fd = open_log(path)
    try:
        for window in _windows(fd, jobs):
            size = window[-1][1] - window[0][0]
            trial = verifier.copy()
            found = pool.map(
                scan_segment, *zip(*((str(path), *cut) for cut in window), strict=True)
            )
            if all(segment is not None and trial.absorb(segment) for segment in found):
                verifier = trial
                verifier.skipped(size)
            elif not _feed(verifier, fd, window[0][0], window[-1][1]):
                return verifier
            progress(size)
        end = os.fstat(fd).st_size
        last = os.lseek(fd, 0, os.SEEK_CUR)
        _feed(verifier, fd, last, max(end, last))
    finally:
        os.close(fd)
    return verifier


def _feed(verifier: Verifier, fd: int, begin: int, end: int) -> bool:
    os.lseek(fd, begin, os.SEEK_SET)
    while begin < end and (chunk := os.read(fd, min(CHUNK, end - begin))):
        begin += len(chunk)
        if not verifier.feed(chunk):
            return False
    return True


def _windows(fd: int, jobs: int) -> Iterator[list[tuple[int, int]]]:
    """Runs of up to `jobs` segments, cut at newlines; afterwards the descriptor stands behind."""
    at, size = 0, os.fstat(fd).st_size
    while at < size:
        window: list[tuple[int, int]] = []
        while len(window) < jobs and at < size:
            end = _line_end(fd, at, min(at + SEGMENT, size), size)
            if end is None or end <= at:
                break
            window.append((at, end))
            at = end
        if window:
            yield window
        if len(window) < jobs:
            break
    os.lseek(fd, at, os.SEEK_SET)


def _line_end(fd: int, begin: int, wanted: int, size: int) -> int | None:
    """Offset behind the first newline from `wanted` on; at the log's end, behind the last one."""
    if wanted == size:
        begin = max(begin, size - chain.MAX_LINE)
        return begin + os.pread(fd, size - begin, begin).rfind(b"\n") + 1
    while wanted < size:
        block = os.pread(fd, 1 << 16, wanted)
        found = block.find(b"\n")
        if found >= 0:
            return wanted + found + 1
        if not block:
            return None
        wanted += len(block)
    return None

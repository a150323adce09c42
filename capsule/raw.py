"""The raw trace kept beside a log, so that an Action can be followed to strace's own lines.

`<run>.raw.zst` is a sequence of units. A unit holds whole lines, about 1 MiB of them, and is
a zstd skippable frame (RFC 8878, 3.1.2) that says what is in it, followed by a zstd frame:

    u32 0x184D2A57 · u32 32 · 8s "CAPSRAW1" · u64 first line · u64 raw bytes · u64 zstd bytes

all little-endian, lines counted from 1. `zstd -dc` skips the former and gives the trace back;
a reader hops from unit to unit and decompresses only those it wants.

After each unit there is a *mark*: how many bytes the file has, how many lines are in it, and
BLAKE3 of those bytes. The logger puts the newest mark into each checkpoint and the seal.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeGuard

import zstandard
from blake3 import blake3

from capsule.errors import CapsuleError
from capsule.logfile import LogFile
from capsule.records import backwards, load, type_of

HEADER = struct.Struct("<II8sQQQ")
SKIPPABLE = 0x184D2A57
LABEL = b"CAPSRAW1"
UNIT_BYTES = 1 << 20
UNIT_AGE_NS = 1_000_000_000
LEVEL = 3


def raw_path(log: Path) -> Path:
    """Where the raw trace of the run with this (first) log file is."""
    return log.with_name(log.name.removesuffix(".jsonl") + ".raw.zst")


class RawWriter:
    """Compresses strace's text into `path`, created anew. Raises LogFailed as the log does."""

    def __init__(
        self, path: Path, *, sync: bool = True, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._file = LogFile(path)
        self._sync = sync
        self._clock_ns = clock_ns
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._hash = blake3()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._held_since_ns = 0
        self._lines = 0
        self._marks: list[dict[str, Any]] = []

    def feed(self, data: bytes) -> None:
        """Take in more of the trace."""
        if not self._held:
            self._held_since_ns = self._clock_ns()
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= UNIT_BYTES:
            self._write_unit()

    def tick(self, now_ns: int) -> None:
        """Write what is a second old, even if it is little."""
        if self._held and now_ns >= self._held_since_ns + UNIT_AGE_NS:
            self._held_since_ns = now_ns
            self._write_unit()

    def next_tick_ns(self) -> int | None:
        return self._held_since_ns + UNIT_AGE_NS if self._held else None

    def marks(self) -> list[dict[str, Any]]:
        """The marks made since the last call: `{"bytes":…,"lines":…,"blake3":…}`."""
        marks, self._marks = self._marks, []
        return marks

    def close(self) -> None:
        """Write the rest, a last line without newline too."""
        self._write_unit(whole_lines=False)
        self._file.close()

    def _write_unit(self, *, whole_lines: bool = True) -> None:
        text = b"".join(self._held)
        cut = text.rfind(b"\n") + 1 if whole_lines else len(text)
        text, rest = text[:cut], text[cut:]
        self._held = [rest] if rest else []
        self._held_bytes = len(rest)
        if not text:
            return
        frame = self._compressor.compress(text)
        size = HEADER.size - 8
        unit = HEADER.pack(SKIPPABLE, size, LABEL, self._lines + 1, len(text), len(frame)) + frame
        self._file.write(unit)
        if self._sync:
            self._file.sync()
        self._hash.update(unit)
        self._lines += text.count(b"\n") + (text[-1:] != b"\n")
        mark = {"bytes": self._file.size_bytes, "lines": self._lines}
        self._marks.append({**mark, "blake3": self._hash.hexdigest()})


class Unit(NamedTuple):
    """Where one unit's zstd frame is, and what it holds."""

    offset: int
    first_line: int
    raw_bytes: int
    zstd_bytes: int


def units(fd: int) -> Iterator[Unit]:
    """The units of a raw trace, in order. CapsuleError where the file is not one."""
    offset = 0
    while head := os.pread(fd, HEADER.size, offset):
        if len(head) < HEADER.size:
            return  # torn: the writer died here
        magic, size, label, first_line, raw_bytes, zstd_bytes = HEADER.unpack(head)
        if (magic, size, label) != (SKIPPABLE, HEADER.size - 8, LABEL):
            raise CapsuleError(f"not a raw trace of Capsule at byte {offset}")
        yield Unit(offset + HEADER.size, first_line, raw_bytes, zstd_bytes)
        offset += HEADER.size + zstd_bytes


def read_lines(path: Path, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """The lines `first` to `last` with their numbers, without their newlines.

    Only the units that hold them are decompressed. CapsuleError when the file cannot be read.
    """
    fd = _open(path)
    try:
        wanted: Unit | None = None
        for unit in units(fd):
            if unit.first_line > last:
                break
            if wanted is not None and unit.first_line > first:
                yield from _lines_of(fd, wanted, first, last)
            wanted = unit
        if wanted is not None:
            yield from _lines_of(fd, wanted, first, last)
    finally:
        os.close(fd)


def read_text(path: Path, lines: int) -> Iterator[bytes]:
    """The text of the units that begin within `lines` lines. CapsuleError as `read_lines`."""
    fd = _open(path)
    try:
        for unit in units(fd):
            if unit.first_line > lines:
                break
            yield _text_of(fd, unit)
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CapsuleError(
            f"cannot read the raw trace {path}: {error.strerror} (kept with trace --keep-raw)"
        ) from error


def _text_of(fd: int, unit: Unit) -> bytes:
    frame = os.pread(fd, unit.zstd_bytes, unit.offset)
    try:
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=unit.raw_bytes)
    except zstandard.ZstdError as error:
        raise CapsuleError(f"the raw trace is damaged at byte {unit.offset}: {error}") from error


def _lines_of(fd: int, unit: Unit, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    text = _text_of(fd, unit)
    for number, line in enumerate(text.split(b"\n"), unit.first_line):
        if number > last:
            return
        if number >= first and (line or number < unit.first_line + text.count(b"\n")):
            yield number, line


class RawVerdict(NamedTuple):
    """What the newest signed mark says of the raw trace, and whether the file bears it out."""

    lines: int
    state: Literal["intact", "missing", "altered"]


def check(log: Path) -> RawVerdict | None:
    """Hold the raw trace of a verified log against its last mark; None where there is none."""
    for line in backwards(log):
        if type_of(line) in ("checkpoint", "end"):
            mark = load(line).get("raw")
            break
    else:
        mark = None
    if mark is None:
        return None
    if not _is_mark(mark):
        return RawVerdict(0, "altered")
    path = raw_path(log)
    if not path.exists():
        return RawVerdict(mark["lines"], "missing")
    same = hash_prefix(path, mark["bytes"]) == mark["blake3"]
    return RawVerdict(mark["lines"], "intact" if same else "altered")


def _is_mark(mark: object) -> TypeGuard[dict[str, Any]]:
    """Whether it is what a RawWriter leaves; in a forged log it may be anything."""
    return (
        isinstance(mark, dict)
        and all(isinstance(mark.get(name), int) for name in ("lines", "bytes"))
        and isinstance(mark.get("blake3"), str)
    )


def hash_prefix(path: Path, size: int) -> str | None:
    """BLAKE3 of the file's first `size` bytes, hex; None when it is shorter or not there."""
    hasher = blake3()
    try:
        with path.open("rb") as file:
            while size > 0:
                block = file.read(min(size, 1 << 20))
                if not block:
                    return None
                hasher.update(block)
                size -= len(block)
    except OSError:
        return None
    return hasher.hexdigest()

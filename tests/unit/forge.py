"""A forger's tools: take a log apart, change it, chain and sign it anew with what was stolen.

Written on purpose without the project's writer: only its pure helpers hash and sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from capsule import chain

SIGNED = (b"checkpoint", b"end")
_HEADER = re.compile(rb'\{"seq":(\d+),"type":"(\w+)"')
_SUFFIX = re.compile(
    rb'(?P<sig>,"sig":"[0-9a-f]{128}")?,"prev":"[0-9a-f]{64}","hash":"[0-9a-f]{64}"\}\n?$'
)
_RUN = re.compile(rb'"run":"([^"]*)"')
_NEXT = re.compile(rb'"next_key":"[^"]*"')

Lines = list[bytes]


def opened_of(line: bytes) -> bytes:
    """A record's bytes before its `sig`, or before its `prev` if it has none."""
    return _SUFFIX.sub(b"", line)


def type_of(line: bytes) -> bytes:
    match = _HEADER.match(line)
    return match[2] if match else b""


def edited(lines: Sequence[bytes], at: int, change: Callable[[bytes], bytes]) -> Lines:
    """A copy in which the body of record `at` is changed; its hashes no longer fit."""
    line = lines[at]
    opened = opened_of(line)
    return [*lines[:at], change(opened) + line[len(opened) :], *lines[at + 1 :]]


def swapped(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Replaces `old`, which has to be there, once."""

    def change(opened: bytes) -> bytes:
        assert old in opened, (old, opened)
        return opened.replace(old, new, 1)

    return change


def rechained(lines: Sequence[bytes], first: int = 0) -> Lines:
    """Numbers and hashes made to fit again from record `first` on; signatures stay."""
    return _rebuilt(lines, first, None, None)


def resealed(
    lines: Sequence[bytes],
    keys: Sequence[chain.Signer],
    first: int = 0,
    fresh: Callable[[], chain.Signer] | None = None,
) -> Lines:
    """As `rechained`, and signed: the n-th signature of the log with `keys[n]`.

    With `fresh`, `keys[n]` signs the first signature from `first` on only, and the thief
    goes on with keys of their own.
    """
    return _rebuilt(lines, first, keys, fresh)


def _rebuilt(
    lines: Sequence[bytes],
    first: int,
    keys: Sequence[chain.Signer] | None,
    fresh: Callable[[], chain.Signer] | None,
) -> Lines:
    out = list(lines[:first])
    prev = out[-1][-67:-3] if out else chain.GENESIS
    epoch = sum(type_of(line) in SIGNED for line in out)
    run = _RUN.search(lines[0])
    key = keys[epoch] if keys else None
    for seq, line in enumerate(lines[first:], first):
        opened = opened_of(line)
        kind = type_of(line)
        header = b'{"seq":%d,"type":"' % seq
        opened = re.sub(rb'^\{"seq":\d+,"type":"', lambda _, header=header: header, opened)
        if kind in SIGNED and key is not None and run:
            if fresh is not None and kind == b"checkpoint":
                following = fresh()
                named = b'"next_key":"%b"' % following.public.hex().encode()
                opened = _NEXT.sub(lambda _, named=named: named, opened)
            found = _NEXT.search(opened)
            next_key = found[0][12:-1] if found and kind == b"checkpoint" else chain.GENESIS
            seal = chain.Seal(kind.decode(), run[1].decode(), seq, prev, next_key)
            new, prev = chain.sign_line(seal, opened, key)
            epoch += 1
            if fresh is not None and kind == b"checkpoint":
                key = following
            elif keys is not None and epoch < len(keys):
                key = keys[epoch]
        else:
            suffix = _SUFFIX.search(line)
            sig = (suffix["sig"] or b"") if suffix else b""
            new, prev = chain.close_line(opened + sig, prev)
        out.append(new)
    return out

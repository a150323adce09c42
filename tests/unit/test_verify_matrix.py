"""Every way we know to change a log, and what both verifiers have to say to it.

The probes are data (probes.py). Capsule's verifier and the independent one have to agree on
verdict, first bad record, its byte offset, and the last authenticated record.
"""

from __future__ import annotations

import copy

import pytest

from capsule.verify import Pins, Unreadable, Verdict, Verifier
from tests import independent_verifier
from tests.unit.chainlogs import Keys, make_log
from tests.unit.forge import Lines, type_of
from tests.unit.probes import (
    FORMAT_PROBES,
    INCOMPLETE,
    PROBES,
    TAMPERED,
    UNREADABLE,
    Probe,
    World,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    where = tmp_path_factory.mktemp("world")
    keys, other_keys = Keys(1), Keys(2)
    log, _ = make_log(where / "a.jsonl", actions=42, keys=keys)
    other, _ = make_log(where / "b.jsonl", actions=42, keys=other_keys, run="other-run")
    found = World(log.splitlines(True), other.splitlines(True), keys.made, other_keys.made)
    signed = [n for n, line in enumerate(found.log) if type_of(line) in (b"checkpoint", b"end")]
    assert signed == [8, 17, 26, 35, 44, 49]
    return found


def findings(
    parts: list[bytes], pins: Pins | None = None, chunk: int = 1 << 20
) -> tuple[str, tuple[int, int] | None, int | None]:
    """What Capsule's verifier says: verdict, (first bad seq, byte offset), authenticated."""
    verifier = Verifier(pins)
    try:
        for number, data in enumerate(parts):
            if number:
                verifier.next_part()
            for at in range(0, len(data), chunk):
                verifier.feed(data[at : at + chunk])
    except Unreadable:
        return UNREADABLE, None, None
    report = verifier.finish()
    bad = (report.bad.seq, report.bad.offset) if report.bad else None
    assert (report.verdict is Verdict.TAMPERED) == (bad is not None)
    return report.verdict.name.lower(), bad, report.authenticated_through


def independent(
    parts: list[bytes], pins: Pins | None = None
) -> tuple[str, tuple[int, int] | None, int | None]:
    """What the independent verifier says, in the same words."""
    pins = Pins() if pins is None else pins
    found = independent_verifier.verify(
        parts,
        head=next((head for seq, head in pins.heads if seq is None), None),
        heads={seq: head for seq, head in pins.heads if seq is not None},
        key=pins.key,
        size=pins.records,
    )
    return found["verdict"], found["bad"], found["through"]


@pytest.mark.parametrize("probe", PROBES + FORMAT_PROBES, ids=lambda probe: probe.name[:60])
def test_probe(world: World, probe: Probe) -> None:
    data = b"".join(probe.make(world))
    pins = probe.pins(world)
    found = findings([data], pins)
    verdict, bad, through = found
    assert (verdict, bad[0] if bad else None, through) == (
        probe.verdict,
        probe.first_bad,
        probe.through,
    )
    assert independent([data], pins) == found
    if len(data) < 100_000:
        assert findings([data], pins, chunk=7) == found  # however it is cut


def test_no_two_probes_have_one_name() -> None:
    names = [probe.name for probe in PROBES + FORMAT_PROBES]
    assert sorted(set(names)) == sorted(names)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """Another log of 50 records, with two signatures only, which are slow to check."""
    path = tmp_path_factory.mktemp("plain") / "a.jsonl"
    lines = make_log(path, actions=46, every=30)[0].splitlines(True)
    assert [n for n, line in enumerate(lines) if b'"sig"' in line] == [30, 49]
    return lines


def test_every_flipped_bit_is_found(plain: Lines) -> None:
    """All bits of all 50 records, by both verifiers; they agree on which record is bad.

    The independent one goes on from its own state before the record that is changed.
    """
    state = independent_verifier.Log()
    begin = 0
    whole = b"".join(plain)
    for line in plain:
        following = whole[begin + len(line) :]
        for at in range(len(line)):
            for bit in range(8):
                changed = bytearray(line)
                changed[at] ^= 1 << bit
                rest = bytes(changed) + following
                verdict, bad, through = findings([whole[:begin] + rest])
                assert verdict == TAMPERED, (begin + at, bit)
                other = copy.copy(state)
                found, other_bad = independent_verifier.judge(other, rest, begin)
                assert (found, other_bad, other.through) == (verdict, bad, through), (
                    begin + at,
                    bit,
                )
        state.accept(line[:-1])
        begin += len(line)


def test_cut_anywhere_it_is_incomplete(world: World) -> None:
    whole = b"".join(world.log)
    ends = [0]
    for line in world.log:
        ends.append(ends[-1] + len(line))
    for at in range(len(whole)):
        verdict, bad, through = findings([whole[:at]])
        assert (verdict, bad) == (INCOMPLETE, None), at
        complete = sum(end <= at for end in ends) - 2  # seq of the last whole record
        expected = max((seq for seq in (8, 17, 26, 35, 44) if seq <= complete), default=None)
        assert through == expected
        if at % 37 == 0 or at in ends or at + 1 in ends:
            assert independent([whole[:at]]) == (verdict, bad, through), at


def test_a_byte_too_many_anywhere_is_found(plain: Lines) -> None:
    whole = b"".join(plain)
    for at in range(0, len(whole) + 1, 3):
        for byte in (b"\n", b"\0", b" ", b"0", b'"', b"}"):
            changed = whole[:at] + byte + whole[at:]
            if changed != whole:
                assert findings([changed])[0] == TAMPERED, (at, byte)

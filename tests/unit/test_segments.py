"""Many processes say exactly what one says: the same report for every probe."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from capsule import segments
from capsule.segments import ManyVerifier, verify_file
from capsule.verify import Pins, Report, Unreadable
from tests.unit.chainlogs import Keys, make_log
from tests.unit.probes import FORMAT_PROBES, PROBES, Probe, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    where = tmp_path_factory.mktemp("world")
    keys, other_keys = Keys(1), Keys(2)
    log, _ = make_log(where / "a.jsonl", actions=42, keys=keys)
    other, _ = make_log(where / "b.jsonl", actions=42, keys=other_keys, run="other-run")
    return World(log.splitlines(True), other.splitlines(True), keys.made, other_keys.made)


class InProcess(ProcessPoolExecutor):
    """Runs the workers' own code here: what is tried is how segments meet, 200 times."""

    def __init__(self) -> None:
        pass

    def map(self, function, *columns, **_):  # type: ignore[no-untyped-def]
        return map(function, *columns)


def report_of(path: Path, pins: Pins, jobs: int) -> Report | str:
    verifier = ManyVerifier(pins)
    try:
        if jobs:
            verifier = verify_file(verifier, path, InProcess(), jobs, lambda _: None)
        else:
            verifier.feed(path.read_bytes())
    except Unreadable as error:
        return str(error)
    return verifier.finish()


@pytest.mark.parametrize("probe", PROBES + FORMAT_PROBES, ids=lambda probe: probe.name[:60])
def test_probe(world: World, probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(probe.make(world)))
    if path.stat().st_size > 1 << 20:
        return
    expected = report_of(path, probe.pins(world), 0)
    for size, jobs in ((1, 3), (700, 2), (5000, 2), (1 << 20, 4)):
        monkeypatch.setattr(segments, "SEGMENT", size)
        assert report_of(path, probe.pins(world), jobs) == expected


def test_with_real_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT", 20_000)
    path = tmp_path / "r.jsonl"
    data, end = make_log(path, actions=3000, every=64)
    progress: list[int] = []
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        report = verify_file(ManyVerifier(), path, pool, 2, progress.append).finish()
        assert end is not None
        assert (report.verdict.name, report.head, report.records) == (
            "INTACT",
            end.head,
            end.records,
        )
        assert report.size_bytes == sum(progress) == len(data)
        changed = bytearray(data)
        changed[len(data) // 2] ^= 1
        path.write_bytes(changed)
        many = verify_file(ManyVerifier(), path, pool, 2, progress.append).finish()
        one = ManyVerifier()
        one.feed(bytes(changed))
        assert many.bad == one.finish().bad
        assert many.verdict.name == "TAMPERED"

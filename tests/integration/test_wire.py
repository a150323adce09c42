"""The links between stages, with real processes and real ZeroMQ."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from capsule import wire
from capsule.errors import TraceFailed
from capsule.pipeline import Pipeline
from capsule.supervise import Supervisor, block_signals
from capsule.topology import Plan, StageSpec

MESSAGES = 20_000


class Echo:
    def feed(self, batch: bytes | memoryview) -> bytes:
        return bytes(batch)

    def finish(self) -> bytes:
        return b""

    def counters(self) -> dict[str, int]:
        return {}


class FileSink(Echo):
    """Keeps what arrives; the pipeline's last stage."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def feed(self, batch: bytes | memoryview) -> bytes:
        self._file.write(batch)
        return b""

    def tick(self, now_ns: int) -> bytes:
        return b""

    def next_tick_ns(self) -> int | None:
        return None

    def gap(self, count: int | None, why: str) -> bytes:
        return b""

    def end(self, end: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        self._file.close()
        return {}, None

    def abandon(self) -> None:
        self._file.close()


def numbers(shell: wire.Shell, plan: Plan) -> None:
    """20,000 messages of 8 bytes, one by one, and then the end at once."""
    shell.join()
    for number in range(MESSAGES):
        shell.send(b"%07d\n" % number)
    shell.send_end({"stages": {}})


def echo(shell: wire.Shell, plan: Plan) -> None:
    shell.join()
    shell.run_stage(Echo(), live=plan.live)


def keep(shell: wire.Shell, plan: Plan) -> None:
    sink = FileSink(plan.log_path)
    shell.join()
    shell.run_sink(sink)


class Failing(Echo):
    def feed(self, batch: bytes | memoryview) -> bytes:
        raise RuntimeError("on purpose")


def crash(shell: wire.Shell, plan: Plan) -> None:
    shell.join()
    shell.run_stage(Failing(), live=plan.live)


def never_join(shell: wire.Shell, plan: Plan) -> None:
    raise RuntimeError("at once")


@pytest.fixture
def signals() -> Any:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    fd, _ = block_signals()
    yield fd
    os.close(fd)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def plan_for(path: Path) -> Plan:
    return Plan(source=0, log_path=path, start={}, live=False)


@pytest.mark.parametrize("repeat", range(10))
def test_no_message_is_lost_when_the_sender_ends_at_once(
    repeat: int, tmp_path: Path, signals: int
) -> None:
    out = tmp_path / "out"
    topology = (StageSpec("tracer", numbers), StageSpec("parser", echo), StageSpec("logger", keep))
    outcome = Supervisor(Pipeline(plan_for(out), topology), signals).run()
    assert outcome.failure is None
    assert out.read_bytes() == b"".join(b"%07d\n" % number for number in range(MESSAGES))


def test_a_stage_that_raises_is_named_and_ends_the_run(tmp_path: Path, signals: int) -> None:
    topology = (StageSpec("tracer", numbers), StageSpec("parser", crash), StageSpec("logger", keep))
    outcome = Supervisor(Pipeline(plan_for(tmp_path / "out"), topology), signals).run()
    assert outcome.status == 125
    assert outcome.failure == "the parser stage failed: RuntimeError('on purpose')"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_stage_that_does_not_start_ends_the_others(
    place: int, tmp_path: Path, signals: int
) -> None:
    topology = [StageSpec("tracer", numbers), StageSpec("parser", echo), StageSpec("logger", keep)]
    topology[place] = StageSpec(topology[place].name, never_join)
    supervisor = Supervisor(Pipeline(plan_for(tmp_path / "out"), topology), signals)
    with pytest.raises(TraceFailed, match=r"stage failed: RuntimeError\('at once'\)"):
        supervisor.run()


def _no_start(shell: wire.Shell, plan: Plan) -> None:
    raise TraceFailed("this stage cannot start")


def _killed_at_start(shell: wire.Shell, plan: Plan) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize(
    ("body", "why"),
    [
        (_no_start, "this stage cannot start"),
        (_killed_at_start, r"the bad stage did not start \(SIGKILL\)"),
    ],
)
def test_a_stage_that_fails_at_the_start_ends_all_and_is_named(
    body: Any, why: str, place: int, tmp_path: Path
) -> None:
    """Not a hang: the supervisor used to wait for the stage before it, which waited for it."""
    topology = [StageSpec(f"s{n}", run) for n, run in enumerate((numbers, echo, echo, echo, keep))]
    topology[place] = StageSpec("bad", body)
    pipeline = Pipeline(plan_for(tmp_path / "out"), topology)
    with pytest.raises(TraceFailed, match=why):
        pipeline.start()
    assert pipeline.stages == []

"""The topology: what a run's stages are told, what each does, and their order.

    source ─▶ tracer ─▶ parser ─▶ enricher ─▶ aggregator ─▶ logger ─▶ log

Each body runs in a process of its own (capsule/pipeline.py) and imports there what it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from capsule import wire
from capsule.endpoints import Publish
from capsule.killtree import kill_tree
from capsule.stage import Sink, Stage


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run's stages are told before they start.

    `source` is the descriptor to read strace text from. `start` is the log's first record.
    `live`: the text comes from an strace of ours, which `trace` the supervisor announces;
    `gated`: its first lines are the launch gate's. `keep_raw`: store the text beside the log.
    `log_fd`: write the log there and not to `log_path`. `rotate_bytes`: 0 for one file.
    `anchor_cmds`, `anchor_syslog`: who gets each checkpoint. `resumes`: the torn log before.
    `publish`: where subscribers find the run. `on_log_failure`: whether the run ends with its
    log. `rules`: files of tag rules. `redact`: hide secrets in argv. `hash_exe`: hash each program.
    """

    source: int
    log_path: Path
    start: dict[str, Any]
    live: bool
    gated: bool = False
    keep_raw: bool = False
    fsync: Literal["always", "checkpoint", "never"] = "checkpoint"
    rules: tuple[str, ...] = ()
    redact: bool = True
    hash_exe: bool = False
    log_fd: int | None = None
    rotate_bytes: int = 0
    anchor_cmds: tuple[str, ...] = ()
    anchor_syslog: bool = False
    resumes: dict[str, Any] | None = None
    publish: Publish | None = None
    on_log_failure: Literal["stop", "continue"] = "stop"


def _tracer(shell: wire.Shell, plan: Plan) -> None:
    from capsule.tracer import Tracer

    raw = None
    if plan.keep_raw:
        from capsule.raw import RawWriter, raw_path

        raw = RawWriter(raw_path(plan.log_path), sync=plan.fsync != "never")
    shell.join()
    tracer = Tracer(gated=plan.gated, raw=raw)
    if not plan.live:
        shell.run_source(tracer, plan.source, lambda: {"exit": None})
        return

    def kill_tracees() -> None:
        told = shell.told.get("go")
        if told and told["kill"]:
            kill_tree([told["target"]], told["strace"], (), guarded=told["guarded"])

    shell.on_orphaned = kill_tracees
    try:
        if shell.wait_told("go"):
            shell.run_source(
                tracer, plan.source, lambda: shell.wait_told("ended") or {"exit": None}
            )
        else:
            shell.send_end({"exit": None, "stages": {}})
    except wire.Released:
        shell.await_verdict()
        raise


def _parser(shell: wire.Shell, plan: Plan) -> None:
    from capsule._parse import Parser
    from capsule.syscalls import NAMES

    shell.join()
    stage: Stage = Parser(NAMES)
    if plan.publish is not None and shell.seat.tap is not None:
        from capsule.tap import Tap

        stage = Tap(stage, shell.seat.tap, lossless=plan.publish.lossless)
    shell.run_stage(stage, live=plan.live)


def _enricher(shell: wire.Shell, plan: Plan) -> None:
    from capsule.enrich import Enricher
    from capsule.procfs import PsutilReader

    shell.join()
    if not plan.live:
        shell.run_stage(Enricher(redact=plan.redact), live=False)
        return
    # The root process is still at its gate, so that /proc tells all of it.
    reader = PsutilReader(plan.hash_exe)
    enricher = Enricher(shell.wait_told("root"), reader, redact=plan.redact)
    shell.seat.control.send(rooted=True)
    shell.run_stage(enricher, live=True)


def _aggregator(shell: wire.Shell, plan: Plan) -> None:
    from capsule.aggregate import Aggregator
    from capsule.tags import load_rules

    aggregator = Aggregator(load_rules(plan.rules))
    shell.join()
    shell.run_stage(aggregator, live=plan.live)


def _logger(shell: wire.Shell, plan: Plan) -> None:
    if plan.publish is None:
        _log(shell, plan, lambda sink: sink)
        return
    from capsule.fanout import publishing

    log = str(plan.log_path) if plan.log_fd is None else None
    with publishing(shell, plan.publish, log, str(plan.start["run"])) as publish:
        _log(shell, plan, publish)


def _log(shell: wire.Shell, plan: Plan, wrap: Callable[[Sink], Sink]) -> None:
    from capsule.anchor import open_anchors
    from capsule.logdir import set_latest
    from capsule.seal import LogSink

    start = {**plan.start, **({"resumes": plan.resumes} if plan.resumes else {})}
    sink = LogSink(
        plan.log_path if plan.log_fd is None else plan.log_fd,
        start,
        fsync=plan.fsync,
        rotate_bytes=plan.rotate_bytes,
        guard=str(plan.log_path.parent),
        on_failure=plan.on_log_failure,
        anchors=open_anchors(start["run"], plan.anchor_cmds, syslog=plan.anchor_syslog),
    )
    if plan.log_fd is None:
        set_latest(plan.log_path)
    shell.join()
    shell.run_sink(wrap(sink))


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage: its name, and the body of its process."""

    name: str
    run: Callable[[wire.Shell, Plan], None]


TOPOLOGY = (
    StageSpec("tracer", _tracer),
    StageSpec("parser", _parser),
    StageSpec("enricher", _enricher),
    StageSpec("aggregator", _aggregator),
    StageSpec("logger", _logger),
)

"""The three lines at the top: what runs, how fast and whether anything is lost, the chain. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from rich.cells import cell_len

from capsule.commands._lines import exit_text, harmless
from capsule.verify import Report, Verdict
from capsule.watch.model import Run
from capsule.watch.rows import Line, cut, fit, whole


@dataclass(frozen=True, slots=True)
class Moment:
    """What the log does not say. `per_s`: Actions and events; None of a finished run."""

    state: str
    per_s: tuple[float, float] | None = None
    latency_s: tuple[float, float] | None = None
    report: Report | None = None
    refused: str = ""


def command(run: Run) -> str:
    """The words of the command that was run, as a shell takes them."""
    words = (run.start or {}).get("argv")
    text = " ".join(shlex.quote(str(word)) for word in words) if isinstance(words, list) else ""
    return harmless(text) or "…"


def number(value: float) -> str:
    """A number in few characters: 950, 12.3k, 4.5M."""
    for unit in ("", "k", "M", "G"):
        if value < 1000 or unit == "G":
            return f"{value:.0f}{unit}" if not unit or value >= 100 else f"{value:.1f}{unit}"
        value /= 1000
    raise AssertionError


def heading(run: Run, now: Moment, width: int) -> list[Line]:
    """The three lines, each exactly so wide."""
    return [_first(run, now, width), _second(run, now, width), _third(run, now, width)]


def _first(run: Run, now: Moment, width: int) -> Line:
    state, style = f" {now.state} ", "bold reverse green"
    if now.state == "ended":
        said = exit_text((run.end or {}).get("exit"))
        state, style = f" exit {said} ", "bold reverse" if said == "0" else "bold reverse red"
    elif now.state == "cut off":
        state, style = " CUT OFF ", "bold reverse red"
    run_id = harmless(str((run.start or {}).get("run", "")))
    right = f" {run_id}" if width >= 100 else ""
    if now.latency_s is not None and now.state == "live":
        newest, worst = now.latency_s
        right = f" {newest * 1000:.0f}/{worst * 1000:.0f} ms{right}"
    left = fit(f" {command(run)}", max(0, width - cell_len(state) - cell_len(right)))
    return cut([(state, style), (left, "bold"), (right, "dim")], width)


def _second(run: Run, now: Moment, width: int) -> Line:
    alive = f", {number(run.living)} alive" if now.state == "live" else ""
    parts: Line = [(f" {number(len(run.processes))} proc{alive}", "")]
    rates = "", ""
    if now.per_s is not None:
        rates = f" {number(now.per_s[0])}/s", f" {number(now.per_s[1])}/s"
    elif run.first_ns is not None and run.last_ns is not None and run.last_ns > run.first_ns:
        passed_s = (run.last_ns - run.first_ns) / 1e9
        rates = f" {number(run.actions / passed_s)}/s", f" {number(run.events / passed_s)}/s"
    parts.append((f"  {number(run.actions)} Actions{rates[0]}", ""))
    parts.append((f"  {number(run.events)} events{rates[1]}", ""))
    parts.append((f"  failed {number(run.failures)}", "red" if run.failures else "dim"))
    return whole(parts, width)


def _third(run: Run, now: Moment, width: int) -> Line:
    parts: Line = [_integrity(now)]
    lost = f"  gaps {run.gaps}" + (f" ({number(run.lost)} lost)" if run.gaps else "")
    parts.append((lost, "bold red" if run.gaps else "dim"))
    dropped = run.dropped + run.unreadable
    parts.append((f"  dropped {dropped}", "bold red" if dropped else "dim"))
    if run.tags:
        parts.append((f"  tags {number(run.tags.total())}", "yellow"))
    seq = f"  seq {run.seq}"
    parts.append((seq, "dim"))
    used = sum(cell_len(text) for text, _ in parts)
    head = harmless(run.head)[: max(8, width - used - 7)] if run.head else ""
    if head:
        parts.append((f"  head {head}", "dim"))
    return whole(parts, width)


def _integrity(now: Moment) -> tuple[str, str]:
    report = now.report
    if now.refused:
        return f" {harmless(now.refused)}", "bold red"
    if report is None:
        return " not verified yet", "dim"
    if report.bad is not None:
        return f" TAMPERED at {report.bad.seq}: {harmless(report.bad.reason)}", "bold reverse red"
    through = report.authenticated_through
    signed = "nothing signed" if through is None else f"signed to {through}"
    if report.verdict is Verdict.INTACT:
        return " intact and complete", "bold green"
    if now.state != "live":
        return f" INCOMPLETE, {signed}", "bold yellow"
    return f" intact so far, {signed}", "green"

"""The page: template, style and script put together, with a policy that lets nothing else run.

The Content-Security-Policy (https://www.w3.org/TR/CSP3/) allows this style and this script by
their hashes and nothing else: no network, no inline handler, no `innerHTML` (Trusted Types).
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2

from capsule import __version__
from capsule.history import by_directory
from capsule.report import words
from capsule.report.model import Model, packed, plain
from capsule.text import harmless
from capsule.verify import Report, Verdict

SCRIPTS = ("data.js", "lists.js", "tree.js", "timeline.js", "touched.js", "app.js")
"""In this order they are one script."""

ON_PAPER = 200
"""How many rows of each list are printed, and shown where scripts are off."""


def render(model: Model, report: Report, whys: Mapping[str, str], made_ns: int) -> str:
    """The whole page. `report` is the verdict on the log, `whys` tag → its rule's sentence."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("capsule.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["harmless"] = lambda text: harmless(str(text))
    environment.filters["number"] = lambda number: f"{number:,}"
    style = _source("page.css")
    script = "(() => {\n'use strict';\n" + "\n".join(map(_source, SCRIPTS)) + "\n})();"
    start: Mapping[str, Any] = report.start or {}
    found = model.digest
    data = plain(model) | {"whys": dict(whys), "run": report.run or "?"}
    return environment.get_template("page.html.j2").render(
        policy=_policy(style, script),
        style=style,
        script=script,
        data=packed(data),
        version=__version__,
        made=utc(made_ns),
        command=words.command(found.argv),
        sentences=words.sentences(model, start, report.end),
        notes=words.notes(model, report.end, whys),
        facts=facts(model, report),
        integrity=integrity(report),
        verdict=report.verdict.name,
        bad=report.bad,
        report=report,
        incomplete=report.verdict is Verdict.INCOMPLETE,
        lists=lists(model),
        found=found,
    )


def _source(name: str) -> str:
    return resources.files("capsule.report").joinpath(name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    return "; ".join((
        "default-src 'none'",
        f"script-src '{_hash(script)}'",
        f"style-src '{_hash(style)}'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ))  # fmt: skip


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def utc(stamp_ns: Any) -> str:
    """A point in time as a person reads it; a dash where there is none."""
    try:
        when = datetime.datetime.fromtimestamp(int(stamp_ns) / 1e9, datetime.UTC)
    except (OSError, OverflowError, TypeError, ValueError):
        return "–"
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def facts(model: Model, report: Report) -> list[tuple[str, str]]:
    """What ran where, as label and value."""
    start: Mapping[str, Any] = report.start or {}
    end = report.end
    imported = "imported" in start
    lasted = words.duration_ns(model, start, end)
    strace = start.get("strace")
    rows = [
        ("Run", report.run),
        ("Began", utc(model.base_ns if model.base_ns is not None else start.get("time_ns"))),
        ("Took", None if lasted is None else words.took(lasted)),
        ("End", _end(end)),
        ("Directory", model.digest.cwd),
        ("User", None if imported else f"uid {start.get('uid', '–')}"),
        ("Host", None if imported else start.get("host")),
        ("Kernel", None if imported else start.get("kernel")),
        ("Traced", "imported from strace's text" if imported else _traced(start)),
        ("strace", strace.get("version") if isinstance(strace, Mapping) else None),
    ]
    return [(label, str(value)) for label, value in rows if value is not None]


def _end(end: Mapping[str, Any] | None) -> str:
    if end is None:
        return "not logged"
    exit_ = end.get("exit")
    if not isinstance(exit_, Mapping):
        return "not known"
    return str(exit_.get("signal") or f"exit {exit_.get('code', exit_.get('status', '?'))}")


def _traced(start: Mapping[str, Any]) -> str | None:
    calls = start.get("syscalls")
    return "every system call" if calls == "all" else f"a subset of system calls: {calls}"


def integrity(report: Report) -> list[tuple[str, str]]:
    """The verdict's facts, as label and value."""
    through = report.authenticated_through
    signed = "nothing" if through is None else f"record {through}"
    bad = report.bad
    records = f"{report.records:,} ({words.size(report.size_bytes)})"
    return [
        ("Good records" if bad else "Records", records),
        ("Signed through", signed),
        ("Head", "–" if bad else report.head or "–"),
        ("Public key", report.public_key or "–"),
    ]  # fmt: skip


def lists(model: Model) -> list[tuple[str, list[tuple[str, int]], int]]:
    """Title, rows (text, number) and how many were left out: for paper, and without scripts."""
    found = model.digest
    failed = {
        f"{name}  {kind} {target}".rstrip(): n for (name, kind, target), n in found.failed.items()
    }
    every = [
        ("Programs", found.programs.most_common()),
        ("Wrote in the working directory", by_directory(found.parts(found.written, within=True))),
        ("Wrote outside it", by_directory(found.parts(found.written, within=False))),
        ("Read outside it", by_directory(found.parts(found.read, within=False))),
        ("Talked to", found.hosts.most_common()),
        ("Failed", sorted(failed.items(), key=lambda item: -item[1])),
        ("Ended badly", found.ends.most_common()),
    ]
    return [(title, rows[:ON_PAPER], max(len(rows) - ON_PAPER, 0)) for title, rows in every if rows]

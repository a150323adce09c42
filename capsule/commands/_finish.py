"""What `trace` and `import` say at the end of a run: a short summary, in words and as JSON."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import orjson

from capsule.errors import TraceFailed
from capsule.supervise import Outcome


def summary(outcome: Outcome, log_path: Path) -> dict[str, Any]:
    """The run's summary as one JSON object; counts are null when the log has no end."""
    told = outcome.end.get("summary") or {}
    return {
        "run": log_path.stem,
        "log": outcome.report.get("path") or str(log_path),
        "complete": outcome.failure is None,
        "failure": outcome.failure,
        "status": outcome.status,
        "exit": outcome.end.get("exit"),
        **{key: told.get(key) for key in ("processes", "events", "actions")},
        "errors": told.get("errors"),
        "files_written": told.get("files_written"),
        "hosts": told.get("hosts"),
        "tags": told.get("tags"),
        "head": outcome.report.get("head"),
        "seq": outcome.report.get("seq"),
        "public_key": outcome.report.get("public_key"),
        "stages": outcome.end.get("stages"),
    }


def try_summary(path: str | None) -> None:
    """Raise TraceFailed if the summary cannot be written there: before the run, not after it."""
    if path is not None:
        _write(path, b"", "ab")


def write_summary(facts: dict[str, Any], path: str) -> None:
    """Write the summary to `path`. Raises TraceFailed when that is not possible."""
    _write(path, orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n", "wb")


def _write(path: str, data: bytes, mode: Literal["ab", "wb"]) -> None:
    try:
        with open(path, mode) as file:
            file.write(data)
    except OSError as error:
        raise TraceFailed(f"cannot write the summary to {path}: {error.strerror}") from error


def print_summary(facts: dict[str, Any]) -> None:
    """A few lines on stderr: what ran, what failed, what was touched, where the proof is."""
    lines = []
    if facts["events"] is not None:
        counts = [
            _count(facts["processes"], "process", "processes"),
            _count(facts["events"], "event"),
            _count(facts["actions"], "Action"),
        ]
        lines.append(", ".join(counts))
    if facts["errors"]:
        worst = sorted(facts["errors"].items(), key=lambda item: (-item[1], item[0]))
        shown = ", ".join(f"{name} {n:,}" for name, n in worst[:6])
        lines.append(f"failures: {shown}{', …' if len(worst) > 6 else ''}")
    for key, label, items in (
        ("files_written", "files written", "paths"),
        ("hosts", "hosts connected", "addresses"),
    ):
        found = facts[key]
        if found and found["count"]:
            names = ", ".join(found[items][:4])
            more = ", …" if found["count"] > 4 else ""
            lines.append(f"{label}: {found['count']:,} ({names}{more})")
    if facts["head"]:
        lines.append(f"log: {facts['log']}")
        lines.append(f"chain head: {facts['head']} (record {facts['seq']})")
        lines.append(f"public key: {facts['public_key']}")
    if facts["failure"]:
        lines.append(f"INCOMPLETE: {facts['failure']}")
    for line in lines:
        say(line)


def say(line: str) -> None:
    """One line on stderr; where that cannot be written to, the command's status matters more."""
    with suppress(OSError):
        print(f"capsule: {_printable(line)}", file=sys.stderr, flush=True)


def _count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _printable(text: str) -> str:
    """A file name of the target must not drive the user's terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)

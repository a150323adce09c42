"""`capsule summary RUN`: what ran, what was touched, what failed, what stands out."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import Any

from capsule.commands._lines import harmless, size_text
from capsule.commands._runoptions import add_run_options, chosen_run
from capsule.history import Digest, by_directory, digest
from capsule.records import forwards, load
from capsule.tags import shipped_rules

SHOWN = 10


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "summary",
        help="say what a run did",
        description="Say what ran, what was read and written outside the working directory, who "
        "was talked to, what failed and what stands out.",
    )
    add_run_options(parser, "latest", json="everything, as one JSON object")
    parser.add_argument("--full", action="store_true", help="leave nothing out")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the summary."""
    path = chosen_run(args)
    found = digest(load(line) for line in forwards(path))
    if args.json:
        print(json.dumps(plain(found), ensure_ascii=False))
        return 0
    for line in lines(found, None if args.full else SHOWN):
        print(harmless(line))
    return 0


def plain(found: Digest) -> dict[str, Any]:
    """Return the digest as one JSON object."""
    return {
        "argv": found.argv, "cwd": found.cwd, "complete": found.complete,
        "processes": found.processes, "events": found.events, "actions": found.actions,
        "programs": dict(found.programs.most_common()),
        "read_outside": found.parts(found.read, within=False),
        "written_outside": found.parts(found.written, within=False),
        "written_inside": found.parts(found.written, within=True),
        "hosts": dict(found.hosts.most_common()),
        "bytes_sent": found.bytes_sent, "bytes_received": found.bytes_received,
        "errors": dict(found.errors.most_common()),
        "tags": {tag: dict(seen) for tag, seen in found.tags.items()}, "ends": dict(found.ends),
        "redacted": found.redacted,
    }  # fmt: skip


def lines(found: Digest, most: int | None) -> list[str]:
    """Return the summary as lines, `most` of each list (None: all)."""
    out = [" ".join(shlex.quote(word) for word in found.argv) or "(no command recorded)"]
    out.append(f"in {found.cwd or 'an unknown directory'}: {found.processes:,} processes, "
               f"{found.events:,} events, {found.actions:,} Actions")  # fmt: skip
    if not found.complete:
        out.append("INCOMPLETE: the log has no seal; `capsule verify` says more")
    _list(out, "Ran", [_times(name, n) for name, n in found.programs.most_common()], most)
    _list(
        out,
        "Wrote in the working directory",
        _directories(found.parts(found.written, within=True)),
        most,
    )
    _list(out, "Wrote outside it", found.parts(found.written, within=False), most)
    _list(out, "Read outside it", _directories(found.parts(found.read, within=False)), most)
    _list(out, "Talked to", [_times(name, n) for name, n in found.hosts.most_common()], most)
    if found.bytes_sent or found.bytes_received:
        out.append(f"  {size_text(found.bytes_sent)} sent, "
                   f"{size_text(found.bytes_received)} received over sockets")  # fmt: skip
    refused = sorted(
        found.failed.items(), key=lambda item: (item[0][0] not in ("EPERM", "EACCES"), -item[1])
    )
    failed = [f"{n:,} x {name}: {kind} {target}".rstrip() for (name, kind, target), n in refused]
    _list(out, "Failed", failed, most)
    ends = [_times(name, n) for name, n in found.ends.most_common()]
    _list(out, "Ended badly", ends, most)
    whys = {rule.tag: rule.why for rule in reversed(shipped_rules())}
    if found.tags:
        out.append("Stands out:")
        for tag, seen in sorted(found.tags.items()):
            examples = [_times(what, n) for what, n in seen.items()]
            out.append(f"  {tag}: {whys.get(tag, '')}".rstrip())
            shown = examples if most is None else examples[:3]
            out += [f"    {example}" for example in shown]
            if len(examples) > len(shown):
                out.append(f"    … {len(examples) - len(shown):,} more")
    if found.redacted:
        out.append(f"Hidden: {found.redacted:,} secrets in command lines (--no-redact keeps them)")
    return out


def _times(name: str, number: int) -> str:
    return name if number == 1 else f"{name}  x {number:,}"


def _directories(paths: list[str]) -> list[str]:
    return [f"{directory}/  {n:,} {'file' if n == 1 else 'files'}"
            for directory, n in by_directory(paths)]  # fmt: skip


def _list(out: list[str], title: str, items: list[str], most: int | None) -> None:
    if not items:
        return
    out.append(f"{title}:")
    out += [f"  {item}" for item in items[:most]]
    if most is not None and len(items) > most:
        out.append(f"  … {len(items) - most:,} more (--full shows them)")

"""`capsule doctor`: what this machine offers a trace, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import dataclasses
import json


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="say what this machine offers a trace, and what is missing",
        description="Try what a trace needs, and say what to do where something is missing.",
        epilog="Exit status: 0 when programs can be traced here, 1 when not.",
    )
    parser.add_argument("--log-dir", metavar="DIR", help="the log directory to look at")
    parser.add_argument("--json", action="store_true", help="the findings as one JSON list")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from capsule.doctor import examine

    findings = examine(args.log_dir)
    if args.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.state:8} {finding.name:{width}}  {finding.detail}")
            if finding.fix and finding.state != "ok":
                print(f"{'':8} {'':{width}}  -> {finding.fix}")
    return int(any(finding.state == "missing" for finding in findings))

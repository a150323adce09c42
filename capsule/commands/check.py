"""`capsule check --policy P RUN…`: what a policy would have denied, without running anything."""

from __future__ import annotations

import argparse
import json

from capsule import logdir, policysource
from capsule.behaviour import KINDS, Fact, Key
from capsule.commands._lines import harmless
from capsule.commands._runoptions import add_run_options
from capsule.errors import CapsuleError


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "check",
        help="say what a policy would have denied in runs",
        description="Hold runs against a policy. Exit status 1 when it would have denied "
        "something.",
    )
    add_run_options(parser, "some", json="one JSON object a denial")
    parser.add_argument("--policy", metavar="FILE", required=True, help="of `capsule profile`")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print each denial with where it was seen; 1 when there is any."""
    held = policysource.read_policy(args.policy)
    directory = logdir.log_dir(args.log_dir)
    status = 0
    for name in args.logs:
        found = policysource.read_run(name, directory, refused=True)
        if "tampered" in found.doubts:
            raise CapsuleError(harmless(f"{name} {found.doubts['tampered']}"))
        behaviour = found.behaviour
        denied = held.denied(behaviour)
        status |= bool(denied)
        for key, fact in sorted(denied.items()):
            if args.json:
                print(json.dumps({"run": behaviour.run, "kind": key[0], "what": key[1],
                                  "count": fact.count, "seq": fact.seq, "proc": fact.proc},
                                 ensure_ascii=False))  # fmt: skip
            else:
                print(describe(behaviour.run, key, fact))
        if args.json:
            continue
        for why in found.doubts.values():
            print(harmless(f"{behaviour.run}: note that it {why}"))
        if not (held.calls_known and behaviour.calls_known):
            print(f"{behaviour.run}: system calls are not checked: which were made is not known")
        if not denied:
            print(f"{behaviour.run}: nothing would have been denied")
    return status


def describe(where: str, key: Key, fact: Fact) -> str:
    """One denial, for people."""
    kind, what = key
    at = "" if fact.seq is None else f" record {fact.seq}"
    return harmless(
        f"{where}{at}: {KINDS[kind]} {what}, {fact.count:,} x: no {kind} rule allows it"
    )

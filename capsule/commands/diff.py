"""`capsule diff A B`: what B does, or allows, that A does not."""

from __future__ import annotations

import argparse
import json

from capsule import logdir, policysource
from capsule.behaviour import KINDS
from capsule.commands._lines import harmless
from capsule.commands._runoptions import add_run_options
from capsule.policy import Policy, Rule


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "diff",
        help="say what one run or policy does that another does not",
        description="Compare two runs, two policies, or a policy with a run. Exit status 1 when B "
        "does something new; what has vanished is only said.",
    )
    parser.add_argument("before", metavar="A", help="a run or a policy file")
    parser.add_argument("after", metavar="B", help="a run or a policy file")
    add_run_options(parser, "all", json="the differences as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is new and what has vanished; 1 when something is new."""
    directory = logdir.log_dir(args.log_dir)
    before = policysource.read_either(args.before, directory)
    after = policysource.read_either(args.after, directory)
    new, vanished = compare(before, after)
    if args.json:
        found = {"new": [one.plain() for one in new], "vanished": [one.plain() for one in vanished],
                 "calls_compared": before.calls_known and after.calls_known}  # fmt: skip
        print(json.dumps(found, ensure_ascii=False))
        return int(bool(new))
    for sign, rules in (("+", new), ("-", vanished)):
        for rule in rules:
            print(harmless(f"{sign} {KINDS[rule.kind]} {rule.what}{where(rule)}"))
    if not (before.calls_known and after.calls_known):
        print("system calls are not compared: one of the two does not say which were made")
    return int(bool(new))


def compare(before: Policy, after: Policy) -> tuple[list[Rule], list[Rule]]:
    """Return the rules of `after` that `before` does not cover, and the other way round."""

    def missing(of: Policy, to: Policy) -> list[Rule]:
        return [
            rule
            for key, rule in sorted(of.rules.items())
            if before.speaks_of(key[0]) and after.speaks_of(key[0]) and to.covering(key) is None
        ]

    new = missing(after, before)
    covered = {rule.what for key in after.rules if (rule := before.covering(key)) is not None}
    # what was granted without having been seen cannot vanish
    gone = [rule for rule in missing(before, after) if rule.count and rule.what not in covered]
    return new, gone


def where(rule: Rule) -> str:
    """Return where a rule was seen first."""
    if not rule.evidence:
        return f"  ({rule.why})" if rule.why else ""
    run_, seq, _ = rule.evidence[0]
    return f"  ({rule.count:,} x, {run_}{'' if seq is None else f' record {seq}'})"

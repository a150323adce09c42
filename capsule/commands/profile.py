"""`capsule profile RUN…`: draft a policy from what runs did, and say it in others' words."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from capsule import logdir, policy, policysource
from capsule.commands._lines import harmless
from capsule.commands._runoptions import add_run_options
from capsule.dialects import DIALECTS, native
from capsule.dialects.rendering import RUNTIMES, Asked, name_of
from capsule.errors import CapsuleError, UsageError

DOUBTS = {
    "tampered": "use logs that are TAMPERED",
    "incomplete": "use logs that were cut off, or say that something is missing",
    "subset": "use runs of which not every system call was traced",
    "failed": "use runs whose command failed",
}


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "profile",
        help="draft an allow-list from runs",
        description="Merge runs of one program to a policy that allows what they did: system "
        "calls, files, programs, connections. Each rule says where it was seen. What is granted "
        "beyond that is printed. --format says a policy in the words of another tool, and how the "
        "two differ.",
    )
    add_run_options(parser, "any")
    parser.add_argument("--policy", metavar="FILE", help="take this policy, and draft none")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the policy to FILE")
    words = "whose words to say it in (default: native, Capsule's own)"
    parser.add_argument("--format", choices=tuple(DIALECTS), default="native", help=words)
    words = "of the profile, where it has one (default: the program's)"
    parser.add_argument("--name", help=words)
    words = "oci, kubernetes: what starts the container (default: any of these)"
    parser.add_argument("--runtime", choices=RUNTIMES, action="append", help=words)
    words = "oci, kubernetes: the container has no_new_privs set"
    parser.add_argument("--no-new-privs", action="store_true", help=words)
    words = "print the JSON schema of native policies, and nothing else"
    parser.add_argument("--schema", action="store_true", help=words)
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but the policy")
    for doubt, words in DOUBTS.items():
        parser.add_argument(f"--allow-{doubt}", action="store_true", help=words)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the policy; say on stderr how sure it is and what it grants beyond what was seen."""
    if args.schema:
        sys.stdout.write(native.schema())
        return 0
    if bool(args.logs) == (args.policy is not None):
        raise UsageError("name the runs to draft a policy from, or a policy with --policy")
    home = os.path.expanduser("~")
    found = policysource.read_policy(args.policy) if args.policy else _draft(args, home)
    name = args.name or name_of(found)
    if not re.fullmatch("[a-z0-9]([a-z0-9-]{,61}[a-z0-9])?", name):
        raise UsageError(f"--name {name!r}: use small letters, digits, and - between them")
    runtimes = tuple(dict.fromkeys(args.runtime or RUNTIMES))
    rendered = DIALECTS[args.format](found, Asked(name, home, runtimes, args.no_new_privs))
    text = rendered.text.encode("utf-8", "surrogateescape")  # a name may be of any bytes
    if args.output:
        try:
            Path(args.output).write_bytes(text)
        except OSError as error:
            raise CapsuleError(f"cannot write {args.output}: {error.strerror}") from None
    else:
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
    if not args.quiet:
        for line in [] if args.policy else report(found):
            print(f"capsule: {harmless(line)}", file=sys.stderr)
        for note in rendered.notes:
            print(f"capsule: {args.format}: {harmless(note)}", file=sys.stderr)
    return 0


def _draft(args: argparse.Namespace, home: str) -> policy.Policy:
    directory = logdir.log_dir(args.log_dir)
    behaviours = []
    for name in args.logs:
        found = policysource.read_run(name, directory)
        for doubt, why in found.doubts.items():
            if not getattr(args, f"allow_{doubt}"):
                raise CapsuleError(harmless(
                    f"{name} {why}: no policy is drafted from it (--allow-{doubt} does it anyway)"
                ))  # fmt: skip
        behaviours.append(found.behaviour)
    names = [one.run for one in behaviours]
    if len(set(names)) != len(names):
        raise CapsuleError("a run is named twice; each has to count once")
    drafted = policy.draft(behaviours, home, policysource.loaders)
    drafted.confidence = policy.judge(behaviours, home, policysource.loaders)
    return drafted


def report(drafted: policy.Policy) -> list[str]:
    """Return what a person should know of a draft."""
    told = drafted.confidence
    runs = told["runs"]
    out = [f"{len(drafted.rules)} rules from {runs} {'run' if runs == 1 else 'runs'}"]
    if not drafted.calls_known:
        out.append("calls are not known from these runs: the policy has no rules for them")
    elif "calls_expected" in told:
        out.append(f"calls: {told['calls_seen']} seen, about {told['calls_expected']:.0f} expected")
    else:
        out.append(f"calls: {told['calls_seen']} seen; one run cannot say how many are missing")
    out += _left_out(told)
    beyond = drafted.beyond()
    out.append(f"granted beyond what was seen: {len(beyond)}")
    out += [f"  {rule.kind} {rule.what}: {rule.why}" for rule in beyond]
    return out


def _left_out(told: dict[str, Any]) -> list[str]:
    each = told.get("left_out")
    if not each:
        return []
    whole = sum(one["facts"] for one in each)
    denied = sum(one["denied"] for one in each)
    share = denied / whole if whole else 0
    runs = sum(1 for one in each if one["denied"])
    what = f"{denied} of {whole} things it did would be denied ({share:.1%})"
    return [f"each run against a policy of the others: {what}, in {runs} of {len(each)} runs"]

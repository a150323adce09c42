"""`capsule run --policy P CMD…`: run a program that can do what a policy allows, and no more."""

from __future__ import annotations

import argparse
import os
import resource
from functools import partial
from pathlib import Path
from typing import Any

from blake3 import blake3

from capsule import policysource
from capsule.commands import _finish
from capsule.commands import trace as tracing
from capsule.commands.check import describe as describe_denial
from capsule.enforce.confinement import LAYERS, Confinement, Wishes
from capsule.errors import UsageError
from capsule.policy import Policy
from capsule.supervise import Outcome

LIMITS = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}
UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

MOST_DENIALS = 12
"""Lines about denials at the end of a run; `capsule check` gives all."""

NOT_HELD = (
    "not held by anything here: stat, chmod, chown and the like on any path; sockets that have a "
    "path (docker.sock); UDP; what an open descriptor already allows"
)


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "run",
        help="run a command under a policy",
        usage="capsule run --policy FILE [options] [--] COMMAND [ARG…]",
        description="Run COMMAND, confined to what a policy of `capsule profile` allows, by "
        "seccomp and Landlock, and log what it does. What is not allowed fails with EPERM, EACCES "
        "or ENOSYS.",
        epilog="Exit status: the command's own; 128+N when signal N killed it (137 after "
        "--timeout); 127 not found, 126 not executable or not allowed, 125 when Capsule itself "
        "failed or could not confine it: then it has not run.",
    )
    parser.usage_status = 125  # type: ignore[attr-defined]
    parser.add_argument("--policy", metavar="FILE", required=True, help="of `capsule profile`")
    parser.add_argument(
        "--complain",
        action="store_true",
        help="deny nothing: let it run, and say what the policy would have denied",
    )
    parser.add_argument(
        "--no-trace",
        action="store_true",
        help="confine only: no log, and none of what tracing costs",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        help="kill COMMAND and all it started after so long",
    )
    parser.add_argument(
        "--rlimit",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=_limit,
        help="a limit of setrlimit(2), repeatable: as=2G, nofile=64, cpu=10, core=0; SOFT:HARD "
        "sets both",
    )
    parser.add_argument(
        "--keep-fd",
        metavar="N",
        action="append",
        default=[],
        type=_descriptor,
        help="do not close this descriptor, repeatable; all above 2 are closed otherwise",
    )
    parser.add_argument(
        "--allow-missing",
        metavar="LAYER",
        action="append",
        default=[],
        type=_layers,
        help=f"run although the kernel cannot hold this: {', '.join(LAYERS)}",
    )
    parser.add_argument(
        "--allow-wide",
        metavar="DIR",
        action="append",
        default=[],
        type=os.path.abspath,
        help="let the policy's rules about single names in DIR, such as a home directory, stand "
        "for all of it",
    )
    tracing.add_command_options(parser)
    parser.set_defaults(run=run, pid=[], syscalls="all")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise ValueError
    return seconds


def _limit(text: str) -> tuple[str, tuple[int, int, int]]:
    name, equals, value = text.partition("=")
    name = name.lower().removeprefix("rlimit_")
    if not equals or name not in LIMITS:
        known = ", ".join(sorted(LIMITS))
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE; names: {known}")
    soft, colon, hard = value.partition(":")
    number = _amount(soft)
    return name, (LIMITS[name], number, _amount(hard) if colon else number)


def _amount(text: str) -> int:
    """The number of `64`, `2G` or `unlimited`, as setrlimit(2) takes it."""
    if text == "unlimited":
        return (1 << 64) - 1
    unit = UNITS.get(text[-1:].lower(), 1)
    digits = text[:-1] if unit > 1 else text
    if not digits.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number, such as 64, 2G or unlimited")
    return int(digits) * unit


def _descriptor(text: str) -> int:
    number = int(text)
    try:
        os.fstat(number)
    except (OSError, OverflowError):
        raise argparse.ArgumentTypeError(f"descriptor {text} is not open") from None
    return number


def _layers(text: str) -> list[str]:
    layers = text.split(",")
    for layer in layers:
        if layer not in LAYERS:
            raise argparse.ArgumentTypeError(
                f"no such layer: {layer}; there are {', '.join(LAYERS)}"
            )
    return layers


def run(args: argparse.Namespace) -> int:
    """Confine the command and run it, traced or not; its status."""
    words = tracing.command_words(args)
    with tracing.trace_failures():
        tracing.tell_there(args)
        if not words:
            raise UsageError("give a command to run; see capsule run --help")
        held = policysource.read_policy(args.policy)
        wishes = Wishes(
            complain=args.complain,
            allow_missing=frozenset(layer for layers in args.allow_missing for layer in layers),
            allow_wide=frozenset(args.allow_wide),
            limits=dict(args.rlimit),
            keep=tuple(sorted({fd for fd in args.keep_fd if fd > 2})),
        )
        confinement = Confinement(held, wishes, os.path.expanduser("~"))
        confinement.facts["policy"] = {
            "path": os.path.abspath(args.policy),
            "blake3": blake3(Path(args.policy).read_bytes()).hexdigest(),
        }
        if args.timeout is not None:
            confinement.facts["timeout_s"] = args.timeout
        if not args.quiet:
            announce(args, confinement)
        if args.no_trace:
            from capsule.commands._untraced import run_untraced

            return run_untraced(args, words, confinement)
        return _run_traced(args, words, held, confinement)


def _run_traced(
    args: argparse.Namespace, words: list[bytes], held: Policy, confinement: Confinement
) -> int:
    from capsule.enforce.traced import EnforcedRun

    def report(_: Outcome, log: Path) -> None:
        if not args.quiet:
            for line in denials(held, log, "would be denied" if args.complain else "denied"):
                _finish.say(line)

    return tracing.trace(
        args,
        words,
        traced=partial(EnforcedRun, confinement=confinement, timeout_s=args.timeout),
        told_before={"enforced": confinement.facts},
        done=report,
    )


def denials(held: Policy, log: Path, verb: str) -> list[str]:
    """What was tried and `held` does not allow, a line each, with the rule that would."""
    denied = policysource.read_denied(log, held)
    lines = [describe_denial(verb, key, fact) for key, fact in sorted(denied.items())]
    if len(lines) > MOST_DENIALS:
        more = len(lines) - MOST_DENIALS
        lines[MOST_DENIALS:] = [f"{verb}: {more} more; capsule check --policy FILE {log.stem}"]
    return lines


def announce(args: argparse.Namespace, confinement: Confinement) -> None:
    """Say what is held, and what is not."""
    for line in describe(args.policy, confinement):
        _finish.say(line)


def describe(policy: str, confinement: Confinement) -> list[str]:
    """The lines of `announce`."""
    facts: dict[str, Any] = confinement.facts
    calls = facts.get("seccomp")
    files = facts.get("landlock")
    by = []
    if calls:
        by.append(f"{calls['calls']} system calls")
    if files:
        by.append(f"{files['paths']} paths (Landlock ABI {files['abi']})")
    if confinement.complain:
        return [f"complaining by {policy}: {', '.join(by)}; nothing is denied"]
    out = [f"enforcing {policy}: {', '.join(by)}", NOT_HELD]
    out += [f"not held, as allowed: {layer}: {LAYERS[layer]}" for layer in facts["missing"]]
    if files and files["wide"]:
        wide = list(files["wide"])
        more = f" and {len(wide) - 4} more" if len(wide) > 4 else ""
        out.append(
            f"wider than the policy, as Landlock holds directories: {', '.join(wide[:4])}{more}"
        )
    if calls and calls["left_out"]:
        out.append(f"never allowed, though in the policy: {', '.join(calls['left_out'])}")
    return out

"""The native policy: what a program may do, each rule with what was seen (docs/allowlists.md).

Pure: behaviours in, a policy out; a policy and a behaviour in, what would be denied out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from capsule import arguments, generalise
from capsule.arguments import Comparison, conditions
from capsule.behaviour import KINDS, PATHS, Behaviour, Fact, Key
from capsule.errors import CapsuleError

FORMAT = "capsule-policy"
VERSION = 1

ALWAYS = {
    **dict.fromkeys(("restart_syscall", "rt_sigreturn"), "the kernel makes the program call it"),
    **dict.fromkeys(("exit", "exit_group"), "every program ends"),
    **dict.fromkeys(
        ("clock_gettime", "clock_getres", "gettimeofday", "time", "getcpu"),
        "the vDSO falls back to it",
    ),
}
SIBLINGS = (
    ("open", "openat"),
    ("clone", "clone3", "fork", "vfork"),
    ("stat", "lstat", "fstat", "newfstatat", "statx"),
    ("access", "faccessat", "faccessat2"),
    ("poll", "ppoll"),
    ("select", "pselect6"),
    ("epoll_wait", "epoll_pwait"),
    ("pipe", "pipe2"),
    ("dup2", "dup3"),
    ("readlink", "readlinkat"),
    ("unlink", "unlinkat"),
    ("mkdir", "mkdirat"),
    ("rename", "renameat", "renameat2"),
    ("chmod", "fchmodat"),
    ("getdents", "getdents64"),
    ("accept", "accept4"),
    ("wait4", "waitid"),
    ("nanosleep", "clock_nanosleep"),
    ("getrlimit", "setrlimit", "prlimit64"),
)
"""Calls that a C library takes for each other, from release to release or machine to machine."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One permission. `why` is "seen", or why it is granted though it was not.

    In the `what` of a `pattern`, `*` is any text within one component; else it is a character.
    """

    kind: str
    what: str
    why: str = "seen"
    count: int = 0
    runs: int = 0
    evidence: tuple[tuple[str, int | None, int | None], ...] = ()  # run, seq, proc; first of each
    pattern: bool = False
    where: tuple[Comparison, ...] | None = None  # what has to hold of the call's arguments

    def plain(self) -> dict[str, Any]:
        """Return the rule as one JSON object."""
        seen = [{"run": run, "seq": seq, "proc": proc} for run, seq, proc in self.evidence]
        found = {
            "kind": self.kind, "what": self.what, "pattern": self.pattern, "why": self.why,
            "count": self.count, "runs": self.runs, "evidence": seen,
        }  # fmt: skip
        if self.where is not None:
            found["where"] = [one.plain() for one in self.where]
        return found


@dataclass(slots=True)
class Policy:
    """Rules by kind and text, and what they were drafted from."""

    rules: dict[Key, Rule] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    calls_known: bool = True
    arguments_known: bool = True
    confidence: dict[str, Any] = field(default_factory=dict)

    def covering(self, key: Key) -> Rule | None:
        """Return the rule that allows a fact, or None."""
        rule = self.rules.get(key)
        if rule is None and key[0] in PATHS:
            for one in self.rules.values():
                if one.pattern and one.kind == key[0] and generalise.matches(one.what, key[1]):
                    return one
        return rule

    def denied(self, behaviour: Behaviour) -> dict[Key, Fact]:
        """Return the facts that no rule allows."""
        return {
            key: fact
            for key, fact in behaviour.facts.items()
            if self.covering(key) is None and self.speaks_of(key[0])
        }

    def speaks_of(self, kind: str) -> bool:
        """Say whether the runs it is from could show facts of this kind."""
        if kind == "argument":
            return self.arguments_known
        return kind != "call" or self.calls_known

    def conditions(self) -> dict[str, list[tuple[Comparison, ...]]]:
        """Return call → alternatives, each a list of comparisons that all have to hold.

        Rules of kind `call` say whether a call may be made at all; with what is not in here, its
        arguments do not matter. See `conditions.UNINSPECTABLE` for calls that no filter sees into.
        """
        rules = [(rule.kind, rule.what, rule.where) for rule in self.rules.values()]
        return conditions.of(rules, self.arguments_known)

    def beyond(self) -> list[Rule]:
        """Return the rules that grant more than was seen."""
        return [rule for rule in self.rules.values() if rule.why != "seen"]

    def plain(self) -> dict[str, Any]:
        """Return the policy as one JSON object."""
        order = {kind: index for index, kind in enumerate(KINDS)}
        rules = sorted(self.rules.values(), key=lambda rule: (order[rule.kind], rule.what))
        return {
            "format": FORMAT, "version": VERSION, "runs": self.runs,
            "calls_known": self.calls_known, "arguments_known": self.arguments_known,
            "confidence": self.confidence,
            "rules": [rule.plain() for rule in rules],
        }  # fmt: skip


def draft(
    behaviours: Sequence[Behaviour], home: str, loaders: Callable[[str], Iterable[str]]
) -> Policy:
    """Merge runs to a policy. `loaders` names the programs that running a path also runs."""
    policy = Policy(calls_known=all(one.calls_known for one in behaviours))
    policy.arguments_known = all(one.arguments_known for one in behaviours)
    policy.runs = [{"run": one.run, "argv": one.argv} for one in behaviours]
    spread = generalise.fanout(
        what for one in behaviours for kind, what in one.facts if kind in PATHS
    )
    wild = {
        kind: generalise.patterns(
            [[what for what_kind, what in one.facts if what_kind == kind] for one in behaviours],
            home,
            spread,
        )
        for kind in sorted(PATHS)
    }
    seen: dict[Key, list[tuple[str, Fact]]] = {}
    for one in behaviours:
        for (kind, what), fact in one.facts.items():
            if not policy.speaks_of(kind):
                continue
            token = next((p for p in wild.get(kind, ()) if generalise.matches(p, what)), what)
            seen.setdefault((kind, token), []).append((one.run, fact))
    for (kind, what), facts in seen.items():
        first = {run: (run, fact.seq, fact.proc) for run, fact in reversed(facts)}
        pattern = what in wild.get(kind, ())
        why = "differs from run to run" if pattern else "seen"
        policy.rules[kind, what] = Rule(
            kind, what, why, sum(fact.count for _, fact in facts), len(first),
            tuple(first[run] for run in sorted(first)), pattern, arguments.where(kind, what),
        )  # fmt: skip
    _add_unseen(policy, loaders)
    return policy


def _add_unseen(policy: Policy, loaders: Callable[[str], Iterable[str]]) -> None:
    def add(kind: str, what: str, why: str) -> None:
        where = arguments.where(kind, what)
        policy.rules.setdefault((kind, what), Rule(kind, what, why, where=where))

    if policy.calls_known:
        for name, why in ALWAYS.items():
            add("call", name, why)
        for family in SIBLINGS:
            made = [name for name in family if ("call", name) in policy.rules]
            for name in family if made else ():
                add("call", name, f"does what {made[0]} does")
    for name, watched in arguments.WATCHED.items():
        if policy.arguments_known and ("call", name) in policy.rules:
            for value in watched.harmless:
                add("argument", f"{name} {value}", f"harmless where {name} is allowed")
    for kind in ("read", "write"):
        add(kind, "/dev/null", "gives and keeps nothing; shells and error paths open it")
    for kind, path in [key for key in policy.rules if key[0] == "exec"]:
        if not policy.rules[kind, path].pattern:
            for loader in loaders(path):
                add(kind, loader, f"{path} is started by it")


def judge(
    behaviours: Sequence[Behaviour], home: str, loaders: Callable[[str], Iterable[str]]
) -> dict[str, Any]:
    """Return how sure a policy of these runs is: Chao2 of the calls, and leave-one-run-out.

    Chao2 (bias-corrected): seen + (m-1)/m * Q1(Q1-1) / (2(Q2+1)), where Q1 and Q2 are how many
    calls occur in exactly one and two of m runs (Chao 1987; Colwell and Coddington 1994).
    """
    incidence: dict[str, int] = {}
    for one in behaviours:
        for kind, what in one.facts:
            if kind == "call":
                incidence[what] = incidence.get(what, 0) + 1
    m = len(behaviours)
    found: dict[str, Any] = {"runs": m, "calls_seen": len(incidence)}
    if m < 2:
        return found
    once = sum(1 for runs in incidence.values() if runs == 1)
    twice = sum(1 for runs in incidence.values() if runs == 2)
    found["calls_expected"] = round(
        len(incidence) + (m - 1) / m * once * (once - 1) / (2 * (twice + 1)), 1
    )
    left_out = []
    for index, one in enumerate(behaviours):
        others = draft([*behaviours[:index], *behaviours[index + 1 :]], home, loaders)
        denied = others.denied(one)
        left_out.append({"run": one.run, "facts": len(one.facts), "denied": len(denied)})
    found["left_out"] = left_out
    return found


def as_policy(behaviour: Behaviour) -> Policy:
    """Return what a run did as a policy that allows just that."""
    rules = {
        key: Rule(*key, "seen", fact.count, 1, ((behaviour.run, fact.seq, fact.proc),),
                  where=arguments.where(*key))
        for key, fact in behaviour.facts.items()
    }  # fmt: skip
    runs = [{"run": behaviour.run, "argv": behaviour.argv}]
    return Policy(rules, runs, behaviour.calls_known, behaviour.arguments_known)


def parse(value: Any) -> Policy:
    """Return the policy that a JSON object says. CapsuleError when it is none."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise CapsuleError(f'this is no policy: it has no "format": "{FORMAT}"')
    if value.get("version") != VERSION:
        raise CapsuleError(f"this policy is of version {value.get('version')}, not {VERSION}")
    policy = Policy(runs=value.get("runs") or [], confidence=value.get("confidence") or {})
    policy.calls_known = value.get("calls_known") is True
    policy.arguments_known = value.get("arguments_known") is True
    rules = value.get("rules")
    if not isinstance(rules, list):
        raise CapsuleError('this policy has no list "rules"')
    for number, one in enumerate(rules):
        try:
            kind, what = one["kind"], one["what"]
            seen = tuple((e["run"], e["seq"], e["proc"]) for e in one.get("evidence", ()))
            rule = Rule(kind, what, one.get("why", ""), one.get("count", 0), one.get("runs", 0),
                        seen, one.get("pattern") is True, _where(one))  # fmt: skip
        except ValueError as error:
            raise CapsuleError(f"rule {number} of this policy: {error}") from None
        except (KeyError, TypeError, AttributeError):
            raise CapsuleError(f"rule {number} of this policy has no kind and what") from None
        if kind not in KINDS or not isinstance(what, str):
            raise CapsuleError(f"rule {number} of this policy is of no known kind: {kind!r}")
        if kind in PATHS and posixpath.normpath(what) != what:
            raise CapsuleError(f"rule {number} of this policy: {what!r} is no plain path")
        policy.rules[kind, what] = rule
    return policy


def _where(rule: dict[str, Any]) -> tuple[Comparison, ...] | None:
    """Return what a rule says of arguments. ValueError if its numbers do not say what it does."""
    meant = arguments.where(rule["kind"], rule["what"])
    if "where" not in rule:
        if meant is None and rule["kind"] == "argument":
            raise ValueError(f"{rule['what']!r} is no known argument, and no `where` has numbers")
        return meant
    if any(one["op"] != "==" for one in rule["where"]):
        raise ValueError('the only `op` is "=="')
    said = tuple(Comparison(one["index"], one["mask"], one["value"]) for one in rule["where"])
    if any(one.value & ~one.mask or not 0 <= one.index < 6 for one in said):
        raise ValueError(f"{rule['what']!r} can never be")
    if meant is not None and meant != said:
        raise ValueError(f"{rule['what']!r} is not what its `where` says")
    return said

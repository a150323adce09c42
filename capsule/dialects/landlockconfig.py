"""`landlockconfig`: the JSON of landlock-lsm/landlockconfig, which `llconfig run --json` takes.

It speaks of files, TCP ports, abstract sockets and signals, and of no system calls. The rights
are those that `capsule run` sets (`enforce.landlock`), on what is on this machine's disk now:
llconfig passes over what it does not find.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntFlag
from typing import Any, TypeVar

from capsule.dialects import rendering
from capsule.dialects.rendering import Asked, Rendered, several
from capsule.enforce import landlock
from capsule.enforce.landlock import Plan, Scope
from capsule.policy import Policy

_OWN = "/proc/self"
_OF_CALLS = frozenset(("call", "argument", "memory", "socket"))

Key = TypeVar("Key", str, int)
Rights = TypeVar("Rights", bound=IntFlag)


def render(policy: Policy, asked: Asked) -> Rendered:
    """Return the configuration as JSON."""
    plan = landlock.plan(policy, asked.home, asked.tree)
    fs, net, scope = landlock.handled(landlock.NEWEST)
    held: dict[str, list[str]] = {"handledAccessFs": _names(fs)}
    if net & ~plan.open_ports:
        held["handledAccessNet"] = _names(net & ~plan.open_ports)
    if scope & plan.scoped:
        held["scoped"] = _names(scope & plan.scoped)
    found: dict[str, Any] = {"abi": landlock.NEWEST, "ruleset": [held]}
    paths = {**plan.paths, **({_OWN: plan.own} if plan.own else {})}
    said, unsaid = rendering.sayable(paths)
    beneath = _alike({_template(name): paths[path] for path, name in said.items()})
    if beneath:
        found["pathBeneath"] = [
            {"allowedAccess": _names(rights), "parent": parents} for rights, parents in beneath
        ]
    ports = _alike({port: rights & ~plan.open_ports for port, rights in plan.ports.items()})
    if ports:
        found["netPort"] = [
            {"allowedAccess": _names(rights), "port": numbers} for rights, numbers in ports
        ]
    notes = _notes(policy, plan)
    if unsaid:
        notes.append(f"denies {several(unsaid)}: JSON cannot say names that are not UTF-8")
    return Rendered(json.dumps(found, indent=2, ensure_ascii=False) + "\n", notes)


def _names(rights: IntFlag) -> list[str]:
    """What the configuration calls rights: as the kernel's headers, in small letters."""
    return [one.name.lower() for one in type(rights) if one & rights and one.name]


def _template(path: str) -> str:
    """A path as the configuration writes it: `${name}` would be a variable."""
    return path.replace("$", "$$")


def _alike(found: Mapping[Key, Rights]) -> list[tuple[Rights, list[Key]]]:
    """Put together what has the same rights."""
    groups: dict[Rights, list[Key]] = {}
    for key in sorted(found):
        if found[key]:
            groups.setdefault(found[key], []).append(key)
    return list(groups.items())


def _notes(policy: Policy, plan: Plan) -> list[str]:
    """Return where a plan's rights differ from the policy."""
    calls = sum(1 for kind, _ in policy.rules if kind in _OF_CALLS)
    notes = [
        f"cannot say which system calls: {calls} rules are not in it",
        "cannot say who changes modes and owners, asks for attributes, uses UDP or named sockets",
        "cannot say that a kernel must hold it all: llconfig leaves out what an older one lacks",
    ]
    ports = [port for port, rights in sorted(plan.ports.items()) if rights & ~plan.open_ports]
    if ports:
        notes.append(f"allows TCP ports {several(map(str, ports))} at any address")
    if plan.open_ports:
        notes.append(f"allows {' and '.join(_names(plan.open_ports))} for every port")
    if Scope.ABSTRACT_UNIX_SOCKET not in plan.scoped:
        notes.append("allows to connect to abstract sockets of all programs")
    notes += [f"allows in all of {where} what {path} needs" for where, path in plan.wide.items()]
    notes += [
        f"denies making or removing {path}: that takes all of {where}, which is never opened"
        for where, path in plan.refused.items()
    ]
    if any(rule.pattern for rule in policy.rules.values()):
        notes.append("denies names that come to match a pattern, where no whole directory is open")
    if plan.absent:
        notes.append(f"denies {plan.absent} paths that are not there")
    return notes

"""What goes into a dialect and comes out of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from capsule.policy import Policy, Rule

RUNTIMES = ("runc", "crun")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person may choose.

    `name` of the profile, where it has one. `home`: the home directory, which is never opened as
    a whole. `runtimes` and `no_new_privs`: what starts the container, and whether it gives up new
    privileges first.
    """

    name: str
    home: str
    runtimes: tuple[str, ...] = RUNTIMES
    no_new_privs: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """A profile's text, and in sentences without a subject where it differs from the policy:
    "cannot say …" and "allows …" where it is wider, "denies …" where it is narrower."""

    text: str
    notes: list[str]


def name_of(policy: Policy) -> str:
    """Return a name for a policy's profile: the program of its first run, in plain letters."""
    argv = policy.runs[0].get("argv") if policy.runs else None
    words = re.findall(r"[a-z0-9]+", argv[0].rpartition("/")[2].lower()) if argv else []
    return "-".join(words) or "capsule"


def granting(policy: Policy, calls: Iterable[str], why: str) -> Policy:
    """Return the policy with rules for calls that the one who enforces it makes himself."""
    added = {("call", one): Rule("call", one, why) for one in calls}
    return replace(policy, rules={**added, **policy.rules})


def several(words: Iterable[str], most: int = 6) -> str:
    """Return words as people list them: all if they are few, else the first and how many more."""
    listed = list(words)
    if len(listed) <= most:
        return ", ".join(listed)
    return f"{', '.join(listed[:most])} and {len(listed) - most} more"

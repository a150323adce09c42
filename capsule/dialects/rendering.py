"""What goes into a dialect and comes out of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from capsule.enforce.disk import Disk
from capsule.enforce.landlock import Tree
from capsule.policy import Policy, Rule
from capsule.text import harmless, unescape_arg

RUNTIMES = ("runc", "crun")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person may choose.

    `name` of the profile, where it has one. `home`: the home directory, which is never opened as
    a whole. `runtimes` and `no_new_privs`: what starts the container, and whether it gives up new
    privileges first. `tree`: what is on disk, for dialects that name what is there.
    """

    name: str
    home: str
    runtimes: tuple[str, ...] = RUNTIMES
    no_new_privs: bool = False
    tree: Tree = field(default_factory=Disk)


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


def comments(notes: Iterable[str], subject: str) -> list[str]:
    """Return notes as lines of a file in which `#` begins a comment; none can end its line."""
    return [harmless(f"# {subject} {note}.") for note in notes]


def sayable(paths: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return a policy's paths → their names on disk, and the paths whose names are not UTF-8."""
    said, unsaid = {}, []
    for path in paths:
        name = unescape_arg(path)
        try:
            name.encode()
        except UnicodeEncodeError:
            unsaid.append(path)
        else:
            said[path] = name
    return said, unsaid


def several(words: Iterable[str], most: int = 6) -> str:
    """Return words as people list them: all if they are few, else the first and how many more."""
    listed = list(words)
    if len(listed) <= most:
        return ", ".join(listed)
    return f"{', '.join(listed[:most])} and {len(listed) - most} more"

"""`minijail`: a seccomp policy file, as `minijail0 -S FILE` reads it (minijail0(5)).

A call that the file does not list kills the program, and no line changes that: so each call that
is not allowed is listed with its errno. One name that a minijail0 does not know makes it refuse
the file, so calls newer than Linux 6.1 are listed only where they are allowed.
"""

from __future__ import annotations

from capsule import syscalls
from capsule.arguments import INT, Comparison
from capsule.dialects import calls
from capsule.dialects.rendering import Asked, Rendered, comments, several
from capsule.policy import Policy

KNOWN = frozenset((*range(335), *range(424, 451)))
"""The numbers of Linux 6.1's calls, whose headers Debian 12 has."""

LABELS = 512
"""How many places to jump to a policy may have (minijail's BPF_LABELS_MAX): a line that is more
than `1` takes one, each of its alternatives another, and what is allowed if one holds a third."""


def render(policy: Policy, asked: Asked) -> Rendered:
    """Return the policy file; its comments are the notes. CapsuleError if calls are not known."""
    found = calls.of(policy)
    labels = 0
    lines, limited, by_int = [f"{name}: 1" for name in found.plain()], [], False
    for name, alternatives in found.limited().items():
        said = [" && ".join(atom for one in some for atom in _atoms(one)) for some in alternatives]
        if not all(said):  # one of them holds whatever the arguments are
            lines.append(f"{name}: 1")
            continue
        limited.append(f"{name}: {' || '.join(said)}; return EPERM")
        labels += len(said) + 2
        by_int |= any(_is_plain(one) for some in alternatives for one in some)
    refused = _refused(found)
    room = max(0, LABELS - labels)
    notes = [
        *calls.not_calls(policy),
        "denies calls that it does not list, those newer than Linux 6.1, by killing the program",
        *found.notes(),
    ]
    if by_int:
        notes.append("denies a positive int with something in the upper half of its register")
    if unlisted := [line.partition(":")[0] for line in refused[room:]]:
        notes.append(f"denies {several(unlisted)} by killing the program: minijail0 has no room")
    head = [
        f"# minijail0 -n -S {asked.name}.policy -- PROGRAM",
        *comments(notes, "This policy"),
    ]
    return Rendered("\n".join([*head, *lines, *limited, *refused[:room]]) + "\n", notes)


def _refused(found: calls.Calls) -> list[str]:
    """Return the lines of what is not allowed, ENOSYS first: programs do without those."""
    known = {row.name for row in syscalls.table() if row.number in KNOWN}
    others = sorted(known - set(found.allowed) - set(found.absent))
    return [
        *(f"{name}: return ENOSYS" for name in found.absent if name in known),
        *(f"{name}: return EPERM" for name in others),
    ]


def _is_plain(one: Comparison) -> bool:
    """Whether `==` says it: all of an int that a register holds without its sign."""
    return one.mask == INT and one.value <= INT >> 1


def _atoms(one: Comparison) -> list[str]:
    """Return what has to hold of an argument, in minijail's operators, which know no masks.

    `&` holds if any of the bits is set, so that each is asked for alone; `in` if no others are.
    """
    argument = f"arg{one.index}"
    if _is_plain(one):
        return [f"{argument} == {one.value:#x}"]
    unset = one.mask & ~one.value
    bits = [1 << place for place in range(64) if one.value >> place & 1]
    return [
        *(f"{argument} & {bit:#x}" for bit in bits),
        *([f"{argument} in ~{unset:#x}"] if unset else []),
    ]

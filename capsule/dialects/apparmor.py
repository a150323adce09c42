"""`apparmor`: a profile for AppArmor 3.0 or newer (apparmor.d(5)), to be entered by its name.

What is not allowed in it is denied. A path is written with `?` for each byte that is not plain, so
no name can mean something else than itself in apparmor_parser's language; that is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from capsule.behaviour import Key
from capsule.dialects import calls, capabilities
from capsule.dialects.rendering import Asked, Rendered, comments, several
from capsule.policy import Policy, Rule
from capsule.text import unescape_arg

RIGHTS = {"read": "r", "write": "w", "create": "w", "delete": "w", "change": "w", "exec": "ix"}
"""Kind of rule → letters of a file rule. Changing modes, owners and times takes `w`."""

FAMILIES = frozenset(("inet", "inet6", "netlink", "packet", "unix", "key", "vsock", "alg", "can"))
TYPES = frozenset(("stream", "dgram", "seqpacket", "rdm", "raw", "packet"))

_PLAIN = re.compile(rb"[A-Za-z0-9/._ +:=~%-]")
_CODE = re.compile(r"\.so(\.[0-9]+)*$|\.node$")
_SELF = re.compile(r"/proc/(?:self|thread-self|\*)(?=/|$)")


def render(policy: Policy, asked: Asked) -> Rendered:
    """Return the profile."""
    name = f"capsule-{asked.name}"
    notes = ["cannot say which addresses: all that a socket of an allowed family and type reaches"]
    notes.append(calls.only_paths(policy))
    files, told = _files(policy)
    notes += told
    network, told = _network(policy)
    notes += told
    made = {what for kind, what in policy.rules if kind == "call"}
    lines = [f"signal (send, receive) peer={name},", "signal (receive) peer=unconfined,"]
    if "ptrace" in made:
        lines.append(f"ptrace (trace, tracedby, read, readby) peer={name},")
    lines += [f"{one}," for one in ("mount", "umount", "pivot_root") if _mounts(one) & made]
    taken = [one.removeprefix("CAP_").lower() for one in capabilities.used(policy)]
    lines += [f"capability {one}," for one in taken]
    notes.append(
        "denies privileges that no call shows by itself, such as dac_override: add `capability` "
        "lines if it runs as root on what is others'"
    )
    head = ["abi <abi/3.0>,", "", *comments(notes, "It")]
    head.append(f"# Load: apparmor_parser -r FILE; run: aa-exec -p {name} -- COMMAND")
    body = "".join(f"  {line}\n" for line in [*files, *network, *lines])
    return Rendered("\n".join(head) + f"\nprofile {name} {{\n{body}}}\n", notes)


def _mounts(rule: str) -> set[str]:
    return {"umount": {"umount2"}, "mount": {"mount", "move_mount", "open_tree"}}.get(rule, {rule})


def globbed(path: str, *, pattern: bool = False) -> str:
    """Return a path as a file rule writes it; of a `pattern`, `*` stays."""
    parts = unescape_arg(path).split("*") if pattern else [unescape_arg(path)]
    return "*".join(
        "".join(
            chr(byte) if _PLAIN.fullmatch(bytes([byte])) else "?"
            for byte in part.encode("utf-8", "surrogateescape")
        )
        for part in parts
    )


def _files(policy: Policy) -> tuple[list[str], list[str]]:
    rights: dict[str, set[str]] = {}
    odd: list[str] = []
    of_others: set[str] = set()

    def grant(rule: Rule, path: str, letters: str, *, directory: bool = False) -> None:
        text = globbed(path, pattern=rule.pattern)
        if "?" in text:
            odd.append(path)
        others = _SELF.sub("/proc/[0-9]*", text)
        if others != text:
            of_others.add(path)
        for one in (others, others.rstrip("/") + "/") if directory else (others,):
            rights.setdefault(one, set()).update(letters)

    for (kind, what), rule in sorted(policy.rules.items()):
        if kind == "exec":
            grant(rule, what, "rmi")
        elif kind in RIGHTS:
            grant(rule, what, RIGHTS[kind], directory=kind != "write")
            if kind == "read" and _CODE.search(what):
                grant(rule, what, "m")
        elif kind in ("bind", "connect") and what.startswith("unix:/"):
            grant(rule, what.removeprefix("unix:"), "rw")
    lines = [f'"{path}" {_letters(letters)},' for path, letters in sorted(rights.items())]
    notes = ["allows making, removing and changing a file where one of them is allowed"]
    notes.append("allows what is run to be read, and mapping programs and libraries as code")
    if of_others:
        notes.append(f"allows {several(sorted(of_others))} of every process, not of its own alone")
    if odd:
        notes.append(f"allows any character where {several(sorted(set(odd)))} has one that is none "
                     "of A-Z a-z 0-9 / . _ + : = ~ % - and the blank")  # fmt: skip
    return lines, notes


def _letters(found: Iterable[str]) -> str:
    """Return rights in the order of apparmor.d(5): `ix` is one, and comes last."""
    have = set(found)
    return "".join(one for one in "rwm" if one in have) + ("ix" if "i" in have else "")


def _network(policy: Policy) -> tuple[list[str], list[str]]:
    lines: set[str] = set()
    left: list[str] = []
    for kind, what in sorted(policy.rules):
        if kind != "socket":
            continue
        family, type_ = _words((kind, what))
        if family not in FAMILIES or type_ not in TYPES:
            left.append(what)
        elif family == "unix":
            lines |= {f"network unix {type_},", f"unix type={type_},"}
        else:
            lines.add(f"network {family} {type_},")
    return sorted(lines), [f"denies sockets of {several(left)}"] if left else []


def _words(rule: Key) -> tuple[str, str]:
    family, _, type_ = rule[1].partition(" ")
    return family.removeprefix("AF_").lower(), type_.removeprefix("SOCK_").lower()

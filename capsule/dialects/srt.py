"""`sandbox-runtime`: the settings of Anthropic's sandbox-runtime (npm, `srt --settings FILE`).

As SandboxRuntimeConfigSchema of @anthropic-ai/sandbox-runtime 0.0.78 has it. It denies all reading
and allows within that; what is denied is an empty directory. Addresses are reached through proxies
that know the names which a program asks for.
"""

from __future__ import annotations

import json
import re

from capsule.dialects import calls, mounts
from capsule.dialects.rendering import Asked, Rendered, several
from capsule.policy import Policy
from capsule.text import unescape_arg

_LOOPBACK = {"127.0.0.1", "[::1]"}
_ADDRESS = re.compile(r"(\d+(?:\.\d+){3}|\[[0-9a-fA-F:.]+\]):(\d+)")


def render(policy: Policy, asked: Asked) -> Rendered:
    """Return the settings as JSON."""
    found = mounts.of(policy, asked.home, asked.tree)
    notes = [calls.only_paths(policy), *found.notes]
    unsaid: list[str] = []
    read = _said([*found.read, *found.write], unsaid)
    write = _said(found.write, unsaid)
    domains, told = _domains(policy)
    notes += told
    hidden = [one for one in found.links if one.count("/") > 1]
    if hidden:
        notes.append(f"denies the links {several(sorted(hidden))}: only their targets are there")
    if unsaid:
        notes.append(f"denies {several(sorted(set(unsaid)))}: it takes them for patterns or text")
    outside = [one for one in found.devices if one not in mounts.DEVICES]
    if outside:
        notes.append(f"denies {several(outside)}: it has no other devices than usual")
    notes.append("denies the files of srt itself, unless it is installed below /usr: add its "
                 "directory to allowRead")  # fmt: skip
    notes.append("allows writing in directories that are denied, where nothing of it stays, and "
                 "in /tmp/claude")  # fmt: skip
    unix = any(kind == "socket" and what.startswith("AF_UNIX") for kind, what in policy.rules)
    if unix:
        notes.append("allows all Unix sockets that can be seen")
    settings = {
        "network": {
            "allowedDomains": domains, "deniedDomains": [], "allowAllUnixSockets": unix,
            "allowLocalBinding": any(kind == "bind" for kind, _ in policy.rules),
        },
        "filesystem": {
            "denyRead": ["/"], "allowRead": read, "allowWrite": [*write, *found.private],
            "denyWrite": [],
        },
    }  # fmt: skip
    return Rendered(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", notes)


def _said(paths: list[str], unsaid: list[str]) -> list[str]:
    """Return the paths that JSON and srt's patterns can say; the others go to `unsaid`."""
    out = []
    for path in sorted(set(paths)):
        text = unescape_arg(path)
        if re.search(r"[*?\[\]\udc80-\udcff]", text):
            unsaid.append(path)
        else:
            out.append(text)
    return out


def _domains(policy: Policy) -> tuple[list[str], list[str]]:
    """Return allowedDomains of the policy's addresses, and what they leave out."""
    said: set[str] = set()
    left: list[str] = []
    for kind, what in sorted(policy.rules):
        if kind != "connect" or what.startswith(("unix:", "netlink:")):
            continue
        address = _ADDRESS.fullmatch(what)
        if address is None or not 0 < int(address[2]) < 65536:
            left.append(what)
            continue
        said.add(what)
        if address[1] in _LOOPBACK:
            said.add(f"localhost:{address[2]}")
    notes = []
    if said:
        notes.append(
            "denies these addresses to a program that asks for a name, and to one that takes no "
            "proxy: allowedDomains has no names, as the policy has none"
        )
    if left:
        notes.append(f"denies connecting to {several(left)}")
    return sorted(said), notes

"""`bwrap`: a shell script that starts a command under bubblewrap, with a seccomp filter.

Options and their order are those of bwrap(1), 0.8. bwrap starts with an empty root: what is not
bound is not there, and what is made outside of the binds fails, as the root is remounted read-only.
The filter is the one of `capsule run`; bwrap loads it before it becomes the program, in its own
pid 1 too, whose calls are added.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import replace

from capsule import syscalls
from capsule.dialects import mounts, runtimes
from capsule.dialects.rendering import Asked, Rendered, comments, granting, several
from capsule.enforce import bpf, callfilter
from capsule.policy import Policy
from capsule.text import unescape_arg

_HEAD = """\
#!/bin/sh
# Runs a command under bubblewrap, with what a policy of Capsule allows:
#
#   sh THIS-FILE COMMAND [ARGUMENT...]
#
"""
_USAGE = """\
[ $# -gt 0 ] || { echo "usage: sh $0 COMMAND [ARGUMENT...]" >&2; exit 2; }
"""
_FILTERED = """\
filter() {{ base64 -d <<'END'
{encoded}END
}}
exec 4<&0
filter | bwrap --seccomp 3"""
"""The filter comes on descriptor 3, and so does not take the command's standard input."""


def render(policy: Policy, asked: Asked) -> Rendered:
    """Return the script."""
    args, notes = arguments(policy, asked)
    start, end = "exec bwrap", '-- "$@"'
    if policy.calls_known:
        program, told = _filter(policy)
        notes += told
        encoded = base64.encodebytes(program).decode()
        start = _FILTERED.format(encoded=encoded)
        end = '-- "$@" 3<&0 <&4 4<&-'
    lines = [" ".join(shlex.quote(word) for word in words) for words in args]
    text = "".join(f"{line}\n" for line in comments(notes, "It"))
    return Rendered(_HEAD + text + _USAGE + " \\\n  ".join([start, *lines, end]) + "\n", notes)


def arguments(policy: Policy, asked: Asked) -> tuple[list[list[str]], list[str]]:
    """Return bwrap's options, each with its words, and where they differ from the policy."""
    found = mounts.of(policy, asked.home, asked.tree)
    notes = list(found.notes)
    out = [["--unshare-all"]]
    if any(kind in ("connect", "bind") and _of_host(what) for kind, what in policy.rules):
        out.append(["--share-net"])
        notes.append("cannot say which addresses: it allows all that this machine reaches")
    out.append(["--die-with-parent"])
    if not policy.calls_known:
        out.append(["--new-session"])  # nothing else keeps it from typing into the terminal
        notes.append("cannot say which calls: the policy has no rules for them")
    made: dict[str, list[str]] = {}
    for path in found.bare:
        made[path] = ["--dir", unescape_arg(path)]
    for path in found.private:
        made[path] = ["--tmpfs", unescape_arg(path)]
    for path in found.read:
        made[path] = ["--ro-bind-try", unescape_arg(path), unescape_arg(path)]
    for path in found.write:
        made[path] = ["--bind-try", unescape_arg(path), unescape_arg(path)]
    for path, target in found.links.items():
        made[path] = ["--symlink", unescape_arg(target), unescape_arg(path)]
    out += [made[path] for path in sorted(made, key=lambda path: path.split("/"))]
    if found.proc:
        out.append(["--proc", "/proc"])
        notes.append("allows all of /proc, in which its own processes are")
    if found.dev:
        out.append(["--dev", "/dev"])
        notes.append(f"allows {', '.join(sorted(mounts.DEVICES))} and terminals of its own")
    for path in found.devices:
        if path not in mounts.DEVICES:
            out.append(["--dev-bind-try", unescape_arg(path), unescape_arg(path)])
    if {"chown", "fchown", "lchown", "fchownat"} & {
        w for kind, w in policy.rules if kind == "call"
    }:
        notes.append("denies other owners than the one who runs it: there is no other inside")
    out.append(["--remount-ro", "/"])
    return out, notes


def _filter(policy: Policy) -> tuple[bytes, list[str]]:
    """Return the seccomp program, and where it differs from the policy."""
    own = runtimes.base(["bwrap"], no_new_privs=True)
    own &= {row.name for row in syscalls.table() if row.number is not None}
    beyond = sorted(own - {what for kind, what in policy.rules if kind == "call"})
    rules = {
        key: rule
        for key, rule in policy.rules.items()
        if rule.where is None or key[1].partition(" ")[0] not in own
    }
    granted = granting(replace(policy, rules=rules), own, "bwrap calls it")
    made = callfilter.make(granted)
    notes = []
    if beyond:
        notes.append(f"allows {several(beyond, 40)}: bwrap's own pid 1 calls them")
    notes += [f"denies {name}, which is no call of x86-64" for name in made.left_out]
    return bpf.assemble(bpf.compile_filter(made.filter)), notes


def _of_host(address: str) -> bool:
    """Whether an address is of the network namespace: all but sockets that have a path."""
    return not address.startswith("unix:") or address.startswith("unix:@")

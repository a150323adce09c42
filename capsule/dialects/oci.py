"""`oci`: the seccomp profile of docker, podman, containerd, runc and crun.

The object is `linux.seccomp` of config-linux.md in opencontainers/runtime-spec, and what
`--security-opt seccomp=FILE` takes. It speaks of system calls and of their arguments' numbers,
and of nothing else. A runtime calls some itself after it has set the filter: those are added.
"""

from __future__ import annotations

import json
from typing import Any

from capsule.arguments import Comparison
from capsule.dialects import calls, runtimes
from capsule.dialects.rendering import Asked, Rendered, granting, several
from capsule.policy import Policy


def render(policy: Policy, asked: Asked) -> Rendered:
    """Return the profile as JSON."""
    found, notes = profile(policy, asked)
    return Rendered(json.dumps(found, indent=2) + "\n", notes)


def profile(policy: Policy, asked: Asked) -> tuple[dict[str, Any], list[str]]:
    """Return the profile, and where it differs from the policy."""
    own = runtimes.base(asked.runtimes, no_new_privs=asked.no_new_privs)
    beyond = sorted(own - {what for kind, what in policy.rules if kind == "call"})
    allowed = calls.of(granting(policy, own, "the runtime calls it"))
    any_arguments = sorted(own - set(allowed.plain()))  # the runtime's own are not known
    rules = [_rule("SCMP_ACT_ALLOW", sorted([*allowed.plain(), *any_arguments]))]
    for name, alternatives in allowed.limited().items():
        for some in alternatives if name not in own else ():
            rule = _rule("SCMP_ACT_ALLOW", [name])
            rule["args"] = [_argument(one) for one in some]
            rules.append(rule)
    if allowed.absent:
        rules.append({**_rule("SCMP_ACT_ERRNO", list(allowed.absent)), "errnoRet": calls.ENOSYS})
    notes = calls.not_calls(policy)
    if beyond:
        notes.append(f"allows {several(beyond, 40)}: {' and '.join(asked.runtimes)} call them "
                     "before the program starts")  # fmt: skip
    if any_arguments:
        notes.append(f"allows {several(any_arguments)} with any arguments, for the same reason")
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": rules,
    }, notes + allowed.notes()  # fmt: skip


def _rule(action: str, names: list[str]) -> dict[str, Any]:
    return {"names": names, "action": action}


def _argument(one: Comparison) -> dict[str, Any]:
    """libseccomp compares 64 bits; of an int the kernel reads 32, and so does the mask."""
    return {
        "index": one.index, "value": one.mask, "valueTwo": one.value, "op": "SCMP_CMP_MASKED_EQ",
    }  # fmt: skip

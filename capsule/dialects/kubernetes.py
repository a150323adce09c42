"""`kubernetes`: a SeccompProfile of the security-profiles-operator, and what a pod says of it.

The object is what `kubectl apply -f` takes where the operator is installed (its CRD, v1beta1).
Without it a node has the `oci` profile below /var/lib/kubelet/seccomp. The comments at the top say
what goes into the pod's securityContext (Kubernetes, "Restrict a Container's Syscalls with
seccomp"). It is YAML of which all values are JSON.
"""

from __future__ import annotations

import json
from typing import Any

from capsule.dialects import oci
from capsule.dialects.rendering import Asked, Rendered, comments
from capsule.policy import Policy

_HEAD = """\
# In the pod, or the container, that this is for:
#
#   securityContext:
#     allowPrivilegeEscalation: {escalation}
#     seccompProfile:
#       type: Localhost
#       localhostProfile: operator/{name}.json
#
# Without the security-profiles-operator: put what `--format oci` prints on each node, as
# /var/lib/kubelet/seccomp/{name}.json, and name localhostProfile: {name}.json.
#
"""


def render(policy: Policy, asked: Asked) -> Rendered:
    """Return the object as YAML, with the notes as comments."""
    found, notes = oci.profile(policy, asked)
    head = _HEAD.format(name=asked.name, escalation=str(not asked.no_new_privs).lower())
    lines = [
        *comments(notes, "This profile"),
        "apiVersion: security-profiles-operator.x-k8s.io/v1beta1",
        "kind: SeccompProfile",
        "metadata:",
        f"  name: {json.dumps(asked.name)}",
        "spec:",
        f"  defaultAction: {found['defaultAction']}",  # its errno is EPERM, and cannot be said
        "  architectures:",
        *(f"    - {one}" for one in found["architectures"]),
        "  syscalls:",
    ]
    for rule in found["syscalls"]:
        lines += _rule(rule)
    return Rendered(head + "\n".join(lines) + "\n", notes)


def _rule(rule: dict[str, Any]) -> list[str]:
    lines = [f"    - action: {rule['action']}"]
    if "errnoRet" in rule:
        lines.append(f"      errnoRet: {rule['errnoRet']}")
    lines += ["      names:", *(f"        - {name}" for name in rule["names"])]
    if "args" in rule:
        lines += ["      args:", *(f"        - {json.dumps(one)}" for one in rule["args"])]
    return lines

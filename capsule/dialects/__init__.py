"""Policies in the words of those who enforce them: one module a dialect, each pure.

A dialect is a function of a policy and of what was asked for, to a text and to notes that say
where the text is wider or narrower than the policy. It is never silently wider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from capsule.dialects import (
    apparmor,
    bwrap,
    kubernetes,
    landlockconfig,
    minijail,
    native,
    oci,
    srt,
    systemd,
)
from capsule.dialects.rendering import Asked, Rendered
from capsule.policy import Policy

Render = Callable[[Policy, Asked], Rendered]

DIALECTS: Mapping[str, Render] = MappingProxyType(
    {
        "native": native.render,
        "oci": oci.render,
        "kubernetes": kubernetes.render,
        "systemd": systemd.render,
        "apparmor": apparmor.render,
        "landlockconfig": landlockconfig.render,
        "bwrap": bwrap.render,
        "sandbox-runtime": srt.render,
        "minijail": minijail.render,
    }
)
"""The name that `capsule profile --format` takes → the dialect."""

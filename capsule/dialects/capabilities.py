"""Capabilities that calls take, as capabilities(7) says: those that some call alone shows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from capsule.policy import Policy

TAKEN_BY: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "CAP_CHOWN": frozenset({"chown", "fchown", "fchownat", "lchown"}),
        "CAP_KILL": frozenset({"kill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
                               "tgkill", "tkill"}),
        "CAP_MKNOD": frozenset({"mknod", "mknodat"}),
        "CAP_NET_BIND_SERVICE": frozenset({"bind"}),
        "CAP_SETGID": frozenset({"setfsgid", "setgid", "setgroups", "setregid", "setresgid"}),
        "CAP_SETUID": frozenset({"setfsuid", "setresuid", "setreuid", "setuid"}),
        "CAP_SYS_BOOT": frozenset({"kexec_file_load", "kexec_load", "reboot"}),
        "CAP_SYS_CHROOT": frozenset({"chroot", "setns"}),
        "CAP_SYS_MODULE": frozenset({"delete_module", "finit_module", "init_module"}),
        "CAP_SYS_PACCT": frozenset({"acct"}),
        "CAP_SYS_TIME": frozenset({"adjtimex", "clock_adjtime", "clock_settime", "settimeofday"}),
        "CAP_WAKE_ALARM": frozenset({"timer_create", "timerfd_create"}),
    }
)  # fmt: skip
"""Capability → the calls of which one is made wherever it counts."""


def unused(policy: Policy) -> list[str]:
    """Return the capabilities that nothing which the policy allows can make use of."""
    calls = {what for kind, what in policy.rules if kind == "call"}
    found = {cap for cap, by in TAKEN_BY.items() if not calls & by}
    ports = [what.rpartition(":")[2] for kind, what in policy.rules if kind == "bind"]
    if not any(port == "*" or (port.isdecimal() and 0 < int(port) < 1024) for port in ports):
        found.add("CAP_NET_BIND_SERVICE")
    return sorted(found)


def used(policy: Policy) -> list[str]:
    """Return the capabilities that calls of the policy take when done to what is others'."""
    return sorted(set(TAKEN_BY) - {"CAP_WAKE_ALARM", *unused(policy)})

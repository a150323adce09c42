"""What systemd's settings say of a policy's network and of its kernel interfaces. Pure."""

from __future__ import annotations

import ipaddress

from capsule import arguments
from capsule.dialects import places
from capsule.dialects.rendering import several
from capsule.policy import Policy

Said = tuple[list[str], list[str]]

_DEVICES = (
    "/dev/fd", "/dev/full", "/dev/hugepages", "/dev/log", "/dev/mqueue", "/dev/null", "/dev/ptmx",
    "/dev/pts", "/dev/random", "/dev/shm", "/dev/stderr", "/dev/stdin", "/dev/stdout", "/dev/tty",
    "/dev/urandom", "/dev/zero",
)  # fmt: skip
"""What PrivateDevices= leaves."""

_TUNABLES = ("/proc/acpi", "/proc/fs", "/proc/irq", "/proc/latency_stats", "/proc/sys",
             "/proc/sysrq-trigger", "/proc/timer_stats", "/sys")  # fmt: skip
_MODULES = ("/lib/modules", "/usr/lib/modules")
_LOGS = ("/dev/kmsg", "/proc/kmsg")
_CORE = ("/proc/kallsyms", "/proc/kcore")
_CLOCK = frozenset(("adjtimex", "clock_adjtime", "clock_settime", "settimeofday"))
_LOAD = frozenset(("delete_module", "finit_module", "init_module"))
_OWN = ("/proc/self", "/proc/thread-self")
_INTERNET = frozenset(("AF_INET", "AF_INET6"))


def network(policy: Policy, _home: str) -> Said:
    """Return the settings for sockets and addresses."""
    made = {what.partition(" ")[0] for kind, what in policy.rules if kind == "socket"}
    made = {"AF_UNIX" if one in ("AF_LOCAL", "AF_FILE") else one for one in made}
    known = {one for one in made if ("family", one) in arguments.constants()}
    families = " ".join(sorted(known)) or "none"
    lines = ["RestrictAddressFamilies=", f"RestrictAddressFamilies={families}"]
    notes = []
    if made - known:
        notes.append(f"denies sockets of {several(sorted(made - known))}, which has no known name")
    if known:
        notes.append(f"allows sockets of every type in {several(sorted(known))}")
    addresses = [what for kind, what in policy.rules if kind in ("connect", "bind")]
    if any(one.startswith("unix:/") for one in addresses):
        notes.append("cannot say which sockets that have a path are connected to")
    abstract = any(one.startswith("unix:@") for one in addresses)
    if abstract:
        notes.append("cannot say which abstract sockets are connected to")
    if known <= {"AF_UNIX"} and not abstract:
        return [*lines, "PrivateNetwork=yes"], notes
    if not known & _INTERNET:
        return [*lines, "IPAddressAllow=", "IPAddressDeny=any"], notes
    for more, said in (_peers(policy), _ports(policy)):
        lines += more
        notes += said
    return lines, notes


def _address(what: str) -> tuple[str, int] | None:
    """Return host and port of `192.0.2.1:80` or `[2001:db8::1]:80`."""
    host, _, port = what.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return (str(address), int(port)) if port.isdecimal() else None


def _peers(policy: Policy) -> Said:
    hosts, others = set(), []
    listens = policy.covering(("call", "listen")) is not None
    for kind, what in policy.rules:
        if kind not in ("connect", "bind") or what.startswith(("unix:", "netlink:")):
            continue
        found = _address(what)
        if found is None:
            others.append(what)
            continue
        address = ipaddress.ip_address(found[0])
        if kind == "connect" or address.is_loopback:
            hosts.add("localhost" if address.is_loopback else found[0])
        elif listens or found[1]:
            others.append(what)
    if others:
        return [], [
            f"cannot say which addresses are talked to: {several(sorted(others))} may be anyone's"
        ]
    lines = [f"IPAddressAllow={one}" for one in sorted(hosts)]
    return ["IPAddressAllow=", *lines, "IPAddressDeny=any"], [
        "cannot say which ports are connected to, but only addresses"
    ]


def _ports(policy: Policy) -> Said:
    found = set()
    for kind, what in policy.rules:
        if kind == "bind" and not what.startswith(("unix:", "netlink:")):
            at = _address(what)
            if at is None or at[1] == 0:
                return [], ["allows every port to be bound"]
            found.add(f"{'ipv6' if ':' in at[0] else 'ipv4'}:{at[1]}")
    lines = [f"SocketBindAllow={one}" for one in sorted(found)]
    note = "cannot say at which address a port is bound"
    return ["SocketBindAllow=", *lines, "SocketBindDeny=any"], [
        f"{note}; where systemd has no BPF_FRAMEWORK (Debian 12), nor which ports"
    ]


def kernel(policy: Policy, _home: str) -> Said:
    """Return the settings that hide or hold what is the kernel's, where nothing needs it."""
    made = {what for kind, what in policy.rules if kind == "call"}
    used = {what for kind, what in policy.rules if kind in places.NAMED}
    written = {what for kind, what in policy.rules
               if kind in ("write", "create", "delete", "change")}  # fmt: skip
    run = {what for kind, what in policy.rules if kind == "exec"}
    devices = {one for one in used if places.under(one, ["/dev"])} - {"/dev"}
    standard = all(places.under(one, _DEVICES) for one in devices) and "/dev" not in written
    processes = {one for one in used if places.under(one, ["/proc"])}

    def touches(paths: tuple[str, ...], some: set[str]) -> bool:
        return any(places.under(one, paths) for one in some)

    plain = standard and not touches(("/dev",), run)
    settings = {
        "PrivateDevices": plain and not made & {"iopl", "ioperm"},
        "ProtectClock": standard and not made & _CLOCK,
        "ProtectControlGroups": not touches(("/sys/fs/cgroup",), written),
        "ProtectHostname": not made & {"sethostname", "setdomainname"},
        "ProtectKernelLogs": "syslog" not in made and not touches(_LOGS, used),
        "ProtectKernelModules": not made & _LOAD and not touches(_MODULES, used),
        "ProtectKernelTunables": not touches(_TUNABLES, written) and not touches(_CORE, used),
    }  # fmt: skip
    lines = [f"{name}=yes" for name, holds in settings.items() if holds]
    if all(places.under(one, _OWN) for one in processes):
        lines += ["ProtectProc=invisible", "ProcSubset=pid"]
    return lines, []

"""`systemd`: a drop-in for a service, of systemd 252 or newer (systemd.exec(5)).

A file has one assignment a line. Paths are quoted as systemd.syntax(7) says, but for C escapes,
which these settings do not know: a path with a line's end in it, or that is not UTF-8, cannot be
said. A list that allows is emptied first, as a drop-in adds to what the unit has; what the unit
itself denies stays denied.
"""

from __future__ import annotations

from collections.abc import Iterable

from capsule import syscalls
from capsule.arguments import WATCHED
from capsule.dialects import calls, capabilities, places, systemdscope
from capsule.dialects.rendering import Asked, Rendered, comments, granting, several
from capsule.policy import Policy
from capsule.text import harmless, unescape_arg

DEFAULT = frozenset(
    (
        "arch_prctl", "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "execve", "exit",
        "exit_group", "futex", "futex_waitv", "get_robust_list", "get_thread_area", "getegid",
        "geteuid", "getgid", "getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getrandom",
        "getresgid", "getresuid", "getrlimit", "getsid", "gettid", "gettimeofday", "getuid",
        "membarrier", "mmap", "mprotect", "munmap", "nanosleep", "pause", "prlimit64",
        "restart_syscall", "rseq", "rt_sigreturn", "sched_getaffinity", "sched_yield",
        "set_robust_list", "set_thread_area", "set_tid_address", "time",
    )
)  # fmt: skip
"""`@default`, which a list of calls always begins with (`systemd-analyze syscall-filter`)."""

OWN = ("execve", "write")
"""What systemd calls itself under the filter: `write` says that all is set (Type=exec)."""

NEWEST = 452
"""The number of fchmodat2, the newest call that systemd 252 of Debian 12 knows by name."""

_HEAD = """\
# For the service that starts {program}:
#
#   /etc/systemd/system/{name}.service.d/capsule.conf
#
"""

_API = ("/dev", "/proc", "/sys")
"""What ProtectSystem=strict leaves writable."""

_SECRET = (
    "/boot", "/efi", "/etc/gshadow", "/etc/gshadow-", "/etc/shadow", "/etc/shadow-", "/etc/ssh",
    "/etc/ssl/private", "/etc/sudoers", "/etc/sudoers.d", "/lost+found", "/media", "/mnt", "/opt",
    "/srv", "/var/backups", "/var/lib/private", "/var/mail", "/var/spool",
)  # fmt: skip


def render(policy: Policy, asked: Asked) -> Rendered:
    """Return the drop-in. CapsuleError if the policy does not know which calls were made."""
    lines, notes = _calls(policy)
    for part in (_memory, _files, systemdscope.network, systemdscope.kernel, _privileges):
        more, said = part(policy, asked.home)
        lines += ["", *more]
        notes += said
    argv = policy.runs[0].get("argv") if policy.runs else None
    head = _HEAD.format(program=harmless(argv[0]) if argv else "the program", name=asked.name)
    told = "".join(f"{one}\n" for one in comments(notes, "This file"))
    return Rendered(head + told + "\n[Service]\n" + "\n".join(lines) + "\n", notes)


def path_of(what: str) -> str | None:
    """Return the path that a rule means, None if it is not UTF-8."""
    name = unescape_arg(what)
    try:
        name.encode()
    except UnicodeEncodeError:
        return None
    return name


def sayable(path: str) -> bool:
    """Say whether a path can stand in a setting at all."""
    name = path_of(path)
    return name is not None and not set(name) & set("\n\r\0")


def quoted(path: str, prefix: str = "") -> str:
    """Return a path that is `sayable` as one word of a list of paths; `-`: it may be missing."""
    name = prefix + (path_of(path) or path)
    text = name.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    plain = text == name and text.isascii() and text.isprintable() and not set(text) & set(" ';#")
    return text if plain else f'"{text}"'


def _listed(setting: str, words: Iterable[str]) -> list[str]:
    return [f"{setting}={word}" for word in words]


def _calls(policy: Policy) -> tuple[list[str], list[str]]:
    found = calls.of(granting(policy, OWN, "systemd calls it"))
    numbers = {row.name: row.number or 0 for row in syscalls.table()}
    known = [name for name in found.allowed if numbers[name] <= NEWEST]
    newer = [name for name in found.allowed if numbers[name] > NEWEST]
    absent = [name for name in found.absent if numbers[name] <= NEWEST]
    refused = sorted(DEFAULT - set(found.allowed) - set(absent))
    lines = [
        "SystemCallArchitectures=native", "SystemCallErrorNumber=EPERM", "SystemCallFilter=",
        f"SystemCallFilter={' '.join([*known, *newer])}",
        "# what every list begins with, and the program does without",
        f"SystemCallFilter=~{' '.join(refused)}" if refused else "# nothing",
        "# for what is newer a program has another way",
        f"SystemCallFilter=~{' '.join(f'{one}:ENOSYS' for one in absent)}",
    ]  # fmt: skip
    limited = found.limited()
    said = {"mmap", "mprotect", "pkey_mprotect", "socket"}
    any_arguments = [name for name in limited if name not in said]
    beyond = [one for one in OWN if ("call", one) not in policy.rules]
    notes = [f"allows {several(beyond)}: systemd itself calls it"] if beyond else []
    if any_arguments:
        notes.append(f"allows {several(any_arguments, 40)} with any arguments, but for namespaces "
                     "where it says RestrictNamespaces and for personality where it says "
                     "LockPersonality")  # fmt: skip
    if newer:
        notes.append(f"denies {several(newer)} where systemd does not know them by name")
    return lines, notes + found.notes()


def _memory(policy: Policy, _home: str) -> tuple[list[str], list[str]]:
    memory = sorted(what for kind, what in policy.rules if kind == "memory")
    if policy.arguments_known and not memory:
        return ["MemoryDenyWriteExecute=yes"], []
    why = " and ".join(memory) or "its runs do not say what was"
    return ["# no MemoryDenyWriteExecute="], [f"allows memory to be made code ({why})"]


def _files(policy: Policy, home: str) -> tuple[list[str], list[str]]:
    found = places.of(policy, home, _API)
    named = {what for kind, what in policy.rules if kind in places.NAMED}
    private = _private_tmp(policy)
    tmp = ("/tmp", "/var/tmp") if private else ()
    writable = [one for one in (*found.directories, *found.files) if not places.under(one, tmp)]
    directories = [one for one in found.directories if not places.under(one, tmp)]
    lines = ["ProtectSystem=strict", *["PrivateTmp=yes"] * private, "ReadWritePaths="]
    for one in filter(sayable, writable):
        lines.append(f"ReadWritePaths={quoted(one, '-' if one in found.files else '')}")
    homes = sorted({home, "/home", "/root", "/run/user"})
    in_homes = {one for one in named if places.under(one, homes)}
    if not in_homes:
        lines.append("ProtectHome=tmpfs")
    elif not any(places.under(one, homes) for one in writable):
        lines.append("ProtectHome=read-only")
    secret = [
        one for one in _SECRET
        if not any(places.under(path, [one]) or places.under(one, [path]) for path in writable)
        and not any(places.under(path, [one]) for path in named)
    ]  # fmt: skip
    lines += _listed("InaccessiblePaths", [f"-{one}" for one in secret])
    notes = ["cannot say which files are read: all are that its user may read, but for those in "
             "InaccessiblePaths" + (" and homes" if not in_homes else "")]  # fmt: skip
    if directories:
        notes.append(f"allows everything to be written in {several(map(repr, directories))}")
    if private:
        notes.append("allows everything to be written in a /tmp and /var/tmp of its own, where "
                     "others see nothing and which are removed with the service")  # fmt: skip
    if found.refused:
        notes.append(f"denies making and removing {several(map(repr, found.refused))}, as all of "
                     "the directory would be open; StateDirectory=, RuntimeDirectory= and the "
                     "like give a service one of its own")  # fmt: skip
    if any(places.under(what, _API) for kind, what in policy.rules
           if kind in ("write", "create", "delete", "change")):  # fmt: skip
        notes.append("cannot say what is written in /dev, /proc and /sys, but for the settings "
                     "that it has")  # fmt: skip
    more, said = _code(found)
    unsaid = [one for one in (*writable, *found.programs, *found.libraries) if not sayable(one)]
    if unsaid:
        notes.append(f"denies writing or running {several(map(ascii, unsaid))}: systemd has no way "
                     "to write such a name")  # fmt: skip
    return lines + more, notes + said


def _code(found: places.Places) -> tuple[list[str], list[str]]:
    if not found.programs:
        return [], ["cannot say which programs are run: no rule names one"]
    code = [one for one in (*found.programs, *found.libraries) if sayable(one)]
    wide = [one for one in (*found.programs, *found.libraries) if one in found.directories]
    notes = ["denies mapping files as code, but for programs and what is named .so or .node",
             "allows libraries to be run, too"]  # fmt: skip
    if wide:
        notes.append(f"allows everything in {several(map(repr, wide))} to be run")
    return ["NoExecPaths=/", "ExecPaths=",
            *_listed("ExecPaths", [quoted(one, "-") for one in code])], notes  # fmt: skip


def _private_tmp(policy: Policy) -> bool:
    """Say whether all that is used in /tmp is made there and removed again."""
    tmp = ("/tmp", "/var/tmp")
    used: dict[str, set[str]] = {}
    for kind, what in policy.rules:
        path = what.removeprefix("unix:")
        if places.under(path, tmp):
            used.setdefault(path, set()).add(kind)
    itself = {one for one in used if one in tmp and used[one] <= {"read"}}
    return bool(used) and all({"create", "delete"} <= how
                              for one, how in used.items() if one not in itself)  # fmt: skip


def _privileges(policy: Policy, _home: str) -> tuple[list[str], list[str]]:
    made = {what for kind, what in policy.rules if kind == "call"}
    lines = ["NoNewPrivileges=yes", "CapabilityBoundingSet="]
    lines[1] = f"CapabilityBoundingSet=~{' '.join(capabilities.unused(policy))}"
    notes = ["denies programs the privileges of set-user-ID and of file capabilities"]
    namespaces = sorted(
        what for kind, what in policy.rules
        if kind == "argument" and what.partition(" ")[0] in ("clone", "unshare")
        and what.partition(" ")[2] != "0"
    )  # fmt: skip
    if policy.arguments_known and not namespaces and "setns" not in made:
        lines.append("RestrictNamespaces=yes")
    else:
        notes.append("allows namespaces of every kind to be made or entered")
    persona = {what for kind, what in policy.rules if what.startswith("personality ")}
    harmless = {f"personality {one}" for one in WATCHED["personality"].harmless}
    if policy.arguments_known and persona <= harmless:
        lines.append("LockPersonality=yes")
    if not made & {"sched_setscheduler", "sched_setattr"}:
        lines.append("RestrictRealtime=yes")
    if not made & {"chmod", "fchmod", "fchmodat", "fchmodat2"}:
        lines.append("RestrictSUIDSGID=yes")
        notes.append("denies making files that are set-user-ID or set-group-ID")
    return lines, notes

"""What a target is put under: made ready before the fork, set between the gate and execve.

Landlock's ruleset and the seccomp program are made here, where an error can still be told; the
child only sets them (`_confine.pyx`).
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from capsule.enforce import _confine, bpf, callfilter, landlock
from capsule.enforce.disk import Disk
from capsule.enforce.landlock import Fs, Net, Scope
from capsule.errors import TraceFailed, UsageError
from capsule.policy import Policy
from capsule.text import unescape_arg

LAYERS = {
    "seccomp": "system calls",
    "landlock": "files",
    "truncate": "that files are truncated (Landlock ABI 3, Linux 6.2)",
    "net": "TCP (Landlock ABI 4, Linux 6.7)",
    "ioctl": "ioctl on devices (Landlock ABI 5, Linux 6.10)",
    "scope": "signals and abstract sockets to programs outside (Landlock ABI 6, Linux 6.12)",
}
"""What `--allow-missing` may name, and what each layer holds."""

_SINCE = {"landlock": 1, "truncate": 3, "net": 4, "ioctl": 5, "scope": 6}
_OPEN = os.O_PATH | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked for. `limits`: (resource, soft, hard) by name. `keep`: descriptors."""

    complain: bool = False
    allow_missing: Collection[str] = ()
    allow_wide: Collection[str] = ()
    limits: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    keep: tuple[int, ...] = ()


def needed(policy: Policy) -> list[str]:
    """Return the layers that holding a policy takes."""
    calls = {what for kind, what in policy.rules if kind == "call"}
    known = policy.calls_known
    layers = ["seccomp", "landlock", "truncate"]
    layers += ["net"] if not known or "socket" in calls else []
    layers += ["ioctl"] if not known or "ioctl" in calls else []
    layers += ["scope"] if not known or calls & {"kill", "tkill", "tgkill", "connect"} else []
    return layers


def missing(policy: Policy, abi: int, *, seccomp: bool) -> list[str]:
    """Return the layers that a policy takes and this kernel has not."""
    return [
        layer
        for layer in needed(policy)
        if (abi < _SINCE[layer] if layer in _SINCE else not (seccomp and policy.calls_known))
    ]


class Confinement:
    """One target's: make it before the fork, give `enter` to the gate, close it afterwards.

    Raises TraceFailed when a layer that the policy takes is not there, UsageError when the policy
    cannot be held as it is.
    """

    def __init__(self, policy: Policy, wishes: Wishes, home: str) -> None:
        self.page = mmap.mmap(-1, mmap.PAGESIZE)
        self.complain = wishes.complain
        self._wishes = wishes
        self._ruleset = -1
        self.parent = 0
        abi = min(_confine.landlock_abi(), landlock.NEWEST)
        seccomp = _confine.has_action(bpf.KILL_PROCESS)
        gone = missing(policy, abi, seccomp=seccomp)
        refused = [layer for layer in gone if layer not in wishes.allow_missing]
        if refused and not wishes.complain:
            raise TraceFailed(_told_missing(policy, refused, abi, seccomp=seccomp))
        self._bpf = b""
        self._own = Fs(0)
        self.calls = frozenset(what for kind, what in policy.rules if kind == "call")
        self.facts: dict[str, Any] = {"mode": "complain" if wishes.complain else "enforce"}
        if "seccomp" not in gone:
            self._filter(policy)
        self.plan: landlock.Plan | None = None
        if "landlock" not in gone and not wishes.complain:
            self._landlock(policy, abi, home)
        self.facts |= {
            "no_new_privs": True,
            "rlimits": {name: list(limit[1:]) for name, limit in wishes.limits.items()},
            "kept_fds": list(wishes.keep),
            "missing": gone,
        }

    def _filter(self, policy: Policy) -> None:
        calls = callfilter.make(policy, complain=self.complain)
        try:
            program = bpf.compile_filter(calls.filter)
        except ValueError as error:
            raise TraceFailed(str(error)) from error
        self._bpf = bpf.assemble(program)
        self.facts["seccomp"] = {
            "calls": calls.allowed, "by_arguments": calls.checked, "instructions": len(program),
            "left_out": list(calls.left_out),
        }  # fmt: skip

    def _landlock(self, policy: Policy, abi: int, home: str) -> None:
        planned = landlock.plan(policy, home, Disk(), self._wishes.allow_wide)
        if planned.refused:
            directory, path = next(iter(planned.refused.items()))
            raise UsageError(
                f"the policy lets {path} be made or removed, which Landlock can allow only for "
                f"all of {directory}; --allow-wide {directory} does that, or let the program "
                "work in a directory of its own"
            )
        fs, net, scope = landlock.handled(abi)
        net &= ~planned.open_ports
        scope &= planned.scoped
        self._ruleset = _confine.create_ruleset(fs, net, scope)
        paths = 0
        for path, rights in planned.paths.items():
            paths += self._add(path, rights & fs)
        for port, allowed in planned.ports.items():
            if allowed & net:
                _confine.add_port(self._ruleset, allowed & net, port)
        self._own = planned.own & fs
        self.plan = planned
        self.facts["landlock"] = {
            "abi": abi, "paths": paths, "absent": planned.absent,
            "ports": {
                right.name.lower(): sorted(p for p, has in planned.ports.items() if has & right)
                for right in Net if right & net and right.name
            },
            "scoped": [one.name.lower() for one in Scope if one & scope and one.name],
            "wide": dict(planned.wide),
        }  # fmt: skip

    def _add(self, path: str, rights: Fs) -> bool:
        """Allow a path; False when it has gone since, or is of no file system (pipes, sockets)."""
        try:
            fd = os.open(unescape_arg(path), _OPEN)
        except (OSError, ValueError):
            return False
        try:
            _confine.add_path(self._ruleset, rights, fd)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def enter(  # noqa: PLR0917 - as gate_exec
        self, gate: int, errors: int, path: bytes, argv: list[bytes], envp: list[bytes],
        mask: Collection[int], script: bool,
    ) -> NoReturn:  # fmt: skip
        """In the forked child: as `gate_exec`, confined."""
        if self._ruleset >= 0 and self._own:
            self._add("/proc/self", self._own)
        _confine.confined_exec(
            gate, errors, path, argv, envp, mask, script, self.page, self.parent, self._bpf,
            self.complain, self._ruleset, list(self._wishes.limits.values()),
            list(self._wishes.keep),
        )  # fmt: skip

    def forked(self) -> None:
        """Let go, in the parent, of what only the child needs."""
        if self._ruleset >= 0:
            os.close(self._ruleset)
            self._ruleset = -1

    @property
    def listens(self) -> bool:
        """Whether the child waits for its filter's listener to be taken over."""
        return self.complain and bool(self._bpf)

    def is_set(self) -> bool:
        """Say whether the child has got all of it."""
        return bool(struct.unpack_from("=i", self.page, 4 * _confine.CONFINED_SLOT)[0])

    def failure(self) -> str | None:
        """Return why the child could not be confined, or None. The execve is no part of it."""
        step, errno = struct.unpack_from("=ii", self.page)
        if step == 0 or _confine.STEPS[step] == "execve":
            return None
        return f"the command was not run: {_confine.STEPS[step]}: {os.strerror(errno)}"

    def exec_errno(self) -> int | None:
        """Return why the execve failed (errno), or None."""
        step, errno = struct.unpack_from("=ii", self.page)
        return errno if step and _confine.STEPS[step] == "execve" else None


def _told_missing(policy: Policy, layers: list[str], abi: int, *, seccomp: bool) -> str:
    if layers == ["seccomp"] and seccomp:
        return (
            "this policy has no rules for system calls, as its runs do not say which were made: "
            "draft it anew, or give --allow-missing seccomp to hold files alone"
        )
    here = f"Landlock ABI {abi}" if abi else "no Landlock"
    what = "; ".join(f"{layer}: {LAYERS[layer]}" for layer in layers)
    return (
        f"this kernel ({here}{'' if seccomp else ', no seccomp filters'}) cannot hold all of the "
        f"policy: {what}. Boot a newer kernel with lsm=landlock, or give "
        f"--allow-missing {','.join(layers)} to do without"
    )

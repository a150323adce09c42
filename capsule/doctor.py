"""What this machine offers a trace: each check is one fact, and what to do where it is missing."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from capsule.errors import CapsuleError
from capsule.logdir import log_dir
from capsule.tracer import find_strace

State = Literal["ok", "limited", "missing"]

SYS_LANDLOCK_CREATE_RULESET = 444
LANDLOCK_CREATE_RULESET_VERSION = 1
PR_GET_SECCOMP = 21
PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = ctypes.c_ulong(-1)
MINIMUM_KERNEL = (5, 10)
LOW_DISK_BYTES = 100 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `missing` keeps `capsule trace` from working, `limited` costs something.

    `fix` is a command or a sentence, empty where nothing is to be done.
    """

    name: str
    state: State
    detail: str
    fix: str = ""


def examine(directory: str | None = None) -> list[Finding]:
    """Run every check; `directory` is the log directory to look at (None: the usual one)."""
    checks: list[Callable[[], Finding]] = [
        _platform, _kernel, _strace, _ptrace, _seccomp_bpf, _yama, _seccomp, _landlock,
        _namespaces, _cgroup, lambda: _logs(directory), _sockets,
    ]  # fmt: skip
    return [check() for check in checks]


def _platform() -> Finding:
    here = f"{platform.system()} {platform.machine()}"
    if here == "Linux x86_64":
        return Finding("platform", "ok", here)
    return Finding("platform", "missing", here, "Capsule needs Linux on x86-64")


def _kernel() -> Finding:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers >= MINIMUM_KERNEL:
        return Finding("kernel", "ok", release)
    return Finding("kernel", "missing", release, "Capsule needs Linux 5.10 or newer (pidfds)")


def _strace() -> Finding:
    try:
        strace = find_strace()
    except CapsuleError as error:
        return Finding("strace", "missing", str(error), "apt-get install strace")
    return Finding("strace", "ok", f"{strace.path}, release {strace.version_text}")


def _ptrace() -> Finding:
    """Really trace something, as `capsule trace` does: attach to a child from outside."""
    strace = shutil.which("strace")
    if strace is None:
        return Finding("ptrace", "missing", "cannot be tried without strace", "install strace")
    libc = ctypes.CDLL(None)
    # As at the launch gate: Yama's scope 1 lets a sibling attach only to who agrees.
    agree = (PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
    target = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: libc.prctl(*agree))
    try:
        with tempfile.TemporaryDirectory() as directory:
            output = Path(directory, "trace")
            # strace ends by itself: -p with a program to run would not, and SIGTERM lets go.
            tracer = subprocess.Popen(
                [strace, "-o", str(output), "-p", str(target.pid)],
                stderr=subprocess.PIPE,
                text=True,
            )
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            tracer.terminate()
            said += tracer.communicate()[1]
    finally:
        target.kill()
        target.wait()
    if "attached" in said:
        return Finding("ptrace", "ok", "a process can be attached to")
    return Finding(
        "ptrace",
        "missing",
        said.strip().splitlines()[0] if said.strip() else "strace could not attach",
        "in a container: --cap-add SYS_PTRACE; under another tracer: trace from outside of it",
    )


def _seccomp_bpf() -> Finding:
    """strace's own filter, which makes a partial trace cheap."""
    strace = shutil.which("strace")
    if strace is None:
        return Finding("strace --seccomp-bpf", "limited", "cannot be tried without strace")
    done = subprocess.run(
        [strace, "-f", "--seccomp-bpf", "-e", "trace=execve", "-o", os.devnull, "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and not done.stderr:
        return Finding("strace --seccomp-bpf", "ok", "works")
    said = done.stderr.strip().splitlines()
    return Finding("strace --seccomp-bpf", "limited", said[-1] if said else "does not work")


def _yama() -> Finding:
    try:
        scope = int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
    except OSError:
        return Finding("yama", "ok", "no ptrace restrictions by Yama")
    if scope == 0 or (os.geteuid() == 0 and scope < 3):
        return Finding("yama", "ok", f"ptrace_scope {scope}")
    if scope == 1:
        return Finding("yama", "ok", "ptrace_scope 1: commands can be traced; -p needs root")
    return Finding(
        "yama",
        "missing",
        f"ptrace_scope {scope}",
        "run as root" if scope == 2 else "tracing is off until the next boot (ptrace_scope 3)",
    )


def _seccomp() -> Finding:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0:
        return Finding("seccomp", "limited", "the kernel has none", "needed for `capsule run` only")
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    return Finding("seccomp", "ok", actions.read_text().strip() if actions.exists() else "yes")


def _landlock() -> Finding:
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    if abi > 0:
        return Finding("landlock", "ok", f"ABI {abi}")
    why = os.strerror(ctypes.get_errno())
    return Finding("landlock", "limited", why, "boot with lsm=landlock,… to confine programs")


def _namespaces() -> Finding:
    kinds = sorted(os.listdir("/proc/self/ns"))
    limit = Path("/proc/sys/user/max_user_namespaces")
    users = int(limit.read_text()) if limit.exists() else 0
    detail = f"{' '.join(kind for kind in kinds if 'for_children' not in kind)}"
    if users > 0:
        return Finding("namespaces", "ok", detail)
    return Finding("namespaces", "limited", f"{detail}; no user namespaces for ordinary users")


def _cgroup() -> Finding:
    root = Path("/sys/fs/cgroup")
    controllers = root / "cgroup.controllers"
    if not controllers.exists():
        return Finding("cgroup", "limited", "no cgroup v2", "process limits then use RLIMIT_NPROC")
    have = controllers.read_text().split()
    if "pids" not in have:
        return Finding("cgroup", "limited", "cgroup v2 without the pids controller")
    writable = os.access(root, os.W_OK)
    return Finding("cgroup", "ok", "v2 with pids" + ("" if writable else "; not ours to write"))


def _logs(flag: str | None) -> Finding:
    directory = log_dir(flag)
    there = directory
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        fix = "name another place with --log-dir or CAPSULE_LOG_DIR"
        return Finding("log directory", "missing", f"{there} is not writable", fix)
    free = shutil.disk_usage(there).free
    detail = f"{directory}, {free / (1 << 30):.1f} GiB free"
    if free < LOW_DISK_BYTES:
        return Finding("log directory", "limited", detail, "free space, or use --log-dir")
    return Finding("log directory", "ok", detail)


def _sockets() -> Finding:
    """The stages' ipc sockets: their paths must fit unix(7)'s 107 bytes."""
    parent = tempfile.gettempdir()
    if len(parent) <= 80 and os.access(parent, os.W_OK):
        return Finding("socket directory", "ok", parent)
    return Finding("socket directory", "limited", parent, "set TMPDIR to a short, writable path")

"""Which system calls runc, crun and bwrap themselves make under a container's seccomp filter.

    python -m benchmarks.runtime_base [RUNTIME...]      prints capsule/dialects/runtimes.tsv

The filter is loaded by the runtime before it starts the program, and how long before depends on
no_new_privs. For a container whose program only writes a word and ends:

made     what strace sees the runtime call between the filter and the program, in RUNS runs. What
         varies from run to run (Go's threads) is why one run is not enough.
needed   the calls without which the container does not start: each call of `made` is denied
         alone, and all others of x86-64 together. A call may be made, fail, and not be missed; but
         what it was to close or to drop then stays, so that a profile allows all that is made.

bwrap always sets no_new_privs, and its own pid 1 goes on under the filter.

Needs root, gcc, strace and the runtimes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from capsule import syscalls
from capsule.enforce import bpf

RUNS = 20
PROGRAM = r"""
static long call(long n, long a, long b, long c)
{
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return r;
}
void _start(void) { call(1, 1, (long)"started\n", 8); call(231, 0, 0, 0); for (;;) ; }
"""
OWN = ("write", "exit_group")
"""What the program calls; the runtime may too."""

PRIVATE_CGROUPS = (
    "if [ -d /sys/fs/cgroup/unified ]; then umount -R /sys/fs/cgroup && "
    'mount -t cgroup2 none /sys/fs/cgroup; fi; exec "$@"'
)
"""crun knows no hybrid of cgroups v1 and v2: such a host shows it v2 alone."""

_CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)")
_LOADED = re.compile(r"(?:seccomp\(SECCOMP_SET_MODE_FILTER|prctl\(PR_SET_SECCOMP)[^?]*= 0$")


def seccomp(allowed: set[str]) -> dict[str, Any]:
    """Return the profile that allows just these calls."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}],
    }


class Bubble:
    """The same static program under bubblewrap."""

    def __init__(self, where: Path, runtime: str) -> None:
        self.where, self.runtime = where, runtime
        build(where / "main")

    def start(self, allowed: set[str], *tracer: str) -> bool:
        """Say whether the program ran and bwrap ended well, under a filter of these calls."""
        numbers = {row.number: row.name for row in syscalls.table() if row.number is not None}
        verdicts = {
            number: bpf.Verdict(bpf.ALLOW if name in allowed else bpf.fail(bpf.EPERM))
            for number, name in numbers.items()
        }
        program = bpf.assemble(bpf.compile_filter(bpf.Filter(verdicts)))
        (self.where / "filter").write_bytes(program)
        words = [*tracer, self.runtime, "--seccomp", "0", "--unshare-all", "--die-with-parent",
                 "--ro-bind", str(self.where), "/here", "--", "/here/main"]  # fmt: skip
        with (self.where / "filter").open("rb") as filter_:
            try:
                done = subprocess.run(
                    words, stdin=filter_, capture_output=True, timeout=10, check=False
                )
            except subprocess.TimeoutExpired:
                return False
        return done.returncode == 0 and done.stdout == b"started\n"

    def made(self, every: set[str]) -> set[str]:
        """Return what bwrap calls under the filter: to the execve, and in its pid 1 to the end.

        Of these the program itself needs write and exit_group: without them nothing is told.
        """
        out = self.where / "strace"
        if not self.start(every, "strace", "-f", "-o", str(out)):
            raise SystemExit(f"{self.runtime} starts nothing here")
        held: set[str] = set()
        found: set[str] = set()
        for line in out.read_text(errors="replace").splitlines():
            match = _CALL.match(line)
            if match is None:
                continue
            tid, name = match.groups()
            if tid in held and "<... prctl resumed>" not in line:
                found.add(name)
            if "PR_SET_SECCOMP" in line:
                held.add(tid)
            elif 'execve("/here/main"' in line:
                held.discard(tid)
        return found


def build(main: Path) -> None:
    """Compile the program."""
    source = main.with_suffix(".c")
    source.write_text(PROGRAM)
    words = ["gcc", "-O1", "-static", "-nostdlib", "-o", main, source]
    subprocess.run(words, check=True)


class Bundle:
    """A container of one static program."""

    def __init__(self, where: Path, runtime: str, no_new_privs: bool) -> None:
        self.where, self.runtime, self.no_new_privs = where, runtime, no_new_privs
        for name in ("proc", "dev"):
            (where / "rootfs" / name).mkdir(parents=True)
        build(where / "rootfs/main")

    def made(self, every: set[str]) -> set[str]:
        """Return what the runtime calls under the profile."""
        return made(self, every)

    def start(self, allowed: set[str], *tracer: str) -> bool:
        """Say whether the program ran, under a profile that allows these calls."""
        caps = ["CAP_CHOWN", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID"]
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 1, "gid": 1, "additionalGids": [2]}, "args": ["/main"],
                "cwd": "/", "noNewPrivileges": self.no_new_privs,
                "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), caps),
            },
            "root": {"path": "rootfs", "readonly": True},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "namespaces": [{"type": one} for one in ("pid", "mount", "ipc", "uts", "network")],
                "seccomp": seccomp(allowed),
            },
        }  # fmt: skip
        (self.where / "config.json").write_text(json.dumps(config))
        words = [self.runtime, "--root", str(self.where / "state"), "run", "base"]
        try:
            done = subprocess.run(
                ["unshare", "-m", "sh", "-c", PRIVATE_CGROUPS, "sh", *tracer, *words],
                cwd=self.where, capture_output=True, timeout=20, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            done = None
        ok = done is not None and done.returncode == 0 and done.stdout == b"started\n"
        if not ok:
            subprocess.run([self.runtime, "--root", str(self.where / "state"), "delete", "-f",
                            "base"], capture_output=True, check=False)  # fmt: skip
        return ok


def made(bundle: Bundle, every: set[str]) -> set[str]:
    """Return what the runtime calls from the filter on to its execve."""
    out = bundle.where / "strace"
    if not bundle.start(every, "strace", "-f", "-o", str(out)):
        raise SystemExit(f"{bundle.runtime} starts no container here")
    lines = out.read_text(errors="replace").splitlines()
    threads: dict[str, set[str]] = {}  # every tid → the tids of its process
    loaded: set[str] = set()
    found: set[str] = set()
    for line in lines:
        match = _CALL.match(line)
        if not match:
            continue
        tid, name = match.groups()
        mine = threads.setdefault(tid, {tid})
        child = re.search(r"= (\d+)$", line)
        if "CLONE_THREAD" in line and child:
            mine.add(child[1])
            threads[child[1]] = mine
        if _LOADED.search(line):
            loaded = mine
        elif tid in loaded:
            if name == "write" and '"started' in line:
                break
            if name not in ("exit", "exited", "killed"):
                found.add(name)
    return found - {"resumed"}


def main() -> int:
    """Print a row for each runtime, with and without no_new_privs."""
    every = {row.name for row in syscalls.table() if row.number is not None}
    for runtime in sys.argv[1:] or ("crun", "runc", "bwrap"):
        if shutil.which(runtime) is None:
            print(f"# {runtime}: not on this machine")
            continue
        first = subprocess.run([runtime, "--version"], capture_output=True, text=True, check=True)
        version = first.stdout.split()[1 if runtime == "bwrap" else 2]
        for no_new_privs in (True,) if runtime == "bwrap" else (True, False):
            with tempfile.TemporaryDirectory() as where:
                bundle: Bundle | Bubble
                if runtime == "bwrap":
                    bundle = Bubble(Path(where), runtime)
                else:
                    bundle = Bundle(Path(where), runtime, no_new_privs)
                calls: set[str] = set()
                for _ in range(RUNS):
                    calls |= bundle.made(every)
                needed = {one for one in calls if not bundle.start((calls | set(OWN)) - {one})}
                starts = sum(bundle.start(calls | set(OWN)) for _ in range(RUNS))
                mode = "yes" if no_new_privs else "no"
                words = " ".join(one + "!" * (one in needed) for one in sorted(calls))
                print(f"{runtime}\t{version}\t{mode}\t{words}", flush=True)
                if starts != RUNS:
                    print(f"# {runtime}: started {starts} of {RUNS} times with these alone")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Real containers: this machine's programs, under runc or crun, with a seccomp profile."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PRIVATE_CGROUPS = (
    "if [ -d /sys/fs/cgroup/unified ]; then umount -R /sys/fs/cgroup && "
    'mount -t cgroup2 none /sys/fs/cgroup; fi; exec "$@"'
)
"""crun knows no hybrid of cgroups v1 and v2: on such a host it is shown v2 alone."""

SHARED = ("usr", "etc", "bin", "sbin", "lib", "lib64")
CAPS = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE",
        "CAP_SETGID", "CAP_SETUID")  # fmt: skip


def mount(path: str, *options: str) -> dict[str, Any]:
    return {"destination": path, "type": "bind", "source": path, "options": ["rbind", *options]}


def config(argv: Sequence[str], work: Path, *, no_new_privs: bool) -> dict[str, Any]:
    """An OCI configuration in which this machine's programs run, in the directory `work`."""
    shared = [mount(f"/{one}", "ro") for one in SHARED if Path("/", one).exists()]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": list(argv), "cwd": str(work),
            "env": ["PATH=/usr/bin:/bin", "LC_ALL=C", f"HOME={work}"],
            "noNewPrivileges": no_new_privs,
            "capabilities": {"bounding": CAPS, "effective": CAPS, "permitted": CAPS},
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            *shared, mount(str(work)),
        ],
        "linux": {"namespaces": [{"type": one} for one in ("pid", "mount", "ipc", "uts")]},
    }  # fmt: skip


class Containers:
    """Runs programs in containers; what is in `where` is the bundle."""

    def __init__(self, runtime: str, where: Path) -> None:
        self.runtime, self.where, self.number = runtime, where, 0
        (where / "rootfs").mkdir(parents=True)

    def run(
        self, argv: Sequence[str], work: Path, profile: dict[str, Any] | None = None,
        *, no_new_privs: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        made = config(argv, work, no_new_privs=no_new_privs)
        if profile is not None:
            made["linux"]["seccomp"] = profile
        (self.where / "config.json").write_text(json.dumps(made))
        self.number += 1
        name = f"capsule-test-{self.where.name}-{self.number}"
        words = [self.runtime, "--root", str(self.where / "state")]
        try:
            return subprocess.run(
                ["unshare", "-m", "sh", "-c", PRIVATE_CGROUPS, "sh", *words, "run", name],
                cwd=self.where, capture_output=True, timeout=60, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            subprocess.run([*words, "delete", "-f", name], capture_output=True, check=False)

"""Other sandboxes in which benchmarks/probes.py tries its deeds."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

SYSTEM = ("/bin", "/lib", "/lib64", "/usr", "/etc/ld.so.cache")
NETWORK = {"type": "network"}

_numbers = itertools.count()


def container(
    runtime: str, where: Path, shown: tuple[str, ...], profile: dict[str, Any] | None
) -> Callable[[list[str]], list[str]]:
    """Return how a command is run in a container that has the host's network.

    `shown` are the directories that it can write in, by the names they have outside; the system's
    are read-only, and all else is absent. Everything but the seccomp `profile` is what
    `<runtime> spec` says.
    """
    where.mkdir()
    subprocess.run([runtime, "spec"], cwd=where, check=True)
    spec = json.loads((where / "config.json").read_bytes())
    spec["linux"]["namespaces"].remove(NETWORK)
    spec["mounts"] = [one for one in spec["mounts"] if one["destination"] != "/sys"]
    binds = [(path, "ro") for path in SYSTEM if Path(path).exists()]
    for path, mode in binds + [(path, "rw") for path in shown]:
        spec["mounts"].append(
            {"destination": path, "type": "bind", "source": path, "options": ["rbind", mode]}
        )
    if profile is not None:
        spec["linux"]["seccomp"] = profile
    spec["process"] |= {"terminal": False, "cwd": shown[0]}
    spec["root"]["readonly"] = False

    def wrap(argv: list[str]) -> list[str]:
        bundle = where / str(next(_numbers))
        (bundle / "rootfs").mkdir(parents=True)
        spec["process"]["args"] = argv
        (bundle / "config.json").write_text(json.dumps(spec))
        name = f"{where.parent.name}-{where.name}-{bundle.name}"
        return [runtime, "run", "--bundle", str(bundle), name]

    return wrap


def usual(told: dict[str, Any]) -> dict[str, Any]:
    """Return a profile of Docker's format as a runtime takes it, for no capability at all."""
    rules = []
    for rule in told["syscalls"]:
        only, never = rule.get("includes") or {}, rule.get("excludes") or {}
        if only.get("caps") or "amd64" not in (only.get("arches") or ["amd64"]):
            continue
        if "amd64" in (never.get("arches") or []):
            continue
        kept = ("names", "action", "args", "errnoRet")
        rules.append({key: rule[key] for key in kept if rule.get(key) is not None})
    return {
        "defaultAction": told["defaultAction"],
        "defaultErrnoRet": told.get("defaultErrnoRet", 1),
        "architectures": told.get("architectures")
        or ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }

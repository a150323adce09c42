"""What hostile deeds sandboxes stop: tests/programs/probes.c, in each sandbox that is here.

    python -m benchmarks.probes             prints the table of docs/allowlists.md
    python -m benchmarks.probes --write     puts it there

A policy is drafted from three benign runs of the program; then the same program, confined to it,
tries each deed. A deed counts only if it succeeds unconfined. Whoever is killed by anything but
SIGSYS has proved nothing.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.documents import put
from benchmarks.programs import REPO
from benchmarks.sandboxes import container, usual

SOURCE = REPO / "tests" / "programs" / "probes.c"
RUNS = 3
TIMEOUT_S = 60
NOT_STARTED = (125, 126, 127)
USUAL = Path("/usr/share/containers/seccomp.json")

Way = Callable[[list[str]], list[str]]
"""A sandbox: what it makes of a command."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a deed: `done`, `denied` (`why` is the errno) or `inconclusive`."""

    result: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.result} {self.why}".strip()


class Ground:
    """A place to act in, with what a program may use and what it must not, and a peer to attack.

    `root/work` is the program's own; all in `root/outside` is not.
    """

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.root = root
        self.work, self.outside, self.program = root / "work", root / "outside", root / "probes"
        words = ["cc", "-O1", "-w", "-o", str(self.program), str(SOURCE)]
        subprocess.run(words, check=True)
        (self.work / "out").mkdir(parents=True)
        self.work.joinpath("input").write_text("x")
        self.work.joinpath("link").symlink_to(self.outside / "secret")
        self.reset()
        self.terminal, self._slave = pty.openpty()
        stack.callback(os.close, self.terminal)
        stack.callback(os.close, self._slave)
        self._served: list[socket.socket] = []
        stack.callback(lambda: [one.close() for one in self._served])
        ports = [
            self._serve(socket.AF_INET, kind, ("127.0.0.1", 0))
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
            for _ in range(2)
        ]
        peer = subprocess.Popen(
            [str(self.program), "peer"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        stack.callback(peer.wait)
        stack.callback(peer.kill)
        assert peer.stdout is not None
        stack.callback(peer.stdout.close)
        self._about = [str(self.work), str(self.outside), *map(str, ports)]
        self._about += peer.stdout.readline().split()
        self._serve(socket.AF_UNIX, socket.SOCK_STREAM, f"{self.work}/sock")
        self._serve(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.outside}")

    def _serve(self, family: int, kind: int, address: str | tuple[str, int]) -> int:
        one = socket.socket(family, kind)
        self._served.append(one)
        one.bind(address)
        if kind == socket.SOCK_STREAM:
            one.listen(128)
        name = one.getsockname()
        return int(name[1]) if family == socket.AF_INET else 0

    def reset(self) -> None:
        """Put everything outside back where it was, and empty `work/out`."""
        if self.outside.exists():
            shutil.rmtree(self.outside)
        (self.outside / "home/.ssh").mkdir(parents=True)
        for name in ("secret", "file", "home/.ssh/id_ed25519"):
            (self.outside / name).write_text("secret")
        shutil.copy(self.program, self.outside / "setuid")
        (self.outside / "setuid").chmod(0o4755)
        for path in (self.work / "out").iterdir():
            path.unlink()

    @contextmanager
    def service(self) -> Iterator[None]:
        """Serve `outside/docker.sock`: a socket with a path."""
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"{self.outside}/docker.sock")
            one.listen(8)
            yield

    def argv(self, deed: str) -> list[str]:
        """Return the command that does `deed`."""
        return [str(self.program), deed, *self._about]

    def deeds(self) -> list[str]:
        """Return the names of all deeds."""
        words = [str(self.program), "list"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()

    def run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command, its input a terminal."""
        return subprocess.run(
            argv, stdin=self._slave, capture_output=True, text=True, errors="replace",
            cwd=self.work, check=False, timeout=TIMEOUT_S,
        )  # fmt: skip

    def attempt(self, deed: str, wrap: Way) -> Outcome:
        """Do a deed in a sandbox, which is what `wrap` makes of the command."""
        self.reset()
        with self.service():
            done = self.run(wrap(self.argv(deed)))
        return judged(done)


def judged(done: subprocess.CompletedProcess[str]) -> Outcome:
    """Return what the end of a probe says."""
    status = done.returncode
    if status == 0:
        return Outcome("done")
    killed = -status if status < 0 else status - 128
    if killed == signal.SIGSYS:
        return Outcome("denied", "SIGSYS")
    if status == 1 and done.stdout:  # else it was not the probe that ended
        return Outcome("denied", done.stdout.strip())
    if status in NOT_STARTED:
        return Outcome("inconclusive", (done.stderr.strip().splitlines() or ["not started"])[-1])
    return Outcome("inconclusive", f"status {status}")


@contextmanager
def ground() -> Iterator[Ground]:
    """A ground that is gone afterwards."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="probes.")))
        root.chmod(0o755)
        yield Ground(root, stack)


def capsule(*words: str) -> list[str]:
    """Return a command of Capsule."""
    return [sys.executable, "-m", "capsule", *words]


def drafted(place: Ground) -> Path:
    """Return a policy of RUNS benign runs."""
    logs = place.root / "logs"
    for _ in range(RUNS):
        traced = capsule("trace", "-q", "--log-dir", str(logs), "--", *place.argv("benign"))
        done = place.run(traced)
        assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    policy = place.root / "policy.json"
    found = sorted(str(path) for path in logs.glob("2*.jsonl"))
    subprocess.run(capsule("profile", "-q", "-o", str(policy), *found), check=True)
    return policy


def confined(place: Ground, *more: str) -> Way:
    """Return how a command is run by `capsule run` with these options."""
    policy = str(drafted(place)) if not (place.root / "policy.json").exists() else None
    words = capsule("run", "-q", "--policy", policy or f"{place.root}/policy.json", *more)
    return lambda argv: [*words, "--", *argv]


def main(words: list[str]) -> int:
    """Print the table, or write it."""
    os.environ["PYTHONPATH"] = str(REPO)
    with ground() as place:
        logs = ("--log-dir", str(place.root / "logs"))
        ways: dict[str, Way] = {
            "unconfined": lambda argv: argv,
            "capsule run": confined(place, *logs),
            "capsule run --no-trace": confined(place, "--no-trace"),
            **containers(place),
        }
        for name, wrap in ways.items():
            done = place.run(wrap(place.argv("benign")))
            assert (done.returncode, done.stdout) == (0, "done\n"), f"{name}: {done.stderr}"
        found = table(place, ways)
    if "--write" in words:
        put("allowlists", "probes", found)
    else:
        print(found)
    return 0


def containers(place: Ground) -> dict[str, Way]:
    """Return the sandboxes of others that are installed here."""
    ways: dict[str, Way] = {}
    shown = (str(place.work), str(place.program))
    if shutil.which("runc"):
        ways["runc"] = container("runc", place.root / "runc", shown, None)
        words = ("--policy", f"{place.root}/policy.json", "--format", "oci", "--runtime", "runc")
        said = subprocess.run(
            capsule("profile", "-q", "--no-new-privs", *words), check=True, capture_output=True
        )
        ways["runc, --format oci"] = container(
            "runc", place.root / "drafted", shown, usual(json.loads(said.stdout))
        )
        if USUAL.exists():
            profile = usual(json.loads(USUAL.read_bytes()))
            ways["runc, Podman's seccomp.json"] = container(
                "runc", place.root / "usual", shown, profile
            )
    return ways


def table(place: Ground, ways: dict[str, Way]) -> str:
    """Return a row a deed, and how many each way denies; the first way is the control."""
    control, *sandboxes = ways
    rows = [f"| deed | {' | '.join(ways)} |", "|" + "---|" * (len(ways) + 1)]
    tally = {name: {"denied": 0, "done": 0, "inconclusive": 0} for name in sandboxes}
    for deed in place.deeds():
        outcomes = {name: place.attempt(deed, wrap) for name, wrap in ways.items()}
        rows.append(f"| {deed.replace('_', ' ')} | {' | '.join(map(str, outcomes.values()))} |")
        if outcomes[control].result == "done":
            for name in sandboxes:
                tally[name][outcomes[name].result] += 1
    shares = [
        f"{one['denied']} of {one['denied'] + one['done']}"
        + (f", {one['inconclusive']} inconclusive" if one["inconclusive"] else "")
        for one in tally.values()
    ]
    rows.append(f"| **denied** | | {' | '.join(shares)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

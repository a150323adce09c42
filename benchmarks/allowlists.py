"""How good drafted allow-lists are: 12 programs, traced, drafted, and run again under the draft.

    python -m benchmarks.allowlists             prints the table of docs/allowlists.md
    python -m benchmarks.allowlists --write     puts it there
    python -m benchmarks.allowlists ls sort     of these programs alone

Each program runs five times traced; a policy is drafted from all five, and for each of them one
from the other four. Then it runs five times under the policy with a log and five times without.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.documents import put
from benchmarks.programs import REPO
from capsule import syscalls

RUNS = 5
PATH = "/usr/bin:/bin"
PROGRAMS = {
    "ls": "ls -lR /usr/share/doc/dpkg /usr/include > out",
    "grep": "grep -r root /etc/passwd /etc/group > out",
    "sort": "seq 50000 | sort -R | sort -n > out",
    "tar": "tar -cf out.tar /usr/share/common-licenses 2>&1 && tar -tf out.tar > out",
    "gzip": "seq 50000 > in && gzip -f in && gzip -dc in.gz > out",
    "git": "rm -rf repo && git init -q repo && cd repo && date +%N > a && git add a && git "
    "-c user.name=a -c user.email=a@b commit -qm a && git log --format=%s > ../out",
    "gcc": "echo 'int main(void){return 7;}' > a.c && gcc -O1 a.c -o a.out; ./a.out; echo $? > out",
    "python script": "echo 'import json, tempfile; f = tempfile.NamedTemporaryFile(); "
    "f.write(json.dumps([1]).encode()); print(f.tell())' > s.py && python3 s.py > out",
    "node script": "echo 'console.log(require(\"os\").EOL.length)' > s.js && node s.js > out",
    "curl": "curl -s -o out http://127.0.0.1:{port}/",
    "sqlite3": "rm -f db && sqlite3 db 'create table t(x); insert into t values(1); "
    "select * from t' > out",
    "make": "printf 'a:\\n\\techo made > a\\n' > Makefile && rm -f a && make -s a && cp a out",
}
"""Name → script. What it makes in its directory, and `out` above all, is its output."""

DOCKER = "28.2.2", 309
"""Docker's default profile (profiles/seccomp/default.json at that tag of moby/moby) allows so many
of the calls in capsule/syscalls.tsv that have an x86-64 number, with Docker's default capabilities.
"""

KNOWN = sum(1 for row in syscalls.table() if row.number is not None)
REFUSALS = ("EPERM", "EACCES", "ENOSYS")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, as who started it sees it."""

    status: int
    stdout: bytes
    out: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found of one program. `same`: how many enforced runs, traced and not, ended as
    unconfined; `refused`: calls that failed only when confined."""

    policy: dict[str, Any]
    same_traced: int
    same_untraced: int
    refused: Counter[str]

    @property
    def denied(self) -> int:
        """How much of what runs did a policy of the others denies."""
        return sum(one["denied"] for one in self.policy["confidence"]["left_out"])

    def row(self) -> str:
        """Return the row of the table, after the program's name."""
        told, rules = self.policy["confidence"], self.policy["rules"]
        calls = sum(1 for rule in rules if rule["kind"] == "call")
        beyond = sum(1 for rule in rules if rule["why"] != "seen")
        facts = sum(one["facts"] for one in told["left_out"])
        denied = self.denied
        return (
            f"{told['calls_seen']} | {told['calls_expected']:.0f} | {calls} | "
            f"{len(rules):,} ({beyond}) | {denied} of {facts:,} ({denied / facts:.2%}) | "
            f"{self.same_traced} of {RUNS} | {self.same_untraced} of {RUNS} | "
            f"{sum(self.refused.values())}"
        )


class Place:
    """A directory in which one program runs, and what is kept of it."""

    def __init__(self, where: str, script: str) -> None:
        self.work = Path(where, "work")
        self.work.mkdir()
        # Beside the home directory it would be one that no policy opens: it is above that.
        Path(where, "tmp").mkdir()
        self.policy = Path(where, "policy.json")
        self.command = ["sh", "-c", script]
        self.environment = {
            **os.environ, "PATH": PATH, "PYTHONPATH": str(REPO), "HOME": where, "LC_ALL": "C",
            "TMPDIR": str(Path(where, "tmp")),
        }  # fmt: skip
        self._where = Path(where)

    def run(self, *before: str) -> Ending:
        """Run the program, with words before it."""
        done = subprocess.run(
            [*before, *self.command], cwd=self.work, env=self.environment, capture_output=True,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        out = self.work / "out"
        digest = hashlib.sha256(out.read_bytes()).hexdigest() if out.exists() else ""
        if done.returncode:
            sys.stderr.buffer.write(done.stderr)
        return Ending(done.returncode, done.stdout, digest)

    def logs(self, name: str) -> Path:
        """Return a directory for logs."""
        return self._where / name

    def capsule(self, *words: str) -> list[str]:
        """Return a command of Capsule."""
        return [sys.executable, "-m", "capsule", *words]


def measure(script: str, runs: int = RUNS) -> Measured:
    """Trace, draft and enforce one program, each `runs` times."""
    with tempfile.TemporaryDirectory() as where, server() as port:
        place = Place(where, script.replace("{port}", str(port)))
        plain = place.run()
        assert plain.status == 0, f"{script}: {plain}"
        for _ in range(runs):
            traced = place.run(
                *place.capsule("trace", "-q", "--log-dir", str(place.logs("traced")), "--")
            )
            assert traced == plain, f"{script}: traced {traced}, plain {plain}"
        before = _runs(place.logs("traced"))
        words = place.capsule("profile", "-q", "-o", str(place.policy), *map(str, before))
        subprocess.run(words, check=True, env=place.environment)
        run = place.capsule("run", "-q", "--policy", str(place.policy))
        log = ("--log-dir", str(place.logs("enforced")))
        traced_same = sum(place.run(*run, *log, "--") == plain for _ in range(runs))
        untraced_same = sum(place.run(*run, "--no-trace", "--") == plain for _ in range(runs))
        usual = set().union(*(refusals(path) for path in before))
        refused: Counter[str] = Counter()
        for path in _runs(place.logs("enforced")):
            refused.update({key: n for key, n in refusals(path).items() if key not in usual})
        return Measured(json.loads(place.policy.read_bytes()), traced_same, untraced_same, refused)


def _runs(directory: Path) -> list[Path]:
    return sorted(directory.glob("2*.jsonl"))


def refusals(log: Path) -> Counter[str]:
    """Return what failed in a run as a confined call fails. clone3, which no filter can look into,
    always does, and the C library takes clone."""
    found: Counter[str] = Counter()
    with log.open("rb") as lines:
        for line in lines:
            record = json.loads(line)
            for errno, count in record.get("errors", {}).items():
                if errno in REFUSALS and (
                    errno != "ENOSYS" or not record["kind"].endswith(".spawn")
                ):
                    found[f"{record['kind']} {record.get('target', '')} {errno}"] += count
    return found


@contextlib.contextmanager
def server() -> Iterator[int]:
    """Serve one page over HTTP; the port."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"page\n")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield serving.server_address[1]
        finally:
            serving.shutdown()
            thread.join()


def table(names: list[str]) -> str:
    """Return the table of these programs."""
    version, allowed = DOCKER
    release = os.uname().release.split("-")[0]
    heads = (
        "program", "calls seen", "expected", "calls allowed", "rules (not seen)",
        "of a left-out run denied", "same, traced", "same, not traced", "refused",
    )  # fmt: skip
    rows = [
        f"Linux {release}; of {KNOWN} calls of x86-64, Docker {version} allows {allowed}.\n",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
    ]
    for name in names:
        measured = measure(PROGRAMS[name])
        rows.append(f"| {name} | {measured.row()} |")
        for what, count in measured.refused.items():
            print(f"{name}: refused {count} x: {what}", file=sys.stderr)
    return "\n".join(rows)


def main(words: list[str]) -> int:
    """Print the table, or write it."""
    write = "--write" in words
    found = table([word for word in words if word != "--write"] or list(PROGRAMS))
    if write:
        put("allowlists", "drafts", found)
    else:
        print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

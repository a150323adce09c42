"""How good drafted allow-lists are: programs traced five times, each run held against the others.

    python -m benchmarks.allowlists          prints the table of docs/allowlists.md

For each program: system calls seen and expected (Chao2), rules, rules beyond what was seen, and how
many of the things that a run did a policy of the other four denies.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = 5
PROGRAMS = {
    "ls": "ls -lR /usr/share/doc > out",
    "grep": "grep -r root /etc/passwd /etc/group > out",
    "sort": "seq 50000 | sort -R | sort -n > out",
    "tar": "tar -cf out.tar /usr/share/common-licenses && tar -tf out.tar > out",
    "gzip": "seq 50000 > in && gzip -f in && gzip -dc in.gz > out",
    "git": "rm -rf repo && git init -q repo && cd repo && echo a > a && git add a && git "
    "-c user.name=a -c user.email=a@b commit -qm a && git log > ../out",
    "gcc": "echo 'int main(void){return 0;}' > a.c && gcc -O1 a.c -o a.out && ./a.out",
    "python": "python3 -c 'import json, tempfile; f = tempfile.NamedTemporaryFile(); "
    "f.write(json.dumps([1]).encode())'",
    "node": "node -e 'console.log(require(\"os\").EOL)' > out",
    "curl": "curl -s -o out file:///etc/hostname",
    "sqlite3": "rm -f db && sqlite3 db 'create table t(x); insert into t values(1); "
    "select * from t' > out",
    "make": "printf 'a:\\n\\techo made > a\\n' > Makefile && rm -f a && make -s a",
}
SUPPORTED = 362
"""Calls of x86-64 that a filter may allow, about."""


def capsule(*words: str, where: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command of Capsule in `where`; its logs go to `where`/runs."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "capsule", *words],
        cwd=where, env={**environment, "CAPSULE_LOG_DIR": f"{where}/runs"}, capture_output=True,
        check=False,
    )  # fmt: skip


def measure(script: str) -> str:
    """Return one program's row, after its name."""
    with tempfile.TemporaryDirectory() as where:
        for _ in range(RUNS):
            done = capsule("trace", "-q", "--", "sh", "-c", script, where=where)
            if done.returncode:
                return f"failed: {done.stderr.decode(errors='replace').strip()[:60]} | | | | "
        logs = sorted(str(path) for path in Path(where, "runs").glob("2*.jsonl"))
        done = capsule("profile", "-q", *logs, where=where)
        if done.returncode:
            return f"refused: {done.stderr.decode(errors='replace').strip()[:60]} | | | | "
        found = json.loads(done.stdout)
    told, rules = found["confidence"], found["rules"]
    calls = sum(1 for rule in rules if rule["kind"] == "call")
    beyond = sum(1 for rule in rules if rule["why"] != "seen")
    denied = sum(one["denied"] for one in told["left_out"])
    facts = sum(one["facts"] for one in told["left_out"])
    runs = sum(1 for one in told["left_out"] if one["denied"])
    return (
        f"{told['calls_seen']} | {told['calls_expected']:.0f} | {calls} of ~{SUPPORTED} | "
        f"{len(rules)} ({beyond}) | {denied} of {facts} ({denied / facts:.2%}), {runs} of {RUNS}"
    )


def main() -> int:
    """Print the table."""
    print(
        "| program | calls seen | expected | calls allowed | rules (not seen) | denied, in runs |"
    )
    print("|---|---|---|---|---|---|")
    for name, script in PROGRAMS.items():
        here = name == "python" or shutil.which(name) is not None
        print(f"| {name} | {measure(script) if here else 'not on this machine | | | | '} |")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

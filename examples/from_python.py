#!/usr/bin/env python3
"""Capsule from Python: follow a program while it runs, then ask what it did.

python3 examples/from_python.py
"""

import os
import subprocess
import tempfile

import capsule

SCRIPT = "echo hello >greeting; cat greeting missing; exit 3"


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        # Live: the loop sees each Action a moment after it happened, and ends with the run.
        with capsule.trace(
            ["sh", "-c", SCRIPT], cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as run:
            for action in run.actions("file.create", "file.write"):
                if (action.target or "").startswith(place) and action.bytes:
                    program = os.path.basename(action.exe or "?")
                    print(f"{program:5} wrote {os.path.basename(action.target or '')}")

        # Afterwards: the same log answers everything else.
        print("exit status", run.returncode)
        print("programs:", ", ".join(node.argv[0] for node in run.processes))
        for action in run.actions("file.open"):
            if action.failed and (action.target or "").startswith(place):
                name = os.path.basename(action.target or "")
                print(f"failed: {action.kind} {name} ({', '.join(action.errors)})")
        print("verdict:", run.verify().verdict.name)


if __name__ == "__main__":
    main()

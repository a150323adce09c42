"""The check for leftovers can itself fail: it is run here on tests that leave some."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parent.parent / "conftest.py"

TESTS = {
    # name: (body, the kind of thing that it leaves)
    "child": ("subprocess.Popen(['sleep', '1000'])", "process"),
    "orphan": ("subprocess.run(['sh', '-c', 'setsid sleep 1000 &'])", "process"),
    "socket": ("socket.socket(socket.AF_UNIX).bind(os.environ['TMPDIR'] + '/s')", "file"),
    "directory": ("tempfile.mkdtemp(prefix='capsule-')", "file"),
    "runtime_file": ("open(os.environ['XDG_RUNTIME_DIR'] + '/f', 'w').close()", "file"),
    "nothing": ("subprocess.run(['sh', '-c', 'true & true'])", None),
}


def test_a_test_that_leaves_something_fails_and_names_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_it.py").write_text(
        "import os, socket, subprocess, tempfile\n"
        + "".join(f"\ndef test_{name}():\n    {body}\n" for name, (body, _) in TESTS.items())
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp=base"]
    done = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir=.", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = dict(
        re.findall(
            r"ERROR at teardown of test_(\w+) .*\nthe test left behind:\n  (\w+)", done.stdout
        )
    )
    expected = {name: what for name, (_, what) in TESTS.items() if what}
    assert found == expected, done.stdout
    assert "6 passed, 5 errors" in done.stdout

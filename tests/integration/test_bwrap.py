"""Programs that live in bubblewrap by the script of `--format bwrap`; settings of srt."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import RunCapsule

PROGRAMS = {
    "git": "rm -rf r; git init -q r; cd r; echo a > a; git add a; git -c user.name=a "
    "-c user.email=a@b commit -qm a; git log --format=%s",
    "python": "python3 -c 'import json, threading as t; t.Thread(target=print).start()'",
    "gcc": "echo 'int main(void) { return 7; }' > a.c; gcc a.c -o a; ./a; echo $?",
    "names": "echo a > 'b c'; cat 'b c'; rm 'b c'; ls",
}
DEEDS = {
    "reading a key": "cat {home}/.ssh/id_rsa",
    "listing home": "ls {home}",
    "reading what was not read": "cat /etc/hostname",
    "writing outside": "touch {outside}/x",
    "another call": "chmod 600 {work}/kept",
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, beside a home and another one."""
    for name in ("home/.ssh", "outside", "work"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home/.ssh/id_rsa").write_text("secret\n")
    (tmp_path / "work/kept").touch()
    for name, value in {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "work"


@pytest.fixture
def namespaces() -> None:
    """A machine on which bubblewrap makes its namespaces."""
    assert shutil.which("bwrap"), "bubblewrap is missing: run .ci/setup test"
    tried = subprocess.run(
        ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"bubblewrap makes no namespaces here: {tried.stderr.decode()}")


def drafted(capsule: RunCapsule, work: Path, how: str, script: str) -> Path:
    """The file for a script that was run twice in `work`."""
    for _ in range(2):
        capsule("trace", "-q", "--", "/bin/sh", "-c", f"cd {work}; {script}")
    found = work.parent / "drafted"
    logs = sorted(path.stem for path in Path(os.environ["CAPSULE_LOG_DIR"]).glob("2*.jsonl"))
    done = capsule("profile", "--format", how, "-o", str(found), *logs)
    assert done.returncode == 0, done.stderr
    return found


def run(words: Sequence[str], work: Path) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        words, cwd=work, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.usefixtures("namespaces", "log_dir")
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_does_its_work_in_bubblewrap(
    capsule: RunCapsule, work: Path, program: str
) -> None:
    script = f"cd {work}; {PROGRAMS[program]}"
    file = drafted(capsule, work, "bwrap", PROGRAMS[program])
    plain = run(["/bin/sh", "-c", script], work)
    assert plain[0] == 0, plain
    assert run(["sh", str(file), "/bin/sh", "-c", script], work)[:2] == plain[:2]


@pytest.mark.usefixtures("namespaces", "log_dir")
def test_what_the_policy_does_not_name_is_not_there(capsule: RunCapsule, work: Path) -> None:
    file = drafted(capsule, work, "bwrap", "cat kept; touch new; rm new; ls; /usr/bin/env true")
    where = {"home": work.parent / "home", "outside": work.parent / "outside", "work": work}
    for name, deed in DEEDS.items():
        words = ["/bin/sh", "-c", deed.format(**where)]
        assert run(words, work)[0] == 0, f"{name} does not work at all"
        assert run(["sh", str(file), *words], work)[0] != 0, name
    assert run(["sh", str(file), "/bin/sh", "-c", f"touch {work}/new"], work)[0] == 0


@pytest.mark.usefixtures("log_dir")
def test_srt_takes_its_settings(
    capsule: RunCapsule, work: Path, node_bin: Path, node_modules: Path
) -> None:
    file = drafted(capsule, work, "sandbox-runtime", PROGRAMS["git"])
    made = json.loads(file.read_bytes())
    assert made["filesystem"]["denyRead"] == ["/"]
    assert str(work) in made["filesystem"]["allowWrite"]
    library = node_modules / "@anthropic-ai/sandbox-runtime/dist/index.js"
    check = (
        f"import {{ SandboxRuntimeConfigSchema as schema }} from '{library}';"
        "import fs from 'node:fs';"
        "const read = JSON.parse(fs.readFileSync(process.argv[1], 'utf8'));"
        "const found = schema.safeParse(read);"
        "console.log(found.success); if (!found.success) console.error(found.error);"
    )
    words = [str(node_bin / "node"), "--input-type=module", "-e", check]
    assert run([*words, str(file)], work)[1:] == (b"true\n", b"")
    made["filesystem"]["allowWrite"] = "everywhere"
    file.write_text(json.dumps(made))
    assert run([*words, str(file)], work)[1] == b"false\n"

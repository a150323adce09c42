"""The configuration file and completion, as a user meets them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import RunCapsule
from tests.logs import read_log


def write_config(text: str) -> None:
    path = Path(os.environ["XDG_CONFIG_HOME"], "capsule", "config.toml")
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_options_from_the_file_are_used_and_shown(capsule: RunCapsule, log_dir: Path) -> None:
    write_config('[trace]\nquiet = true\nsyscalls = "process"\n')
    done = capsule("trace", "--", "true")
    assert (done.returncode, done.stderr) == (0, b"")
    assert read_log(log_dir)[0]["syscalls"] == "process"
    shown = capsule("config").stdout.decode()
    assert "--syscalls" in shown
    assert "config.toml: [trace] syscalls" in shown
    assert "CAPSULE_LOG_DIR" in shown


def test_a_mistake_in_the_file_is_named_and_nothing_runs(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    write_config("[trace]\nquite = true\n")
    done = capsule("trace", "--", "touch", tmp_path / "ran")
    assert done.returncode == 125
    assert b"[trace] quite: no such option" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_commands(shell: str, capsule: RunCapsule) -> None:
    script = capsule("completion", shell).stdout
    assert b"verify" in script
    assert b"keep-raw" in script


def test_bash_completes_a_command(capsule: RunCapsule, tmp_path: Path) -> None:
    script = tmp_path / "capsule.bash"
    script.write_bytes(capsule("completion", "bash").stdout)
    asks = (
        f"source {script}; COMP_WORDS=(capsule veri); COMP_CWORD=1; "
        "_shtab_capsule 2>/dev/null; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", asks], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["verify"]

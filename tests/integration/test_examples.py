"""Every example runs, and prints what its header says that it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPO
from tests.integration.conftest import with_node
from tests.integration.test_docs import pattern

EXAMPLES = REPO / "examples"
SCRIPTS = ["installers/pip.sh", "installers/npm.sh", "installers/curl-sh.sh", "agent/audit.sh",
           "ci/watch-build.sh"]  # fmt: skip
TESTED_ELSEWHERE = {
    "first-trace.sh": "CI runs it as a step of its own",
    "hello.py": "test_docs",
    "from_python.py": "test_docs",
    "pytest/conftest.py": "test_testing",
    "pytest/test_examples.py": "test_testing",
    "subscriber.c": "test_subscribe",
    "subscriber.js": "test_subscribe",
    "subscriber.py": "test_subscribe",
    "subscriber.sh": "test_subscribe",
}
HERE = {*SCRIPTS, "agent/agent.py", "alert.py", "ci/github-actions.yml", "ci/gitlab-ci.yml"}


def promised(script: str) -> list[str]:
    """The last indented block of an example's header: the lines that it prints, `...` in them."""
    header = (EXAMPLES / script).read_text(encoding="utf-8").split("\nset -eu\n")[0]
    blocks = re.findall(r"(?:^#     .*\n)+", header + "\n", re.MULTILINE)
    return [line.removeprefix("#     ") for line in blocks[-1].splitlines()]


def left_out(lines: list[str], output: str) -> list[str]:
    """Which of the promised lines the output does not have, in that order."""
    rest = output
    missing = []
    for line in lines:
        found = re.search(f"^{pattern((line,))}", rest, re.MULTILINE)
        if found is None:
            missing.append(line)
        else:
            rest = rest[found.end() :]
    return missing


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_prints_what_it_says(
    script: str, tmp_path: Path, environment: dict[str, str], node_bin: Path
) -> None:
    environment |= with_node(node_bin, environment["PATH"])
    done = subprocess.run(
        ["sh", EXAMPLES / script], env=environment, cwd=tmp_path, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert not left_out(promised(script), done.stdout), done.stdout


def test_a_promise_can_be_broken() -> None:
    assert left_out(["a", "c"], "a\nb\nc\n") == []
    assert left_out(["a ... c"], "a b c\n") == []
    assert left_out(["c", "a"], "a\nb\nc\n") == ["a"]
    assert left_out(["b"], "a b\n") == ["b"]


def test_every_example_is_tested() -> None:
    found = {
        str(path.relative_to(EXAMPLES))
        for path in EXAMPLES.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert found == HERE | TESTED_ELSEWHERE.keys()


def test_alert_speaks_up_while_the_run_goes_on(tmp_path: Path, environment: dict[str, str]) -> None:
    url = f"ipc://{environment['XDG_RUNTIME_DIR']}/run"
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nread go\n")
    program.chmod(0o755)
    watch = subprocess.Popen(
        [sys.executable, EXAMPLES / "alert.py", url, "exec.*"],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    command = ["trace", "-q", "--publish", url, "--", program]
    traced = subprocess.Popen(
        [sys.executable, "-m", "capsule", *command], env=environment, stdin=subprocess.PIPE
    )
    assert watch.stdout is not None
    said = watch.stdout.readline()
    assert re.fullmatch(rf"ALERT exec.tmp: proc.exec {program} \(.*, pid \d+, record \d+\)\n", said)
    assert traced.poll() is None  # it waits for us
    traced.communicate(b"go\n", timeout=30)
    assert watch.communicate(timeout=30) == ("", None)
    assert watch.returncode == 1


def test_alert_leaves_with_0_when_nothing_was_wrong(environment: dict[str, str]) -> None:
    url = f"ipc://{environment['XDG_RUNTIME_DIR']}/run"
    words = [sys.executable, EXAMPLES / "alert.py", url, "kernel.*"]
    watch = subprocess.Popen(words, env=environment)
    command = ["trace", "-q", "--publish", url, "--publish-lossless", "--", "sleep", "0.5"]
    subprocess.run([sys.executable, "-m", "capsule", *command], env=environment, check=True)
    assert watch.wait(30) == 0


@pytest.fixture
def project(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A project with a build, and the policy that was drafted for it."""
    place = tmp_path / "project"
    (place / ".capsule").mkdir(parents=True)
    (place / "Makefile").write_text("test:\n\tsort words >sorted\n")
    (place / "words").write_text("b\na\n")
    script = """
        for run in 1 2 3; do capsule trace -q -- make test; done
        capsule profile -q -o .capsule/policy.json $(capsule runs --json | jq -r .run)
    """
    subprocess.run(["sh", "-ec", script], env=environment, cwd=place, check=True)
    return place


def ci_commands(name: str) -> list[str]:
    """What a CI file runs of Capsule, in its order."""
    file: dict[str, Any] = yaml.safe_load((EXAMPLES / "ci" / name).read_text(encoding="utf-8"))
    if "jobs" in file:
        commands = [step.get("run", "") for step in file["jobs"]["watch"]["steps"]]
    else:
        commands = [*file["watch"]["script"], *file["watch"]["after_script"]]
    return [command for command in commands if re.search(r"(^|/)capsule [a-z]", command)]


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_a_ci_job_passes_and_fails_on_new_behaviour(
    name: str, project: Path, environment: dict[str, str]
) -> None:
    commands = ci_commands(name)
    assert [words.split("capsule ")[1].split()[0] for words in commands] == [
        "trace", "check", "summary",
    ]  # fmt: skip

    def job() -> tuple[list[int], str]:
        done = [
            subprocess.run(
                ["sh", "-ec", command.replace("/opt/capsule/bin/", "")], env=environment,
                cwd=project, text=True, capture_output=True, check=False,
            )
            for command in commands
        ]  # fmt: skip
        return [one.returncode for one in done], done[1].stdout

    assert job()[0] == [0, 0, 0]
    (project / "Makefile").write_text("test:\n\tsort words /etc/passwd >sorted\n")
    statuses, said = job()
    assert statuses == [0, 1, 0]
    assert "/etc/passwd" in said


def test_the_workflow_is_what_github_takes() -> None:
    """YAML reads `on:` as true; a step has either `uses` or `run`."""
    file = yaml.safe_load((EXAMPLES / "ci" / "github-actions.yml").read_text(encoding="utf-8"))
    assert file[True] == ["push", "pull_request"]
    for step in file["jobs"]["watch"]["steps"]:
        assert ("uses" in step) != ("run" in step)

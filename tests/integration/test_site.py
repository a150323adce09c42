"""The documents as a site: it builds without a warning, holds every page, and fetches nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from capsule.cli import COMMANDS
from capsule.help.topics import ORDER
from tests.conftest import REPO


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    env = {**os.environ, "PYTHONPATH": str(REPO), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", REPO / "mkdocs.yml",
         "-d", place],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return place


def test_every_document_is_a_page_and_in_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    for name in [*(path.stem for path in (REPO / "docs").glob("*.md")), "commands", "topics"]:
        assert (site / f"{name}.html").is_file()
        assert f'href="{name}.html"' in home, f"{name} is not in the navigation"


def test_pages_made_from_the_code_are_whole(site: Path) -> None:
    commands = (site / "commands.html").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f'id="capsule-{name}"' in commands
    assert "<code>--on-log-failure {stop,continue}</code>" in commands
    topics = (site / "topics.html").read_text(encoding="utf-8")
    for name in ORDER:
        assert f'<h2 id="{name}"' in topics
    api = (site / "api.html").read_text(encoding="utf-8")
    for name in ("api.traced.trace", "api.traced.attach", "api.run.Run.actions", "testing.network"):
        assert f'id="capsule.{name}"' in api


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        loads = re.findall(r'<(?:script|img|iframe)[^>]* src="([^"]+)"', text)
        loads += re.findall(r'<link[^>]* rel="(?:stylesheet|preconnect|icon)"[^>]*>', text)
        assert loads
        assert not [load for load in loads if "//" in load], page.name


def test_no_link_of_a_page_leads_nowhere(site: Path) -> None:
    link_to = re.compile(r'<a [^>]*href="([^"#:]+)(?:#[^"]*)?"')
    for page in site.glob("*.html"):
        if page.name != "404.html":  # whose links are absolute, for it may stand anywhere
            for link in link_to.findall(page.read_text(encoding="utf-8")):
                assert (page.parent / link).exists(), f"{page.name}: {link}"

"""A real Chromium, cut off from the network, that looks at a page made by `capsule report`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")


@dataclass
class Seen:
    """A loaded page, and all that it said, asked for or popped up."""

    page: Page
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def number(self, selector: str) -> int:
        """The first number in an element's text."""
        return int(self.page.inner_text(selector).split()[0].replace(",", ""))

    def search(self, query: str, hits: int) -> None:
        """Search, and wait until the page says that so many Actions were found."""
        self.page.fill("#search", query)
        self.page.wait_for_selector(f"#hits:text-matches('^{hits:,} (of|Actions)')")

    def rows(self, within: str) -> list[str]:
        """The texts of the rows that a list draws."""
        return self.page.locator(f"{within} .row").all_inner_texts()


@contextmanager
def look(path: Path, *, scripts: bool = True, **options: Any) -> Iterator[Seen]:
    """Open the page, wait until its script is ready; it may ask for nothing and complain of
    nothing. `options` are those of playwright's `new_context`."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail("no Chromium; `sh .ci/setup packages` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            context = browser.new_context(offline=True, java_script_enabled=scripts, **options)
            seen = Seen(context.new_page())
            seen.page.set_default_timeout(60_000)
            seen.page.on("console", lambda message: seen.said.append(message.text))
            seen.page.on("pageerror", lambda error: seen.said.append(str(error)))
            seen.page.on("dialog", lambda dialog: seen.said.append(f"dialog {dialog.message}"))
            seen.page.on("request", lambda request: seen.requests.append(request.url))
            seen.page.goto(path.as_uri())
            if scripts:
                seen.page.wait_for_selector("html[data-ready]", state="attached")
            yield seen
            assert seen.said == []
            assert seen.requests == [path.as_uri()]
        finally:
            browser.close()

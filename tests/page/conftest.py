"""A browser that is installed, for tests of what it shows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fancypipe_core.plugins.page import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Look:
    """Shows pages, and keeps what was wrong with them.

    Args:
        browser: What shows them.
        folder: The run's folder, for journals.
    """

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self._browser = browser
        self._folder = folder
        self._contexts: list[BrowserContext] = []

    def __call__(self, journal: str | Path, address: str = "", **options: Any) -> Page:
        """Show a page, or the one of a journal, with options of the browser's context."""
        if isinstance(journal, str):
            (self._folder / "journal.jsonl").write_text(journal, "utf-8")
            journal = write_report(self._folder)
        context = self._browser.new_context(**options)
        self._contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("console", lambda said: self.wrong.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(f"{journal.as_uri()}#{address}")
        return page

    def close(self) -> None:
        """Close all pages."""
        for context in self._contexts:
            context.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the browser that this machine has; without one, the tests are skipped."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed, of {', '.join(BROWSERS)}")
    with api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture
def look(browser: Browser, tmp_path: Path) -> Iterator[Look]:
    """Return what shows pages; at the end nothing was wrong with any of them."""
    shown = Look(browser, tmp_path)
    yield shown
    shown.close()
    assert not shown.wrong
    assert [url for url in shown.asked if not url.startswith(("file:", "data:"))] == []

"""A browser that is installed, for tests of what it shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fancypipe_core.plugins.page import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

Look = Callable[..., "Page"]
"""Shows a page: `look(journal or path, address="", **options of the browser's context)`."""


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
    """Return what shows a page; at the end nothing was wrong with any of them."""
    contexts: list[Any] = []
    wrong: list[str] = []
    asked: list[str] = []

    def show(journal: str | Path, address: str = "", **options: Any) -> Page:
        if isinstance(journal, str):
            (tmp_path / "journal.jsonl").write_text(journal, "utf-8")
            journal = write_report(tmp_path)
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{journal.as_uri()}#{address}")
        return page

    yield show
    for context in contexts:
        context.close()
    assert not wrong
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []

"""The pages build as a site, and what Sphinx would only warn of is an error."""

from __future__ import annotations

import sys
from importlib import util
from pathlib import Path

import pytest

from tests.meta.repo import ROOT, call


@pytest.mark.skipif(
    not all(
        util.find_spec(name) for name in ("sphinx", "myst_parser", "furo", "sphinx_copybutton")
    ),
    reason="the site's tools are not installed: pip install -r docs/requirements.txt",
)
@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    options = ["-n", "-W", "--keep-going", "-q", "-d", str(tmp_path / "doctrees")]
    site = tmp_path / "site"
    over = call(sys.executable, "-m", "sphinx", *options, "docs", str(site), seconds=170)
    assert over.returncode == 0, over.stdout + over.stderr
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    missing = [page for page in pages if not (site / page.with_suffix(".html")).exists()]
    assert not missing, "pages that are not in the site"

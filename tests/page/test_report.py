"""The page as a file: what it is made of, and the command that makes it."""

from __future__ import annotations

import base64
import gzip
import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from fancypipe_core import errors
from fancypipe_core.plugins import page as room
from fancypipe_core.plugins.page import document, write_report
from fancypipe_core.plugins.page.document import MODULES, pieces_of
from tests.page.journals import large, study
from tests.system.place import Place

FILES = resources.files(room)


def journal_in(page: str) -> str:
    """Return the journal that a page holds."""
    pieces = re.findall(r'<script type="text/plain" class="journal">([^<]*)</script>', page)
    return b"".join(gzip.decompress(base64.b64decode(piece)) for piece in pieces).decode()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "journal.jsonl").write_text(study(), "utf-8")
    return tmp_path


def test_all_scripts_are_in_the_page() -> None:
    there = {path.name for path in FILES.iterdir() if path.name.endswith(".js")}
    assert there == {f"{name}.js" for name in MODULES}


def test_the_page_holds_the_whole_journal(run: Path) -> None:
    page = write_report(run)
    assert page == run / "index.html"
    assert journal_in(page.read_text("utf-8")) == study()
    assert sorted(path.name for path in run.iterdir()) == ["index.html", "journal.jsonl"]


def test_a_line_that_was_cut_short_is_left_out(run: Path) -> None:
    journal = run / "journal.jsonl"
    journal.write_text(study() + '{"kind":"do', "utf-8")
    assert journal_in(write_report(journal).read_text("utf-8")) == study()


def test_a_large_journal_is_in_pieces_of_whole_lines(tmp_path: Path) -> None:
    lines = large(6000).encode().splitlines(keepends=True)
    page = "".join(document(pieces_of(lines)))
    pieces = re.findall(r'class="journal">([^<]*)<', page)
    assert len(pieces) > 1
    for piece in pieces:
        assert gzip.decompress(base64.b64decode(piece)).endswith(b"}\n")
    assert journal_in(page).encode() == b"".join(lines)


def test_the_page_asks_nobody_for_anything() -> None:
    page = "".join(document())
    assert "default-src 'none'" in page
    # Names of namespaces are no addresses.
    addresses = set(re.findall(r"\b(?:https?:|//)[^\s\"'<]*\.[a-z]+/[^\s\"'<]*", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("name", MODULES)
def test_scripts_are_javascript(name: str) -> None:
    text = FILES.joinpath(f"{name}.js").read_text("utf-8")
    over = subprocess.run(
        ["node", "--check", "-"], input=text, text=True, capture_output=True, check=False
    )
    assert over.returncode == 0, over.stderr


# ---- colors -------------------------------------------------------------------------


def _colors(theme: str) -> dict[str, str]:
    style = FILES.joinpath("page.css").read_text("utf-8")
    block = style.split(":root {" if theme == "light" else ':root[data-theme="dark"] {')[1]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block.split("}")[0]))


def _light(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_light(one), _light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_are_told_from_what_is_behind_them(theme: str) -> None:
    """As the guidelines of the web ask: 4.5 for texts, 3 for signs."""
    colors = _colors(theme)
    for behind in ("paper", "raised", "chosen", "hover", "soft-failed"):
        for text in ("ink", "dim", "failed"):
            assert _contrast(colors[text], colors[behind]) >= 4.5, (text, behind)
        for sign in ("done", "running", "skipped", "unfolded", "submitted", "waiting-text"):
            assert _contrast(colors[sign], colors[behind]) >= 3, (sign, behind)
    for behind in ("paper", "raised"):
        assert _contrast(colors["accent"], colors[behind]) >= 4.5
    for pill in ("done", "failed", "running"):
        assert _contrast(colors["paper"], colors[pill]) >= 4.5, pill


# ---- the command --------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_command(place: Place, run: Path) -> None:
    over = place.fancypipe("report .")
    assert (over.returncode, over.stdout, over.stderr) == (0, "index.html\n", "")
    assert journal_in((run / "index.html").read_text("utf-8")) == study()


def test_the_command_shows_it(place: Place, run: Path) -> None:
    browser = place.write("browser", '#!/bin/sh\nprintf %s "$1" >shown\n')
    browser.chmod(0o700)
    over = place.fancypipe("report . --open", BROWSER=f"{browser} %s")
    assert (over.returncode, over.stdout, over.stderr) == (0, "index.html\n", "")
    assert (run / "shown").read_text("utf-8") == (run / "index.html").resolve().as_uri()
    none = place.fancypipe("report . --open", BROWSER="false", PATH="")
    assert (none.returncode, none.stdout) == (0, "index.html\n")
    assert "no browser could be started; open file:///" in none.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("", 2, "report takes one run; write: fancypipe report RUN"),
        ("a b", 2, "report takes one run"),
        ("nowhere", 2, "there is no run 'nowhere'"),
        ("empty", 2, "empty holds no journal.jsonl; give the folder of a run"),
        ("pipeline.py", 2, "pipeline.py is no journal of a run: its first line is no event"),
    ],
)
def test_what_is_no_run(place: Place, words: str, code: int, said: str) -> None:
    (place.folder / "empty").mkdir()
    over = place.fancypipe(f"report {words}")
    assert (over.returncode, over.stdout) == (code, "")
    assert over.stderr.startswith(f"fancypipe: {said}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(place: Place, run: Path) -> None:
    run.chmod(0o500)
    try:
        over = place.fancypipe("report .")
    finally:
        run.chmod(0o700)
    assert over.returncode == 1
    assert over.stderr == "fancypipe: the page of . cannot be made: Permission denied\n"


def test_a_page_that_cannot_be_made_leaves_nothing(run: Path) -> None:
    (run / "index.html").mkdir()
    with pytest.raises(OSError, match="index"):
        write_report(run)
    assert sorted(path.name for path in run.iterdir()) == ["index.html", "journal.jsonl"]
    with pytest.raises(errors.UsageError):
        write_report(run / "index.html")

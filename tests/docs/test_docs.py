"""What the pages show is so: scripts run, commands write what stands there, links lead on."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.pages import Block, Failure, Runner, blocks_of, links_of, pages, slugs_of, texts
from tests.meta.repo import ROOT, call


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _run(text: str, folder: Path) -> None:
    runner = Runner(folder)
    for block in blocks_of(text):
        runner.run(block)
    runner.finish()


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_what_a_page_shows_is_so(page: Path, tmp_path: Path) -> None:
    _run(page.read_text("utf-8"), tmp_path)


@pytest.mark.parametrize("page", texts(), ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    broken = []
    for line, target in links_of(text):
        if re.match(r"[a-z]+:", target):
            continue  # another site
        path, _, anchor = unquote(target).partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists():
            broken.append(f"line {line}: there is no {target}")
        elif anchor and other.suffix == ".md" and anchor not in slugs_of(other.read_text("utf-8")):
            broken.append(f"line {line}: {target} has no such heading")
    assert not broken, "\n".join(broken)


def test_tables_are_up_to_date() -> None:
    over = call(sys.executable, "docs/make_tables.py", "--check")
    assert over.returncode == 0, over.stdout + over.stderr


def test_decisions_are_numbered_and_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [name[:4] for name in records] == [f"{n:04}" for n in range(1, len(records) + 1)]
    listed = [target for _, target in links_of((folder / "README.md").read_text("utf-8"))]
    assert [target for target in listed if target[0].isdigit()] == records
    for name in records:
        text = (folder / name).read_text("utf-8")
        assert text.startswith(f"# {name[:4]}: ")
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Why", "Consequences"], name


# ---- the tool itself ---------------------------------------------------------------


def _page(*parts: str) -> str:
    return "\n".join(parts).replace("~~~", "```")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (_page("~~~python", "1 / 0", "~~~"), "ended with code 1"),
        (_page("<!-- raises: KeyError -->", "~~~python", "1 / 0", "~~~"), "did not raise KeyError"),
        (_page("<!-- raises: KeyError -->", "~~~python", "1", "~~~"), "did not raise KeyError"),
        (_page("~~~console", "$ exit 2", "~~~"), "ended with code 2"),
        (_page("<!-- exit: 2 -->", "~~~console", "$ true", "~~~"), "ended with code 0"),
        (_page("~~~console", "$ echo 1", "2", "~~~"), "the page says\n2\nand it was\n1\n"),
        (_page("~~~console", "echo 1", "~~~"), "begins with"),
        (
            _page("~~~python", "print(1)", "~~~", "<!-- output -->", "~~~text", "2", "~~~"),
            "the page says",
        ),
        (_page("~~~python", "1"), "not closed"),
        (_page("<!-- raises: KeyError -->", "text"), "no block follows"),
        (_page("<!-- cell -->", "~~~python", "1 / 0", "~~~"), "ZeroDivisionError"),
        (
            _page(
                "<!-- cell -->", "~~~python", "1 + 1", "~~~", "<!-- output -->", "~~~", "3", "~~~"
            ),
            "the cell in line 2: the page says\n3\nand it was\n2",
        ),
        (_page("<!-- file: ../x.py -->", "~~~python", "1", "~~~"), "not in the page's folder"),
    ],
)
def test_what_is_not_so_is_found(text: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=re.escape(what)):
        _run(text, tmp_path)


def test_blocks_that_belong_together(tmp_path: Path) -> None:
    text = _page(
        "<!-- file: words.py -->", "~~~python", "word = 'so'", "~~~",
        "~~~python", "# main.py", "from words import word", "~~~",
        "<!-- continues -->", "~~~python", "print(word, 1.25)", "~~~",
        "<!-- output -->", "~~~text", "so 1...", "~~~",
        "<!-- skip: it would fail -->", "~~~python", "1 / 0", "~~~",
        "<!-- raises: ZeroDivisionError -->", "~~~python", "1 / 0", "~~~",
        "~~~console", "$ python main.py", "so 1.25", "$ echo 2 >&2", "2", "~~~",
        "<!-- exit: 3 -->", "~~~console", "$ exit 3", "~~~",
    )  # fmt: skip
    found = list(blocks_of(text))
    assert len(found) == 8
    assert found[0] == Block("python", "word = 'so'\n", 2, {"file": "words.py"})
    _run(text, tmp_path)


def test_links_and_headings() -> None:
    text = _page(
        "# The `-x` option, and *so* on",
        "## Again",
        "## Again",
        "[a](b.md#c) and ![d [e]](f.png) but not `[g](h)`",
        "~~~",
        "[i](j)",
        "~~~",
        "[k](https://l)",
    )
    assert list(links_of(text)) == [(4, "b.md#c"), (4, "f.png"), (8, "https://l")]
    assert slugs_of(text) == {"the--x-option-and-so-on", "again", "again-1"}

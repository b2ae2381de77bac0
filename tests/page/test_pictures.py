"""Pictures and programs of tasks, as a browser shows them."""

from __future__ import annotations

import base64
import shlex
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Exec, run
from fancypipe_core.plugins.page import LivePage
from tests.core.test_pictures import dot, png
from tests.page.conftest import Look
from tests.page.journals import Journal
from tests.page.test_page import rows, text, told, whole

SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="64" height="32">
<script>top.document.documentElement.dataset.evil = 1; fetch("file:///etc/hostname")</script>
<image href="file:///evil.png" onerror="top.document.documentElement.dataset.evil = 1"/>
<rect width="64" height="32" fill="red"/></svg>"""


def address(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def drawn() -> Journal:
    """Return a run whose tasks have returned pictures."""
    journal = Journal()
    outer = journal.add("study")
    for name, said in (
        ("plot", [f"\n{address(png(40, 30))}"]),
        ("chart", [f"bars.svg\n{address(SVG.encode(), 'svg+xml')}"]),
        ("large", ["scan.png\ntoo large to be shown here: 9.0 MB, of 1.0 MB at most"]),
        ("broken", [f"half.png\n{address(png()[:40])}", f"other.png\n{address(png(8, 8))}"]),
        ("plain", []),
    ):
        task = journal.add(name, outer)
        journal.run(task, 0.5)
        for one in said:
            journal.note(task, one, "picture")
    return journal


def shown(page: Any, where: str) -> list[list[int]]:
    """Return the sizes of the pictures that are seen there, once all are read."""
    page.wait_for_function(
        "(where) => [...document.querySelectorAll(where)].every((one) => one.complete)", arg=where
    )
    script = "(all) => all.map((one) => [one.naturalWidth, one.naturalHeight])"
    found: list[list[int]] = page.locator(where).evaluate_all(script)
    return sorted(found)


def test_a_picture_is_shown_with_its_task(look: Look) -> None:
    journal = drawn()
    page = whole(look("".join(journal.lines(journal.over())), "task=2"))
    assert shown(page, "#details img") == [[40, 30]]
    page.locator("#details .picture > button").click()
    assert shown(page, "dialog img") == [[40, 30]]
    page.keyboard.press("Escape")
    assert page.locator("dialog").is_hidden()
    assert page.locator("#details").is_visible(), "only what is in front is left"
    page.locator("#search").fill("picture:")
    page.locator(".treehead", has_text="4 found").wait_for()
    assert sorted(rows(page)) == ["broken", "chart", "large", "plot"]


def test_all_pictures_are_in_one_view(look: Look) -> None:
    journal = drawn()
    page = whole(look("".join(journal.lines(journal.over())), "view=pictures"))
    page.locator(".gallery p", has_text="damaged").wait_for()
    assert page.locator(".gallery figure").count() == 5
    assert shown(page, ".gallery img") == [[8, 8], [40, 30], [64, 32]]
    assert "too large to be shown here" in text(page, ".gallery")
    page.locator(".gallery .link", has_text="chart").click()
    assert "bars.svg" in text(page, "#details")
    page.locator("#search").fill("name:plot")
    page.locator(".gallery figure", has_text="chart").wait_for(state="detached")
    assert page.locator(".gallery figure").count() == 1


def test_a_picture_runs_no_script(look: Look) -> None:
    journal = drawn()
    page = whole(look("".join(journal.lines(journal.over())), "task=3"))
    assert shown(page, "#details img") == [[64, 32]]
    assert page.evaluate("document.documentElement.dataset.evil ?? null") is None
    assert not [url for url in look.asked if "etc" in url or "evil" in url]


@pytest.mark.parametrize(
    "said",
    [
        "data:text/html;base64,PHNjcmlwdD4=", "data:image/svg+xml,<svg onload='alert(1)'/>",
        "data:image/png;base64,AAAA' onerror='x", "javascript:alert(1)", "https://example.org/x.png",
        "index.html",
    ],
)  # fmt: skip
def test_only_what_is_written_down_as_a_picture_is_one(look: Look, said: str) -> None:
    journal = Journal()
    task = journal.add("odd")
    journal.run(task, 0.5)
    journal.note(task, f"name\n{said}", "picture")
    page = whole(look("".join(journal.lines(journal.over())), "task=1"))
    assert page.locator("#details .picture").count() == 1
    assert page.locator("#details img").count() == 0


def test_a_run_without_pictures_has_no_view_of_them(look: Look) -> None:
    page = whole(look(told({"kind": "done", "attempt": 1, "seconds": 0.5})))
    assert page.locator("#tab-pictures").is_hidden()


def test_a_picture_comes_while_the_run_goes_on(look: Look, tmp_path: Path) -> None:
    journal = drawn()
    lines = list(journal.lines(journal.over()))
    (tmp_path / "journal.jsonl").write_text("".join(lines[:2]))
    live = LivePage(tmp_path)
    live.begin()
    page = look(live.page, "view=pictures")
    page.locator(".gallery .empty").wait_for()
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.writelines(lines[2:])
    live.step()
    page.locator(".gallery img").first.wait_for()
    live.end()
    page.locator(".gallery p", has_text="damaged").wait_for()
    assert shown(page, ".gallery img") == [[8, 8], [40, 30], [64, 32]]


# ---- programs -----------------------------------------------------------------------

COMMAND = shlex.join(["samtools", "sort", "-o", "it's sorted.bam", "in.bam"])


def program(*notes: tuple[str, str]) -> str:
    return told(
        {"kind": "submitted", "attempt": 1},
        *({"kind": "note", "stream": stream, "text": said} for stream, said in notes),
        {"kind": "done", "attempt": 1, "seconds": 3.0},
    )


def test_a_program_is_shown_with_its_command_line(look: Look) -> None:
    journal = program(
        ("command", COMMAND), ("folder", "/data/run 1"), ("exit", "exit code 3"),
        ("program-stdout", "merging\n"), ("program-stderr", "no header\n"), ("stdout", "a print\n"),
    )  # fmt: skip
    page = whole(look(journal, "task=1", permissions=["clipboard-read", "clipboard-write"]))
    details = text(page, "#details")
    for said in (COMMAND, "/data/run 1", "exit code 3", "merging", "no header", "a print"):
        assert details.count(said) == 1, said
    assert page.locator("#details .bad").inner_text() == "exit code 3"
    button = page.locator("#details .program .copy").first
    # It says so for a moment only, which a slow machine may miss.
    button.evaluate(
        "one => { one.said = [];"
        " new MutationObserver(() => one.said.push(one.textContent))"
        ".observe(one, {childList: true}); }"
    )
    button.click()
    page.wait_for_function("one => one.said.length", arg=button.element_handle())
    assert button.evaluate("one => one.said[0]") == "Copied"
    copied = page.evaluate("navigator.clipboard.readText()")
    assert shlex.split(copied) == shlex.split(COMMAND)
    assert f"$ {COMMAND}" in text(page, ".tree")
    page.locator("#tab-output").click()
    assert text(page, ".outputlist").splitlines()[2::3][:1] == [f"$ {COMMAND}"]
    page.locator("#tab-tasks").click()
    page.locator("#search").fill("command:sorted.bam")
    page.locator(".treehead", has_text="1 found").wait_for()


def test_of_many_programs_the_last_ones_are_shown(look: Look) -> None:
    notes = [(stream, f"{stream} {n}") for n in range(30) for stream in ("command", "exit")]
    page = whole(look(program(*notes), "task=1"))
    details = text(page, "#details")
    assert "The last 20 of 30 programs" in details
    assert [f"exit {n}" in details for n in (9, 10, 29)] == [False, True, True]


def test_a_run_shows_what_its_program_said(look: Look, tmp_path: Path) -> None:
    """From the task to the page."""
    work = tmp_path / "work"
    work.mkdir()
    command = ["sh", "-c", "echo to stdout; echo to stderr >&2; exit 7"]
    run(Exec(*command, cwd=work, check=False), backend="serial", journal=True, page=True,
        tempdir=tmp_path / "runs")  # fmt: skip
    (index,) = tmp_path.glob("runs/*/index.html")
    page = whole(look(index, "task=1"))
    details = text(page, "#details")
    for said in (shlex.join(command), str(work), "exit code 7", "to stdout\n", "to stderr\n"):
        assert said in details


@pytest.mark.usefixtures("loaded_long_ago")
def test_a_run_that_was_taken_up_shows_the_pictures_from_before(look: Look, tmp_path: Path) -> None:
    for place in ("first", "second"):
        run(
            dot(30), backend="serial", journal=True, page=True, tempdir=tmp_path / place,
            resume=True, cache=tmp_path / "cache",
        )  # fmt: skip
    (index,) = tmp_path.glob("second/*/index.html")
    page = whole(look(index, "task=1"))
    assert "cached" in text(page, "#details")
    assert shown(page, "#details img") == [[31, 2]]

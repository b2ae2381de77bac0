"""What a browser makes of the page of a run."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fancypipe_core.plugins import page as plugin
from tests.page.conftest import Look
from tests.page.journals import BEGAN, Journal, large, study

if TYPE_CHECKING:
    from playwright.sync_api import Page

VIEWS = ("tasks", "timeline", "graph", "kinds", "output", "run", "pictures")
READY = "html[data-ready]"


def whole(page: Page) -> Page:
    """Wait until the page has read all that is in it."""
    page.locator(READY).wait_for(state="attached")
    return page


def rows(page: Page) -> list[str]:
    """Return the names of the tasks that are seen, from above."""
    script = """() => [...document.querySelectorAll(".tree .row:not([hidden])")]
        .sort((a, b) => a.dataset.index - b.dataset.index)
        .map((row) => row.querySelector(".name").textContent)"""
    found: list[str] = page.evaluate(script)
    return found


def text(page: Page, where: str) -> str:
    return page.locator(where).inner_text()


def test_tasks_nest_and_what_failed_comes_first(look: Look) -> None:
    page = whole(look(study()))
    assert text(page, "#target") == "study"
    assert text(page, "#status") == "failed"
    assert text(page, "#notice") == "2 tasks failed, 4 were skipped"
    assert re.search(r"104 done.*2 failed.*4 skipped.*110 of 110", text(page, "#counts"), re.DOTALL)
    assert rows(page)[:4] == ["study", "subject", "fit", "load"]
    failure = page.locator(".failure")
    assert "2\u00d7" in failure.inner_text()
    assert "the design has rank 3 of 4" in failure.inner_text()
    failure.click()
    details = text(page, "#details")
    for part in ("study.py:38", "subject=4", "Traceback", "line 41, in fit", "singular matrix"):
        assert part in details
    assert re.search(r"fancypipe replay \w+ 'study/subject\[\d\]/fit' --pdb", details)
    page.locator("#details .link", has_text="smooth scan=2").click()
    assert "fancypipe replay" not in text(page, "#details")
    assert "scan=2" in text(page, "#details")


def test_a_death_is_told_with_its_certificate(look: Look) -> None:
    page = whole(look(study()))
    page.locator("#search").fill("state:done error:signal")
    page.locator(".treehead", has_text="1 found").wait_for()
    page.locator(".tree .row:visible").click()
    details = text(page, "#details")
    assert details.index("Attempt 2: done") < details.index("Attempt 1: lost")
    assert "it had 61 of 64 GiB in use" in details


def test_lines_about_many_tasks_are_read_for_each(look: Look) -> None:
    head = Journal(workers=1).head("sweep", journal=2)
    lines: list[dict[str, Any]] = [
        head,
        {"kind": "added", "name": "point", "at": BEGAN, "where": "sweep.py:9", "tasks": "1-4"},
        {"kind": "added", "name": "score", "task": 5, "at": BEGAN, "where": "sweep.py:11"},
        {"kind": "submitted", "attempt": 1, "at": BEGAN + 0.001, "tasks": "1-5"},
        # One after the other, but none before it was sent: the first ones are later than that.
        {"kind": "done", "attempt": 1, "at": BEGAN + 0.002, "worker": "node1 1",
         "tasks": [2, 1, 5], "took": [700, 200, 300]},
        {"kind": "done", "attempt": 1, "at": BEGAN + 0.003, "tasks": "3-4", "took": [100, 400]},
        {"kind": "over", "at": BEGAN + 0.004, "ok": True, "seconds": 0.004, "counts": {"done": 5}},
    ]  # fmt: skip
    journal = "".join(json.dumps(line) + "\n" for line in lines)
    page = whole(look(journal))
    assert re.search(r"5 done.*5 of 5", text(page, "#counts"), re.DOTALL)
    script = (Path(plugin.__file__).parent / "model.js").read_text("utf-8")
    told = page.evaluate(
        f"""(text) => {{ {script}
            const model = new Model();
            model.add(text);
            return model.order.map(({{ number, name, began, ended, attempts }}) =>
                [number, name, began, ended, attempts[0].seconds, attempts[0].worker ?? ""]);
        }}""",
        journal,
    )
    assert [one[:2] for one in told] == [[1, "point"], [2, "point"], [3, "point"], [4, "point"],
                                        [5, "score"]]  # fmt: skip
    for (_, _, began, ended, seconds, worker), (first, last, who) in zip(
        told,
        [(1.5, 1.7, "node1 1"), (1.0, 1.7, "node1 1"), (2.5, 2.6, ""), (2.6, 3.0, ""),
         (1.7, 2.0, "node1 1")],
        strict=True,
    ):  # fmt: skip
        assert (began - BEGAN) * 1e3 == pytest.approx(first, abs=1e-3)
        assert (ended - BEGAN) * 1e3 == pytest.approx(last, abs=1e-3)
        assert ended - began == pytest.approx(seconds, abs=1e-6)
        assert worker == who


def test_what_the_run_took_its_time_for_is_said(look: Look) -> None:
    page = whole(look(study(), "view=run"))
    about = text(page, ".panel-run")
    assert "What it took its time for" in about
    assert re.search(r"longest chain: .* load .* > smooth .* > fit ", about)
    assert re.search(r"lost to failures: .* in \d+ attempts", about)


def test_keys_are_enough(look: Look) -> None:
    page = whole(look(study()))
    press = page.keyboard.press
    press("f")
    assert "subject=4" in text(page, "#details")
    press("f")
    assert "subject=9" in text(page, "#details")
    press("Escape")
    assert page.locator("#details").is_hidden()
    press("/")
    page.keyboard.type("name:load path='sub-03")
    page.locator(".treehead", has_text="1 found").wait_for()
    press("Enter")
    assert "sub-03.nii" in text(page, "#details")
    press("Escape")
    assert page.locator("#search").input_value() == ""
    press("Escape")
    press("Home")
    assert page.locator(".row.selected .name").inner_text() == "study"
    press("ArrowLeft")
    assert rows(page) == ["study"]
    press("ArrowRight")
    press("ArrowDown")
    assert page.locator(".row.selected .name").inner_text() == "subject"
    for number, view in enumerate(VIEWS, start=1):
        press(str(number))
        assert page.locator(f".panel-{view}").is_visible()
    press("?")
    assert page.locator("dialog.keys").is_visible()


def test_the_views_say_what_the_journal_says(look: Look) -> None:
    page = whole(look(study(), "view=graph"))
    boxes = page.locator(".graphbox .kind .title").all_text_contents()
    assert sorted(boxes) == ["fit", "load", "mean", "smooth", "study", "subject"]
    feeds = page.locator(".graphbox .edge title").all_text_contents()
    assert {"load feeds smooth: 72", "smooth feeds fit: 72", "fit feeds subject: 12"} <= set(feeds)
    page.locator("#tab-kinds").click()
    smooth = page.locator(".kinds tbody tr", has_text="smooth")
    assert smooth.locator("td").all_inner_texts()[:5] == ["72", "72", "", "", "2"]
    page.locator("#tab-output").click()
    assert "read sub-00.nii: 33 slices" in text(page, ".outputlist")
    page.locator("#tab-run").click()
    assert "jobmanager" in text(page, ".about")
    page.locator("#tab-timeline").click()
    assert {"smooth", "fit", "load"} <= set(page.locator(".legend .key").all_inner_texts())
    lanes = page.locator("canvas.lanes")
    lanes.click(position={"x": 620, "y": 18 * 4 + 9})  # the last worker was busy all the time
    assert "node3 4713" in text(page, "#details")
    inked = """() => { const canvas = document.querySelector("canvas.lanes");
        const { width, height } = canvas;
        const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
        return data.filter((part, at) => at % 4 === 3 && part).length / (width * height); }"""
    assert page.evaluate(inked) > 0.2


def places(page: Page) -> dict[str, float]:
    """Return how far to the right each box of the graph is."""
    script = """() => {
        const boxes = [...document.querySelectorAll(".graphbox .kind")];
        return Object.fromEntries(boxes.map((box) =>
            [box.querySelector(".title").textContent, box.querySelector("rect").x.baseVal.value]));
    }"""
    found: dict[str, float] = page.evaluate(script)
    return found


def test_the_graph_leads_from_left_to_right(look: Look) -> None:
    at = places(whole(look(study(), "view=graph")))
    assert at["load"] < at["smooth"] < at["fit"] < at["subject"]
    assert at["mean"] < at["study"]


def test_a_graph_may_lead_back(look: Look) -> None:
    """As that of a recursion, and of two kinds that feed each other."""
    journal = Journal()
    names = ["fib", "fib", "add", "fib", "add", "out"]
    tasks = [journal.add(name) for name in names]
    for before, task in pairwise(tasks):
        journal.run(task, 1.0, (before,))
    page = whole(look("".join(journal.lines(journal.over())), "view=graph"))
    feeds = page.locator(".graphbox .edge title").all_text_contents()
    assert sorted(feeds) == [
        "add feeds fib: 1",
        "add feeds out: 1",
        "fib feeds add: 2",
        "fib feeds fib: 1",
    ]
    at = places(page)
    assert at["fib"] < at["add"] < at["out"]


EVIL = [
    "<script>document.documentElement.dataset.evil = 1</script>",
    '"><img src=x onerror="document.documentElement.dataset.evil = 1">',
    "</script><script>document.documentElement.dataset.evil = 1</script>",
    "<!--<script>",
    "@data@ @script@ @style@ ]]> \u2028 \\u003c",
]


def test_what_a_run_says_is_never_html(look: Look) -> None:
    journal = Journal()
    for evil in EVIL:
        task = journal.add(evil, where=evil)
        keys = ("inputs", "value", "error", "message", "traceback", "certificate", "worker")
        said: dict[str, Any] = dict.fromkeys(keys, evil)
        journal.run(task, 1.0, end="failed", **said)
        journal.note(task, evil)
        for stream in ("command", "folder", "exit", "program-stdout", "program-stderr"):
            journal.note(task, evil, stream)
        journal.note(task, f"{evil}\nno picture: {evil}", "picture")
        journal.note(task, f"{evil}\ndata:image/png;base64,{evil}", "picture")
    evil = " ".join(EVIL)
    lines = journal.lines(journal.over(False, evil), target=evil, argv=[evil], folder=evil)
    page = whole(look("".join(lines)))
    for view in VIEWS:
        page.locator(f"#tab-{view}").click()
        shown = page.locator(f".panel-{view}").text_content() or ""
        for evil in EVIL:
            assert view == "timeline" or evil.split()[0] in shown
    details = ""
    for _ in EVIL:
        page.keyboard.press("f")
        details += page.locator("#details").text_content() or ""
    assert all(details.count(evil) >= 14 for evil in EVIL)
    assert page.evaluate("document.documentElement.dataset.evil ?? null") is None
    assert page.locator("main img, main script").count() == 0
    assert page.title().split()[1:-2] == " ".join(EVIL).split()


def test_twenty_thousand_tasks_are_a_list_of_few_elements(look: Look) -> None:
    page = look(large(20_000))
    page.locator(".tree .row", has_text="point").first.wait_for()
    first = page.evaluate("performance.now()")
    whole(page)
    last = page.evaluate("performance.now()")
    # Half a second where nothing else runs: this is for machines that are busy.
    assert first < 10_000, f"useful after {first:.0f} ms, whole after {last:.0f} ms"
    assert page.locator(".tree .row").count() < 60
    page.keyboard.press("End")
    assert page.locator(".row.selected").get_attribute("data-index") == "20000"
    page.locator("#search").fill("i=7777")
    page.locator(".treehead", has_text="1 found").wait_for()
    assert rows(page) == ["point"]


def test_a_journal_without_an_end(look: Look) -> None:
    """That of a client that was killed: the last line is cut short."""
    page = whole(look(study(over=False) + '{"kind":"done","at":17'))
    assert text(page, "#status") == "no end"
    assert "does not say how the run ended" in text(page, "#notice")
    assert "1 running" in text(page, "#counts")
    page.locator("#search").fill("name:mean")
    page.locator(".treehead", has_text="1 found").wait_for()
    page.locator(".tree .row:visible").click()
    assert "3 of 10" in text(page, "#details")


def test_lines_that_cannot_be_read_are_passed_over(look: Look) -> None:
    first, *more = study().splitlines(keepends=True)
    strange = ["{broken\n", '{"kind":"later","task":1,"at":1}\n', "17\n", '{"kind":"done"}\n']
    page = whole(look("".join([first, *strange, *more]), "view=run"))
    assert re.search(r"unreadable lines\s+1\b", text(page, ".about"))
    assert "104 done" in text(page, "#counts")


def test_a_task_is_known_by_what_comes_before_its_name(look: Look) -> None:
    """Lines are in the order in which the client learned of things, not in that of the graph."""
    events = [
        {"kind": "run", "journal": 1, "at": BEGAN, "target": "late"},
        {"kind": "submitted", "at": BEGAN + 1, "task": 2, "attempt": 1, "needs": [3]},
        {"kind": "done", "at": BEGAN + 2, "task": 2, "attempt": 1, "seconds": 0.5},
        {"kind": "added", "at": BEGAN + 3, "task": 2, "name": "inner", "parent": 1},
        {"kind": "added", "at": BEGAN + 3, "task": 1, "name": "outer"},
        {"kind": "added", "at": BEGAN + 3, "task": 3, "name": "need", "parent": 1},
    ]
    page = whole(look("".join(json.dumps(event) + "\n" for event in events), "task=2"))
    assert rows(page) == ["outer", "inner", "need"]
    assert page.locator("#details h2").inner_text() == "✓inner"


def told(*events: dict[str, Any], **head: Any) -> str:
    """Return a journal of one task and what happens to it, a second each."""
    first = {"kind": "run", "journal": 1, "at": BEGAN, "target": "told", **head}
    lines = [first, {"kind": "added", "at": BEGAN, "task": 1, "name": "one"}]
    lines += [{"at": BEGAN + at, "task": 1, **event} for at, event in enumerate(events, start=1)]
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_a_loss_and_the_retry_after_it_are_of_one_attempt(look: Look) -> None:
    death = {"attempt": 1, "error": "WorkerDied", "message": "WorkerDied: SIGKILL"}
    events: list[dict[str, Any]] = [
        {"kind": "submitted", "attempt": 1},
        {"kind": "lost", **death, "certificate": "signal: SIGKILL"},
        {"kind": "retried", **death},
        {"kind": "submitted", "attempt": 2},
        {"kind": "done", "attempt": 2, "seconds": 0.5},
    ]
    page = whole(look(told(*events), "task=1"))
    assert page.locator("#details .attempt > h3").all_inner_texts() == [
        "Attempt 2: done",
        "Attempt 1: lost",
    ]
    assert text(page, "#details .what") == "WorkerDied: SIGKILL"
    assert "signal: SIGKILL" in text(page, "#details")


@pytest.mark.parametrize(("unit", "lanes"), [("worker", 1), ("slot", 3)])
def test_what_is_told_late_did_not_run_at_the_same_time(look: Look, unit: str, lanes: int) -> None:
    """A worker tells several ends at once; where it runs one task at a time, none overlap."""
    done = {"kind": "done", "attempt": 1, "seconds": 0.3, "worker": "node1 7", "at": BEGAN + 1}
    events = ({**done, "task": task, "name": "one"} for task in (1, 2, 3))
    page = whole(look(told(*events, unit=unit), "view=timeline"))
    box = page.locator("canvas.lanes").bounding_box()
    assert box is not None
    assert box["height"] == lanes * 18 + 22


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(look: Look, scheme: str) -> None:
    page = whole(look(study(), color_scheme=scheme))
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == scheme
    page.locator("#theme").click()
    assert page.evaluate(theme) != scheme
    page.reload()
    assert page.evaluate(theme) != scheme


def test_a_chosen_theme_outlives_a_change_of_the_systems(look: Look) -> None:
    """Only a click writes: a page that loads may not have been told the system's theme yet."""
    page = whole(look(study(), color_scheme="dark"))
    theme = "document.documentElement.dataset.theme"
    page.locator("#theme").click()
    page.emulate_media(color_scheme="light")
    page.reload()
    page.emulate_media(color_scheme="dark")
    page.reload()
    assert page.evaluate(theme) == "light"


def test_nothing_is_wider_than_a_narrow_screen(look: Look) -> None:
    narrow = {"width": 380, "height": 700}
    page = whole(look(study(), "task=46", viewport=narrow))
    assert page.locator("#details").bounding_box() == {"x": 0, "y": 0, **narrow}
    page.keyboard.press("Escape")
    for view in VIEWS[:-1]:  # of which the last is for runs that have pictures
        page.locator(f"#tab-{view}").click()
        assert page.locator(f".panel-{view}").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_what_is_looked_at_stands_in_the_address(look: Look) -> None:
    page = whole(look(study(), "view=tasks&find=state%3Afailed&task=46"))
    assert rows(page) == ["fit", "fit"]
    assert "subject=4" in text(page, "#details")
    page.locator("#tab-kinds").click()
    page.reload()
    whole(page)
    assert page.locator(".panel-kinds").is_visible()
    assert page.locator("#search").input_value() == "state:failed"

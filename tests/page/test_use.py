"""How the page does while it is used: keys, news, odd addresses and clocks, narrow screens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core.plugins import page as plugin
from fancypipe_core.plugins.page import LivePage
from tests.page.conftest import Look
from tests.page.journals import BEGAN, TRACEBACK, Journal, study
from tests.page.test_live import Writer
from tests.page.test_page import VIEWS, rows, text, told, whole

LONG = "x" * 140


def stress(failures: int = 120) -> str:
    """Return the journal of a run in which all is long, and much failed."""
    journal = Journal(workers=12)
    outer = journal.add("a_module_that_has_quite_a_long_name_" * 3)
    for number in range(failures):
        task = journal.add(
            [LONG, "über_日本語_🚀", "fit"][number % 3], outer, f"/{LONG}/study.py:1"
        )
        letters = "".join(chr(97 + int(digit)) for digit in str(number))
        error: dict[str, Any] = {"error": f"some.package.{LONG}", "message": f"{letters} {LONG}"}
        journal.run(task, 0.5, end="failed", traceback=TRACEBACK, inputs=f"p='{LONG}'", **error)
        journal.note(task, f"{LONG}{LONG}\n" * 3, "stderr")
        journal.note(task, LONG, "command")
    return "".join(journal.lines(journal.over(False, f"{failures} failed: {LONG}"), target=LONG))


@pytest.mark.parametrize("wide", [320, 400, 1400])
def test_nothing_is_wider_than_the_screen(look: Look, wide: int) -> None:
    page = whole(look(stress(), viewport={"width": wide, "height": 700}))
    too_wide = """() => document.documentElement.scrollWidth > innerWidth &&
        [...document.querySelectorAll("body *")]
            .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
            .map((one) => one.className || one.tagName).slice(0, 5)"""
    for view in VIEWS[:-1]:
        page.locator(f"#tab-{view}").click()
        assert not page.evaluate(too_wide), view
    page.keyboard.press("f")
    page.locator("#details").wait_for()
    assert not page.evaluate(too_wide), "details"


def test_all_kinds_of_failures_can_be_reached(look: Look) -> None:
    page = whole(look(stress()))
    assert "What failed: 120 kinds" in text(page, ".failures")
    assert page.locator(".failure").count() == 50
    left = page.locator(".failure .sign").evaluate_all("(all) => all.map((one) => one.offsetLeft)")
    assert len(set(left)) == 1, "they stand below each other"
    page.locator(".failures .link", has_text="and 70 kinds more").click()
    page.locator(".treehead", has_text="120 found").wait_for()


def test_a_name_is_no_wider_than_its_box(look: Look) -> None:
    page = whole(look(stress(9), "view=graph"))
    inside = """(all) => all.map((one) => one.querySelector(".title").getBBox().width
        <= one.querySelector("rect").getBBox().width - 16)"""
    assert page.locator(".graphbox .kind").evaluate_all(inside) == [True] * 4


def test_arrows_that_lead_to_one_box_have_numbers_apart(look: Look) -> None:
    journal = Journal()
    tasks = [journal.add(name) for name in ("a", "b", "c")]
    for task in tasks:
        journal.run(task, 1.0)
    journal.run(journal.add("sum"), 1.0, tuple(tasks))
    page = whole(look("".join(journal.lines(journal.over())), "view=graph"))
    at = page.locator(".edge text").evaluate_all("(all) => all.map((one) => one.getBBox().y)")
    assert len(at) == 3
    assert min(abs(one - other) for i, one in enumerate(at) for other in at[:i]) >= 11


# ---- keys ---------------------------------------------------------------------------


def test_tabs_are_one_stop_and_arrows_lead_on(look: Look) -> None:
    page = whole(look(study()))
    page.locator("#tab-tasks").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-timeline"
    assert page.locator(".panel-timeline").is_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.id") == "tab-run"
    stops = page.locator("#tabs button").evaluate_all(
        "(all) => all.filter((o) => !o.tabIndex).length"
    )
    assert stops == 1


def test_the_task_that_is_chosen_is_told_to_who_listens(look: Look) -> None:
    page = whole(look(study()))
    for _ in range(3):
        page.keyboard.press("ArrowDown")
        active = page.locator(".tree").get_attribute("aria-activedescendant")
        assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"


def test_a_dialog_has_the_keys_for_itself(look: Look) -> None:
    page = whole(look(study(), "task=3&find=name%3Afit"))
    page.keyboard.press("?")
    page.keyboard.press("3")
    page.keyboard.press("Escape")
    assert page.locator("dialog").is_hidden()
    assert page.locator(".panel-tasks").is_visible()
    assert page.locator("#details").is_visible()
    assert page.locator("#search").input_value() == "name:fit"


def test_a_box_of_the_graph_can_be_pressed(look: Look) -> None:
    for key in ("Enter", " "):
        page = whole(look(study(), "view=graph"))
        page.locator(".kind", has_text="smooth").focus()
        page.keyboard.press(key)
        page.locator(".treehead", has_text="72 found").wait_for()


def test_the_timeline_has_keys(look: Look) -> None:
    page = whole(look(study(), "view=timeline"))
    page.locator("canvas.lanes").focus()
    drawn = "document.querySelector('canvas.lanes').toDataURL()"
    all_of_it = page.evaluate(drawn)
    page.keyboard.press("+")
    closer = page.evaluate(drawn)
    assert closer != all_of_it
    page.keyboard.press("ArrowRight")
    assert page.evaluate(drawn) != closer
    page.keyboard.press("0")
    assert page.evaluate(drawn) == all_of_it


def test_every_stop_of_the_tab_key_is_seen(look: Look) -> None:
    page = whole(look(study(), "task=46"))
    seen = []
    for _ in range(25):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(
            """() => { const one = document.activeElement;
                const { outlineStyle, outlineWidth } = getComputedStyle(one);
                const all = [one.id, one.className, one.tagName].filter(Boolean);
                const name = one === document.body ? "BODY" : all[0];
                return [name, outlineStyle, outlineWidth]; }"""
        ))  # fmt: skip
    odd = [one for one in seen if one[0] != "BODY" and one[1:] != ["solid", "2px"]]
    assert not odd
    names = [name for name, _, _ in seen]
    assert names.index("search") < names.index("tab-tasks") < names.index("close")


# ---- what is typed, and what stands in the address -------------------------------------


@pytest.mark.parametrize(
    "word", ["__proto__:x", "constructor:x", "toString:x", ":", 'name:"', "a:b:c"]
)
def test_any_word_may_be_searched_for(look: Look, word: str) -> None:
    page = whole(look(study()))
    page.locator("#search").fill(word)
    page.locator(".treehead", has_text=re.compile(r"\d found")).wait_for()


@pytest.mark.parametrize(
    "address", ["view=constructor", "view=__proto__&task=x", "task=99999", "%"]
)
def test_an_odd_address_shows_the_tasks(look: Look, address: str) -> None:
    page = whole(look(study(), address))
    assert rows(page)[0] == "study"
    assert page.locator("#details").is_hidden()


def test_output_is_searched_by_the_same_words(look: Look) -> None:
    page = whole(look(study(), "view=output"))
    page.locator("#search").fill("name:load sub-03")
    page.locator(".outline .text", has_text="sub-00").wait_for(state="hidden")
    seen = page.locator(".outline:not([hidden]) .text").all_inner_texts()
    assert seen == ["read sub-03.nii: 33 slices"]


# ---- while the run goes on -------------------------------------------------------------


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path, study())


def test_what_is_selected_stays_selected(look: Look, tmp_path: Path, writer: Writer) -> None:
    live = LivePage(tmp_path)
    live.begin()
    writer.write(140)
    live.step()
    page = look(live.page, "view=run&task=2")
    page.locator("#details .fields").first.wait_for()
    page.evaluate(
        """() => { getSelection().selectAllChildren(document.querySelector(".about dd"));
            document.querySelector("#details .link").focus(); }"""
    )
    ended = page.locator("#counts").inner_text()
    writer.write(-1)
    live.step()
    page.locator("#counts", has_text="2 failed").wait_for()
    assert page.locator("#counts").inner_text() != ended
    assert page.evaluate("getSelection().toString()") == "study"
    assert page.evaluate("document.activeElement.className") == "link"


def test_a_page_that_was_open_before_anything_happened_follows(look: Look, tmp_path: Path) -> None:
    writer = Writer(tmp_path, study())
    live = LivePage(tmp_path)
    live.begin()
    page = look(live.page)
    page.locator("#target", has_text="reading the journal").wait_for()
    writer.write(1)
    live.step()
    page.locator("#target", has_text="study").wait_for()
    assert text(page, "#status") == "runs"
    for view in VIEWS[:-1]:
        page.locator(f"#tab-{view}").click()
    writer.write(len(writer.lines))
    live.step()
    page.locator("html[data-ready]").wait_for(state="attached")


def test_files_that_were_away_for_a_while_are_read_again(
    look: Look, tmp_path: Path, writer: Writer
) -> None:
    live = LivePage(tmp_path)
    live.begin()
    writer.write(50)
    live.step()
    page = look(live.page)
    page.locator("#status", has_text="runs").wait_for()
    (folder,) = tmp_path.glob("page-*")
    folder.rename(tmp_path / "away")
    page.locator("#notice", has_text="cannot be read any more").wait_for()
    (tmp_path / "away").rename(folder)
    page.locator("#notice").wait_for(state="hidden")
    writer.write(len(writer.lines))
    live.step()
    page.locator("html[data-ready]").wait_for(state="attached")
    assert all("ERR_FILE_NOT_FOUND" in said for said in look.wrong)
    look.wrong.clear()


def test_a_silence_that_is_over_is_said_no_more(look: Look, tmp_path: Path) -> None:
    writer = Writer(tmp_path, told({"kind": "done", "attempt": 1, "seconds": 0.5},
                                   {"kind": "over", "ok": True, "seconds": 2.0}))  # fmt: skip
    live = LivePage(tmp_path)
    live.begin()
    writer.write(2)
    live.step()
    page = look(live.page)
    page.locator("#status", has_text="runs").wait_for()
    page.clock.install()
    page.clock.fast_forward(60_000)
    page.clock.run_for(2_000)
    page.locator("#notice", has_text="No sign of life").wait_for()
    writer.write(2)
    live.step()
    page.clock.run_for(4_000)
    page.locator("#status", has_text="done").wait_for()
    page.locator("#notice").wait_for(state="hidden")


# ---- clocks ----------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_is_set_meanwhile_moves_nothing(look: Look, jump: float) -> None:
    def at(seconds: float) -> dict[str, float]:
        later = jump if seconds > 2.5 else 0.0
        return {"at": BEGAN + seconds + later, "monotonic": 100.0 + seconds}

    lines: list[dict[str, Any]] = [
        {"kind": "run", "journal": 2, "at": BEGAN, "target": "set"},
        {"kind": "added", "task": 1, "name": "one", **at(1.0)},
        {"kind": "submitted", "task": 1, "attempt": 1, **at(1.0)},
        {"kind": "started", "task": 1, "attempt": 1, "worker": "w", **at(2.0)},
        {"kind": "note", "task": 1, "stream": "stdout", "text": "x", "at": at(4.0)["at"]},
        {"kind": "done", "task": 1, "attempt": 1, "worker": "w", "seconds": 2.0, **at(4.0)},
        {"kind": "over", "ok": True, "seconds": 4.5, "counts": {"done": 1}, "at": at(4.5)["at"]},
    ]
    page = whole(look("".join(json.dumps(line) + "\n" for line in lines), "task=1"))
    script = (Path(plugin.__file__).parent / "model.js").read_text("utf-8")
    found = page.evaluate(
        f"""(text) => {{ const PICTURE = /x/; {script}
            const model = new Model();
            model.add(text);
            const [task] = model.order;
            const since = (at) => Math.round((at - model.first) * 10) / 10;
            return [task.began, task.ended, model.over.at].map(since); }}""",
        "".join(json.dumps(line) + "\n" for line in lines),
    )
    assert found == [2.0, 4.0, 4.5]
    assert "2.00 s into the run" in text(page, "#details")


# ---- colors ----------------------------------------------------------------------------


def test_names_are_told_from_their_bars(look: Look) -> None:
    """As the guidelines of the web ask of texts, for the colors of all kinds in both themes."""
    page = whole(look(study()))
    script = (Path(plugin.__file__).parent / "dom.js").read_text("utf-8")
    least = page.evaluate(
        f"""() => {{ {script}
            const board = document.createElement("canvas");
            const canvas = board.getContext("2d", {{ willReadFrequently: true }});
            const light = (color) => {{
                canvas.fillStyle = color;
                canvas.fillRect(0, 0, 1, 1);
                const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data]
                    .map((part) => part / 255)
                    .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
                return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
            }};
            let least = 21;
            for (let place = 0; place < 80; place += 1) for (const dark of [false, true]) {{
                const [one, other] = [light(colorOf(place, dark)), light(inkOn(place, dark))];
                const [low, high] = [Math.min(one, other), Math.max(one, other)];
                least = Math.min(least, (high + 0.05) / (low + 0.05));
            }}
            return least; }}"""
    )
    assert least >= 4.5


def test_the_legend_has_the_colors_of_the_theme(look: Look) -> None:
    page = whole(look(study(), "view=timeline", color_scheme="light"))
    color = "getComputedStyle(document.querySelector('.legend .swatch')).backgroundColor"
    light = page.evaluate(color)
    page.locator("#tab-tasks").click()
    page.locator("#theme").click()
    page.locator("#tab-timeline").click()
    assert page.evaluate(color) != light


def test_tasks_that_were_named_late_take_no_colors(look: Look) -> None:
    """Else kinds have the shades of those far behind, which are told apart worse."""
    page = whole(look(study()))
    script = (Path(plugin.__file__).parent / "model.js").read_text("utf-8")
    lines = [
        {"kind": "submitted", "at": BEGAN, "task": number, "attempt": 1} for number in range(9)
    ]
    lines += [{"kind": "added", "at": BEGAN, "task": number, "name": "late"} for number in range(9)]
    places = page.evaluate(
        f"""(text) => {{ {script}
            const model = new Model();
            model.add(text);
            return [...model.kinds.values()].map((kind) => [kind.name, kind.place]); }}""",
        "".join(json.dumps(line) + "\n" for line in lines),
    )
    assert places == [["late", 0]]

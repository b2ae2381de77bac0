"""Runs that keep their page themselves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.page.conftest import Look
from tests.page.test_live import SECONDS, tail_of
from tests.page.test_report import journal_in
from tests.system.place import FANCYPIPE, Place
from tests.waiting import wait_until

WAITING = """\
import os
from fancypipe_core import module, task

@task
def wait(x: int):
    print("waits")
    with open("gate") as gate:  # a pipe: it opens when the test opens it too
        return x, gate.read()

@module
def waiting(x: int = 3):
    return wait(x)
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def files_of(place: Place) -> list[str]:
    """Return the names of what the only run has left."""
    return sorted(path.name for path in place.folder.glob(".fancypipe/runs/*/*"))


@pytest.mark.parametrize("backend", ["serial", "procs"])
def test_a_run_of_the_command_line_keeps_its_page(place: Place, backend: str) -> None:
    over = place.fancypipe(f"-workertype={backend} -q pipeline.py")
    assert (over.returncode, over.stdout, over.stderr) == (0, "25\n", "")
    assert files_of(place) == ["index.html", "journal.jsonl"]
    (page,) = place.folder.glob(".fancypipe/runs/*/index.html")
    journal = page.with_name("journal.jsonl").read_text("utf-8")
    assert journal_in(page.read_text("utf-8")) == journal
    assert '{"kind":"over"' in journal


@pytest.mark.parametrize(
    ("options", "left"), [("-no-page", ["journal.jsonl"]), ("-no-journal", [])]
)
def test_who_wants_no_page_gets_none(place: Place, options: str, left: list[str]) -> None:
    over = place.fancypipe(f"-workertype=serial -q {options} pipeline.py")
    assert (over.returncode, over.stdout) == (0, "25\n")
    assert files_of(place) == left


def test_a_run_from_python_keeps_one_if_it_is_asked_to(place: Place) -> None:
    place.write(
        "asked.py",
        "from pipeline import sum_of_squares as s\nfrom fancypipe_core import run\n"
        "run(s(), backend='serial')\nrun(s(), backend='serial', page=True)\n"
        "run(s(), backend='serial', journal=True, page=True)\n",
    )
    over = place.call(FANCYPIPE[0], "asked.py")
    assert (over.returncode, over.stderr) == (0, "")
    assert files_of(place) == ["index.html", "journal.jsonl"]


def test_a_run_that_goes_on_is_followed(place: Place, look: Look) -> None:
    """And when it is killed, its journal still makes the page."""

    place.write("waiting.py", WAITING)
    os.mkfifo(place.folder / "gate")
    command = [*FANCYPIPE, "-workertype=procs", "-numworkers=1", "-q", "waiting.py"]
    with subprocess.Popen(command, cwd=place.folder, env=place.env) as process:
        try:
            pattern = ".fancypipe/runs/*/index.html"
            wait_until(lambda: list(place.folder.glob(pattern)), "the page")
            (index,) = place.folder.glob(pattern)
            page = look(index, "find=name%3Await")
            page.locator(".tree .row:visible", has_text="wait").first.wait_for()
            assert page.locator("#status").inner_text() == "runs"
            assert '"name":"wait"' in tail_of(index.parent)[2]
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(SECONDS)
    again = place.fancypipe(f"report {index.parent}")
    assert again.returncode == 0
    after = look(index)
    after.locator("#status", has_text="no end").wait_for()
    assert re.search("its process was killed", after.locator("#notice").inner_text())

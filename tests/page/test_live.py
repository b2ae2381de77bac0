"""The page of a run that goes on, and what becomes of it when the run is over."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fancypipe_core._base import processes
from fancypipe_core.hooks import Outcome, RunInfo
from fancypipe_core.plugins.page import LivePage, Page, observer
from fancypipe_core.plugins.page.orphans import sweep
from tests.page.conftest import Look
from tests.page.journals import large, study
from tests.page.test_report import journal_in
from tests.system.place import FANCYPIPE
from tests.waiting import wait_until

SECONDS = 20


class Writer:
    """Appends to a journal what a run would."""

    def __init__(self, folder: Path, journal: str) -> None:
        self.lines = journal.splitlines(keepends=True)
        self.path = folder / "journal.jsonl"
        self.path.touch()
        self._written = 0

    def write(self, count: int) -> None:
        """Write so many lines more; a negative number is that of lines to be left."""
        end = self._written + count if count >= 0 else len(self.lines) + count
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(self.lines[self._written : end])
        self._written = end

    def cut(self) -> None:
        """Write half of the next line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self.lines[self._written][:30])
        self.lines[self._written] = self.lines[self._written][30:]


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path, study())


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """Return a folder with the name of a run's."""
    folder = tmp_path / "20260101-000000-0a1b2c3d4e5f"
    folder.mkdir()
    return folder


def tail_of(folder: Path) -> tuple[int, float, str]:
    """Return what the page would read: whole pieces, the time, and the lines since."""
    (tail,) = folder.glob("page-*/tail.js")
    said = re.fullmatch(r"fancypipeTail\((\d+), ([\d.]+), (\".*\")\)\n", tail.read_text("utf-8"))
    assert said is not None
    return int(said[1]), float(said[2]), json.loads(said[3])


def test_news_are_whole_lines(tmp_path: Path, writer: Writer) -> None:
    now = 100.0
    live = LivePage(tmp_path, lambda: now)
    live.begin()
    writer.write(3)
    writer.cut()
    live.step()
    assert tail_of(tmp_path) == (0, 100.0, "".join(writer.lines[:3]))
    now = 101.0
    live.step()
    assert tail_of(tmp_path)[1] == 100.0, "nothing is written for nothing"
    now = 106.0
    live.step()
    assert tail_of(tmp_path)[1] == 106.0, "but a sign of life"
    writer.write(1)
    live.step()
    assert tail_of(tmp_path)[2] == study()[: len(tail_of(tmp_path)[2])]
    assert tail_of(tmp_path)[2].count("\n") == 4
    assert not live.over


def test_at_the_end_one_file_is_left(tmp_path: Path) -> None:
    journal = large(6000)
    writer = Writer(tmp_path, journal)
    live = LivePage(tmp_path)
    live.begin()
    while not live.over:
        writer.write(min(1500, len(writer.lines)))
        live.step()
    whole, _, text = tail_of(tmp_path)
    assert whole > 3
    assert 0 < len(text) < 1 << 19
    live.end()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "journal.jsonl"]
    assert journal_in(live.page.read_text("utf-8")) == journal


def test_two_may_keep_the_page(tmp_path: Path, writer: Writer) -> None:
    """As a process that shows a run which keeps its own."""
    writer.write(-1)
    other = [*FANCYPIPE, "report", str(tmp_path), "--follow"]
    with subprocess.Popen(other, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{tmp_path}/index.html\n"
        live = LivePage(tmp_path)
        live.begin()
        writer.write(1)
        assert process.wait(SECONDS) == 0
    live.end()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "journal.jsonl"]
    assert journal_in(live.page.read_text("utf-8")) == study()


def test_who_follows_may_leave(tmp_path: Path, writer: Writer) -> None:
    writer.write(20)
    command = [sys.executable, "-m", "fancypipe_core.cli", "report", str(tmp_path), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "journal.jsonl"]
    assert journal_in((tmp_path / "index.html").read_text("utf-8")).count("\n") == 20


def test_a_run_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    """Its journal has no end; the process that wrote it is this test's, and dead."""
    write = """import json, os
from fancypipe_core._base.processes import began
print(json.dumps({"kind": "run", "journal": 1, "pid": os.getpid(), "pid_began": began()}))"""
    head = subprocess.run([sys.executable, "-c", write], capture_output=True, check=True).stdout
    (tmp_path / "journal.jsonl").write_bytes(head)
    over = subprocess.run(
        [*FANCYPIPE, "report", str(tmp_path), "--follow"],
        timeout=SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert over.returncode == 0
    assert over.stderr == "fancypipe: the run's process is gone, and its journal has no end\n"
    assert journal_in((tmp_path / "index.html").read_text("utf-8")).encode() == head


# ---- the observer -------------------------------------------------------------------

RUN = RunInfo("0a1b2c3d4e5f", "serial", 1)


def run_in(folder: Path) -> RunInfo:
    """Return a run that has this folder."""
    return RunInfo(folder.name.rpartition("-")[2], "serial", 1)


OUTCOME = Outcome(True, 1.0, {"done": 1, "failed": 0, "skipped": 0, "cancelled": 0})


def test_a_run_keeps_its_page(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "_DELAY", 0.0)
    monkeypatch.setattr(observer, "_PAUSE", 0.01)
    page = Page(lambda: tmp_path)
    page.fancypipe_run_started(run_in(tmp_path))
    wait_until((tmp_path / "index.html").exists, "the page")
    writer.write(10)
    wait_until(lambda: tail_of(tmp_path)[2].count("\n") == 10, "news")
    writer.write(len(writer.lines))
    page.fancypipe_run_over(RUN, OUTCOME)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "journal.jsonl"]
    assert journal_in((tmp_path / "index.html").read_text("utf-8")) == study()


def test_a_short_run_has_a_page_only_at_its_end(tmp_path: Path, writer: Writer) -> None:
    page = Page(lambda: tmp_path)
    page.fancypipe_run_started(run_in(tmp_path))
    writer.write(len(writer.lines))
    assert not (tmp_path / "index.html").exists()
    page.fancypipe_run_over(RUN, OUTCOME)
    assert journal_in((tmp_path / "index.html").read_text("utf-8")) == study()


def test_a_run_without_a_journal_has_no_page(tmp_path: Path) -> None:
    page = Page(lambda: None)
    page.fancypipe_run_started(RUN)
    page.fancypipe_run_over(RUN, OUTCOME)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("delay", [0.0, 60.0])
def test_a_page_that_cannot_be_written_is_said(
    delay: float,
    tmp_path: Path,
    writer: Writer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(observer, "_DELAY", delay)
    (tmp_path / "index.html").mkdir()
    page = Page(lambda: tmp_path)
    page.fancypipe_run_started(run_in(tmp_path))
    writer.write(len(writer.lines))
    page.fancypipe_run_over(RUN, OUTCOME)
    said = capsys.readouterr().err
    assert "fancypipe: the page of this run cannot be written (Is a directory)" in said
    assert f"'fancypipe report {tmp_path}' makes it" in said


def test_a_journal_for_which_there_was_no_room_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journal.jsonl").touch()
    page = Page(lambda: tmp_path)
    page.fancypipe_run_started(run_in(tmp_path))
    page.fancypipe_run_over(RUN, OUTCOME)
    assert capsys.readouterr().err == (
        f"fancypipe: this run has no page: {tmp_path / 'journal.jsonl'} is no journal of a run: "
        "its first line is no event\n"
    )


# ---- in a browser -------------------------------------------------------------------


def test_the_page_follows(look: Look, tmp_path: Path, writer: Writer) -> None:
    live = LivePage(tmp_path)
    live.begin()
    page = look(live.page)
    writer.write(100)
    live.step()
    page.locator("#status", has_text="runs").wait_for()
    page.locator(".tree .row:visible", has_text="subject").first.click()
    assert "subject" in page.locator("#details h2").inner_text()
    writer.write(-1)
    live.step()
    page.locator(".failure").wait_for()
    assert page.locator("#details").is_visible(), "what is looked at stays"
    writer.write(1)
    live.step()
    page.locator("#status", has_text="failed").wait_for()
    live.end()
    page.locator("html[data-ready]").wait_for(state="attached")
    assert "104 done" in page.locator("#counts").inner_text()


def test_a_page_that_was_behind_reads_the_report(look: Look, tmp_path: Path) -> None:
    writer = Writer(tmp_path, large(3000))
    live = LivePage(tmp_path)
    live.begin()
    writer.write(9000)
    live.step()
    page = look(live.page, "find=i%3D700")
    page.locator(".treehead", has_text="1 found").wait_for()
    writer.write(len(writer.lines))
    live.end()  # before the page has asked again
    page.locator("html[data-ready]").wait_for(state="attached")
    assert "3,001 of 3,001" in page.locator("#counts").inner_text()
    assert page.locator("#search").input_value() == "i=700"
    # The browser says itself that the files were gone when the page asked for them.
    assert all("ERR_FILE_NOT_FOUND" in said for said in look.wrong)
    look.wrong.clear()


def test_what_killed_runs_have_left_is_put_in_order(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(SECONDS)
    alive = {"pid": os.getpid(), "pid_began": processes.began()}
    dead = {"pid": gone.pid, "pid_began": re.sub(r"\d+$", "1", processes.began())}
    far = {**dead, "pid_began": "far-0-1-2"}
    for name, head in (("killed", dead), ("running", alive), ("shown", dead), ("elsewhere", far)):
        run = tmp_path / name
        # The process of this test shows the run as well.
        (run / f"page-{os.getpid() if name == 'shown' else gone.pid}").mkdir(parents=True)
        (run / "journal.jsonl").write_text(json.dumps({"kind": "run", **head}) + "\n")
        (run / "index.html").write_text("follows")
    (tmp_path / "empty" / f"page-{gone.pid}").mkdir(parents=True)
    (tmp_path / "killed" / "page-of-mine").mkdir()
    sweep(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/page-*")}
    assert left == {
        f"running/page-{gone.pid}", f"shown/page-{os.getpid()}", f"elsewhere/page-{gone.pid}",
        f"empty/page-{gone.pid}", "killed/page-of-mine",
    }  # fmt: skip
    whole = (tmp_path / "killed" / "index.html").read_text("utf-8")
    assert journal_in(whole) == (tmp_path / "killed" / "journal.jsonl").read_text()
    assert (tmp_path / "running" / "index.html").read_text() == "follows"


def test_no_page_is_made_of_a_journal_of_an_earlier_run(tmp_path: Path) -> None:
    folder = tmp_path / "20260101-000000-0a"
    folder.mkdir()
    (folder / "journal.jsonl").write_text('{"kind":"run"}\n')
    page, index = Page(lambda: folder), folder / "index.html"
    found = []
    for name in ("0a", "0b"):
        page.fancypipe_run_started(RunInfo(name, "serial", 1))
        page.fancypipe_run_over(RunInfo(name, "serial", 1), OUTCOME)
        found.append((page.page, index.exists()))
        index.unlink(missing_ok=True)
    assert found == [(index, True), (None, False)]

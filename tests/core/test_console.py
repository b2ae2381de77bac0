"""The display: what it counts, what it shows, and that it leaves nothing behind."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import module, run, task
from fancypipe_core.hooks import EventKind, Outcome, RunInfo, TaskEvent
from fancypipe_core.plugins import console, notebook
from fancypipe_core.plugins._counts import Counts, Kind, summary
from fancypipe_core.plugins.console import Console
from fancypipe_core.plugins.figures import summary as of_journals
from fancypipe_core.plugins.figures.earlier import Earlier
from fancypipe_core.plugins.figures.words import clock_text

RUN = RunInfo("1", "threads", 2)
DONE = Outcome(True, 2.0, {"done": 3})


def event(kind: EventKind, task: int, name: str = "t", message: str = "") -> TaskEvent:
    return TaskEvent(kind, name, task, "", 1, 0.0, None, message)


class Terminal(io.StringIO):
    """A terminal that tells when something appears on it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


class Closed(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def a_terminal_of_known_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "PYTHONBREAKPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setattr(console, "free_memory", lambda: 1_000_000_000)
    monkeypatch.setattr(console, "total_memory", lambda: 3_500_000_000)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [one.name for one in threading.enumerate() if "fancypipe" in one.name] == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_LEARN", 0.0)
    monkeypatch.setattr(console, "_DELAY", 0.001)
    monkeypatch.setattr(console, "_TICK", 0.001)


def numbers(kind: Kind) -> tuple[int, ...]:
    return (kind.added, kind.busy, kind.done, kind.failed, kind.cancelled)


def test_counting() -> None:
    counts = Counts(0.0)
    counts.add([event("added", number) for number in range(6)])
    counts.add([event("added", 9, "other")])
    counts.add([event("submitted", number) for number in range(5)])
    assert numbers(counts.kinds["t"]) == (6, 5, 0, 0, 0)
    counts.add([event("done", 0), event("failed", 1), event("cancelled", 2)])
    assert numbers(counts.kinds["t"]) == (6, 2, 1, 1, 1)
    # A loss and what is tried again is under way once, whatever comes in between.
    counts.add([event("lost", 3), event("retried", 3), event("submitted", 3)])
    counts.add([event("submitted", 3)])
    assert numbers(counts.kinds["t"]) == (6, 2, 1, 1, 1)
    counts.add([event("done", 3), event("done", 4)])
    # What was never submitted can fail too, and so can what was never added.
    counts.add([event("failed", 5), event("failed", 7, "third")])
    assert numbers(counts.kinds["t"]) == (6, 0, 3, 2, 1)
    counts.sum_up(1.0)
    assert numbers(counts.total) == (7, 0, 3, 3, 1)
    assert list(counts.kinds) == ["t", "other", "third"]


def test_rate_and_time_left() -> None:
    counts = Counts(100.0)
    told: list[tuple[float, float | None]] = []

    def tell(now: float) -> None:
        counts.sum_up(now)
        told.append((counts.total.rate, counts.total.remaining))

    counts.add([event("added", number) for number in range(100)])
    tell(100.0)
    counts.add([event("done", number) for number in range(20)])
    tell(102.0)
    # Of late: what was long ago does not count.
    for second in range(103, 130):
        counts.sum_up(float(second))
    tell(130.0)
    counts.add([event("done", number) for number in range(20, 100)])
    tell(131.0)
    assert told == [(0, None), (10, 8), (0, None), (80 / 11, None)]


def test_failures_are_told_but_not_by_the_thousand() -> None:
    counts = Counts(0.0)
    counts.add([event("failed", number, message="ValueError: x") for number in range(1000)])
    assert len(counts.news) == 11
    assert counts.news[0] == "failed: t: ValueError: x"
    assert counts.news[-1] == "further failures are counted only"


def test_the_busiest_kinds_keep_their_order() -> None:
    counts = Counts(0.0)
    for number in range(20):
        counts.add([event("added", number, f"k{number}")])
    counts.add([event("submitted", number, f"k{number}") for number in (15, 3, 9)])
    assert [kind.name for kind in counts.busiest(3)] == ["k3", "k9", "k15"]
    assert len(counts.busiest(30)) == 20


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.7, "1:00"), (61, "1:01"), (3725, "1:02:05")]
)
def test_times(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome(True, 0.1234, {"done": 1}), "1 task done in 0.123 s (threads, 2 workers)"),
        (Outcome(True, 100, {"done": 5000}), "5,000 tasks done in 1:40 (threads, 2 workers)"),
        (
            Outcome(False, 2, {"done": 3, "failed": 1, "cancelled": 0}, "x"),
            "no result after 2 s: 3 done, 1 failed (threads, 2 workers)",
        ),
        (Outcome(True, 2, {"done": 1, "skipped": 0}), "1 task done in 2 s (threads, 2 workers)"),
        (Outcome(False, 2, {}, "x"), "no result after 2 s: nothing done (threads, 2 workers)"),
    ],
)
def test_the_last_line(outcome: Outcome, text: str) -> None:
    assert summary(RUN, outcome) == text


def test_what_a_worker_has_several_of_is_counted_as_that() -> None:
    for count, shown in ((1, "1 slot"), (2, "2 slots")):
        info = RunInfo("1", "remote", count, unit="slot")
        assert summary(info, DONE) == f"3 tasks done in 2 s (remote, {shown})"


def test_a_short_run_shows_one_line() -> None:
    for stream in (io.StringIO(), Terminal()):
        one = Console(stream)
        one.fancypipe_run_started(RUN)
        one.fancypipe_task_events([event("added", 0), event("done", 0)])
        one.fancypipe_run_over(RUN, DONE)
        assert stream.getvalue() == "fancypipe: 3 tasks done in 2 s (threads, 2 workers)\n"


def test_plain_lines_come_less_and_less_often() -> None:
    stream, counts = io.StringIO(), Counts(0.0)
    lines = console._Lines(stream, RUN, counts, 0.0)
    counts.add([event("added", number) for number in range(100)])
    now, times = 0.5, []
    while now < 300:
        before = stream.tell()
        pause = lines.show(now)
        if stream.tell() > before:
            times.append(round(now))
        assert 0 < pause <= 1
        now += pause
    assert times == [5, 15, 35, 75, 135, 195, 255]


def test_a_plain_line() -> None:
    stream, counts = io.StringIO(), Counts(0.0)
    lines = console._Lines(stream, RUN, counts, 0.0)
    counts.add([event("added", number) for number in range(2000)])
    counts.add([event("submitted", number) for number in range(102)])
    counts.add([event("done", number) for number in range(99)])
    counts.add([event("failed", 99, message="ValueError: no"), event("added", 5000, "other")])
    lines.show(5.0)
    news, line = stream.getvalue().splitlines()
    assert news == "fancypipe: failed: t: ValueError: no"
    assert line == (
        "fancypipe: 0:05, 100 of 2,001 tasks, 2 under way, 1 failed, 20/s, about 1:35 left "
        "(t 100/2,000, other 0/1)"
    )


def step(number: int, done: float, total: float | None) -> TaskEvent:
    path = f"study/t[{number}]"
    return TaskEvent("progress", "t", number, path, 1, 0.0, None, "", done, total)


def test_a_plain_line_says_how_far_running_tasks_are() -> None:
    stream, counts = io.StringIO(), Counts(0.0)
    lines = console._Lines(stream, RUN, counts, 0.0)
    counts.add([event("added", number) for number in range(4)])
    counts.add([event("submitted", number) for number in range(4)])
    counts.add([step(1, 1, 3), step(2, 1500, None), step(1, 2, 3), step(3, 1, 9)])
    lines.show(5.0)
    counts.add([event("done", 1), step(1, 3, 3)])  # the second comes too late
    lines.show(15.0)
    first, second = stream.getvalue().splitlines()
    assert first.endswith("4 under way (t 0/4); study/t[1] 2 of 3; study/t[2] 1,500")
    assert second.endswith("(t 1/4); study/t[2] 1,500; study/t[3] 1 of 9")


def test_what_did_not_run_is_not_told_as_failed() -> None:
    stream, counts = io.StringIO(), Counts(0.0)
    counts.add([event("added", number) for number in range(3)])
    counts.add([event("submitted", 0), event("unfolded", 0), event("failed", 1, message="x")])
    counts.add([event("skipped", 2, message="x")])
    assert numbers(counts.kinds["t"]) == (3, 0, 0, 1, 0)
    assert counts.kinds["t"].left == 1  # it waits for what it returned
    console._Lines(stream, RUN, counts, 0.0).show(5.0)
    assert list(counts.news) == []
    assert stream.getvalue().splitlines()[0] == "fancypipe: failed: t: x"
    assert "2 of 3 tasks, 0 under way, 1 failed, 1 skipped" in stream.getvalue()


def picture(counts: Counts) -> tuple[console._Picture, Terminal]:
    terminal = Terminal()
    return console._Picture(terminal, RUN, counts, 0.0), terminal


def visible(text: str) -> list[str]:
    """Return the lines without colours and other control sequences."""
    return [line.strip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()]


def test_a_picture_has_a_line_for_each_kind() -> None:
    counts = Counts(0.0)
    counts.add([event("added", number) for number in range(100)])
    counts.add([event("submitted", number) for number in range(52)])
    counts.add([event("done", number) for number in range(49)])
    counts.add([event("failed", 49, message="ValueError: no"), event("added", 5000, "other")])
    shown, terminal = picture(counts)
    shown.show(10.0)
    lines = visible(terminal.getvalue())
    numbers_said = "2 under way  1 failed  5/s  0:10 left"
    assert lines[0] == "fancypipe: failed: t: ValueError: no"
    assert lines[-3:] == [
        f"0:10  threads, 2 workers  50/101  {numbers_said}  2.5 of 3.5 GB memory",
        f"t      {'━' * 20}  50/100  {numbers_said}",
        f"other  {'━' * 20}  0/1",
    ]
    shown.end()
    # It takes away what it drew, and gives the cursor back.
    assert terminal.getvalue().count("\x1b[2K") >= 3
    assert terminal.getvalue().count("\x1b[?25h") == 1


def test_a_picture_shows_how_far_running_tasks_are() -> None:
    counts = Counts(0.0)
    counts.add([event("added", number) for number in range(9)])
    counts.add([event("submitted", number) for number in range(9)])
    counts.add([step(1, 30, 60), step(2, 7, None), *(step(n, -n, 0) for n in range(3, 9))])
    shown, terminal = picture(counts)
    shown.show(10.0)
    shown.end()
    lines = visible(terminal.getvalue())[:7]
    assert lines[1] == f"t  {'━' * 20}  0/9  9 under way"
    assert lines[2:4] == [f"{'━' * 20}  study/t[1] 30 of 60", "study/t[2] 7"]
    assert lines[4:] == ["study/t[3] -3 of 0", "study/t[4] -4 of 0", "study/t[5] -5 of 0"]


def test_what_runs_for_long_is_named() -> None:
    counts = Counts(0.0, workers=2)
    counts.add([event("added", number) for number in range(4)])
    counts.add([event("submitted", number) for number in range(4)])  # two of them wait there
    shown, terminal = picture(counts)
    shown.show(1.0)
    assert "runs for" not in terminal.getvalue()
    shown.show(4.0)
    counts.add([event("done", 0), event("submitted", 9, "other")])
    shown.show(20.0)
    shown.show(23.0)
    shown.end()
    said = [line for line in visible(terminal.getvalue()) if "runs for" in line]
    assert said[:5] == ["t runs for 0:03", "t runs for 0:03", "t runs for 0:19", "t runs for 0:22",
                    "t runs for 0:03"]  # fmt: skip
    stream, counts = io.StringIO(), Counts(0.0)
    lines = console._Lines(stream, RUN, counts, 0.0)
    counts.add([event("added", 1), event("submitted", 1)])
    lines.show(1.0)
    lines.show(15.0)
    assert stream.getvalue().endswith("1 under way (t 0/1); t for 0:14\n")


def ended(task: int, seconds: float, name: str = "t") -> TaskEvent:
    return TaskEvent("done", name, task, "", 1, 0.0, seconds)


def test_the_time_left_is_learned_from_kinds_of_tasks() -> None:
    counts = Counts(0.0, workers=2)
    counts.add([event("added", number) for number in range(10)])
    counts.add([event("added", number, "long") for number in range(10, 14)])
    counts.add([ended(number, 1.0) for number in range(8)])
    counts.sum_up(4.0)
    assert counts.remaining == 3.0  # nobody knows that the long ones are
    counts.add([ended(10, 20.0, "long")])
    counts.sum_up(14.0)
    assert counts.remaining == 31.0  # 62 s of work, two at a time
    counts.add([TaskEvent("done", tasks=[8, 9], took=[500_000, 500_000])])
    counts.add([ended(number, 20.0, "long") for number in (11, 12, 13)])
    counts.sum_up(60.0)
    assert counts.remaining is None


def test_it_is_learned_from_the_run_before() -> None:
    # Of a name that is new nothing is known: it counts as the others do.
    for alike, work in ((True, 4 * 10.0 + 10.0), (False, 2 * 10.0 + 10.0)):
        counts = Counts(0.0, workers=2)
        counts.add([event("added", 1), event("added", 2, "new")])
        counts.expect(Earlier({"t": (4, 10.0), "later": (9, 1.0)}, alike))
        counts.add([event("added", 3)])
        counts.sum_up(1.0)
        assert counts.remaining == work / 2


@task
def naps(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_a_run_is_summed_up_and_the_next_one_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "LEAST", 0.0)
    monkeypatch.setattr(of_journals, "LEAST", 0.0)
    monkeypatch.setattr(console, "_LEARN", 0.0)
    learned: list[Earlier] = []
    monkeypatch.setattr(Counts, "expect", lambda _, found: learned.append(found))
    for _ in range(2):
        run([naps(0.05), naps(0.1)], backend="serial", journal=True, page=True, progress=True,
            tempdir=str(tmp_path))  # fmt: skip
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if line.startswith("fancypipe: slowest: naps ")]) == 2
    assert len([line for line in said if line.startswith("fancypipe: longest chain: ")]) == 2
    assert re.fullmatch(r"fancypipe: 2 tasks done in .*; see .*/index.html", said[-1])
    (known,) = learned
    assert known.alike
    assert known.kinds["naps"][0] == 2
    assert 0.07 < known.kinds["naps"][1] < 30


def test_a_picture_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "10")
    monkeypatch.setenv("COLUMNS", "60")
    counts = Counts(0.0)
    counts.add([event("added", n, f"a kind of task with a long name, {n}") for n in range(30)])
    counts.add([event("submitted", 1, next(iter(counts.kinds))), step(1, 1, 2)])  # no room
    shown, terminal = picture(counts)
    shown.show(1.0)
    shown.end()
    lines = visible(terminal.getvalue().split("\x1b[2K")[0])
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 60
    assert "and 23 more kinds of tasks" in lines


def test_a_debugger_gets_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(sys, "breakpointhook", lambda *args: called.append(args))
    hook = sys.breakpointhook
    shown, terminal = picture(Counts(0.0))
    shown.show(1.0)
    assert sys.breakpointhook is not hook
    sys.breakpointhook("x")  # noqa: T100 - it is what the test is about
    assert called == [("x",)]
    assert sys.breakpointhook is hook
    before = terminal.getvalue()
    assert before.endswith("\x1b[2K")
    shown.show(2.0)
    shown.end()
    assert terminal.getvalue() == before


@pytest.mark.usefixtures("impatient")
def test_the_display_ticks_while_nothing_happens() -> None:
    terminal = Terminal()
    one = Console(terminal)
    one.fancypipe_run_started(RUN)
    for _ in range(3):
        terminal.written.clear()
        assert terminal.written.wait(20)
    one.fancypipe_run_over(RUN, DONE)
    assert visible(terminal.getvalue())[-1] == summary_line()


def summary_line() -> str:
    return f"fancypipe: {summary(RUN, DONE)}"


@pytest.mark.usefixtures("impatient")
def test_a_display_that_fails_says_so_and_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no colours left")

    monkeypatch.setattr(console._Picture, "_draw", fail)
    terminal = Terminal()
    one = Console(terminal)
    one.fancypipe_run_started(RUN)
    thread = one._thread
    assert thread is not None
    thread.join(20)
    one.fancypipe_task_events([event("added", 0)])
    one.fancypipe_run_over(RUN, DONE)
    assert visible(terminal.getvalue())[-2:] == [
        "fancypipe: the display has failed: RuntimeError: no colours left",
        summary_line(),
    ]


def test_a_stream_that_is_gone() -> None:
    one = Console(Closed())
    one.fancypipe_run_started(RUN)
    one.fancypipe_run_over(RUN, DONE)


def test_no_stream_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    one = Console()
    one.fancypipe_run_started(RUN)
    one.fancypipe_task_events([event("added", 0)])
    one.fancypipe_run_over(RUN, DONE)


def test_a_run_inside_a_run_belongs_to_it() -> None:
    stream = io.StringIO()
    one = Console(stream)
    one.fancypipe_run_started(RUN)
    one.fancypipe_run_started(RUN)
    one.fancypipe_run_over(RUN, DONE)
    assert stream.getvalue() == ""
    one.fancypipe_run_over(RUN, DONE)
    assert stream.getvalue() == f"{summary_line()}\n"


def test_with_the_engine() -> None:
    @task
    def double(x: int) -> int:
        return 2 * x

    @module
    def both(x: int) -> Any:
        return double(double(x))

    stream = io.StringIO()
    assert run(both(3), backend="serial", observers=[Console(stream)]) == 12
    assert re.fullmatch(
        r"fancypipe: 3 tasks done in \S+ s \(serial, 1 worker\)\n", stream.getvalue()
    )


# ---- in a notebook ------------------------------------------------------------------


def test_a_cell_shows_a_table_that_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython = pytest.importorskip("IPython")
    drawn: list[str] = []

    class Handle:
        def update(self, picture: Any) -> None:
            drawn.append(picture.data)

    def display(picture: Any, *, display_id: bool) -> Handle:
        assert display_id
        assert drawn == []
        drawn.append(picture.data)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    shell = type("Shell", (), {"kernel": object()})()
    monkeypatch.setattr(ipython, "get_ipython", lambda: shell)
    assert notebook.is_in_notebook()
    counts = Counts(0.0, workers=3)
    cell = notebook.Cell(RUN, counts, 0.0)
    cell.end()
    assert drawn == []  # a short run shows nothing
    counts.add([event("added", number, "<b>") for number in range(4)])
    counts.add([event("submitted", number, "<b>") for number in range(3)])
    assert cell.show(1.0) > 0
    counts.add([ended(0, 1.0, "<b>"), event("failed", 1, "<b>", message="x")])
    cell.show(4.0)
    assert len(drawn) == 2
    assert "&lt;b&gt;</td>" in drawn[1]
    assert "<b></td>" not in drawn[1]
    assert "2 of 4, 1 under way, 1 failed" in drawn[1]
    # The bar has as much of each color as came to that end, and the rest is to come.
    assert re.findall(r"width:([\d.]+)%;background:(#\w+)", drawn[1]) == [
        ("25", "#3a7"), ("25", "#c33"),
    ]  # fmt: skip
    assert "&lt;b&gt; runs for 0:03" in drawn[1]
    assert "left" in drawn[1]
    counts.add([ended(number, 1.0, "<b>") for number in (2, 3)])
    cell.end()
    assert "4 of 4, 1 failed" in drawn[2]
    counts.add([event("added", 4, "<b>"), event("skipped", 4, "<b>")])
    cell.end()
    assert re.findall(r"width:([\d.]+)%;background:(#\w+)", drawn[3]) == [
        ("60", "#3a7"), ("20", "#c33"), ("20", "#c90"),
    ]  # fmt: skip


def test_elsewhere_it_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not notebook.is_in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", None)
    assert not notebook.is_in_notebook()

"""Many short tasks are told of together, and nothing that counts is lost by it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fancypipe_core import Session, module, run, task
from fancypipe_core._plugins import event_stream, together
from fancypipe_core._plugins.together import Details, added_together, in_a_row
from fancypipe_core._worker import meter as meter_module
from fancypipe_core.hooks import TaskEvent, TaskNote, Wants, hookimpl
from fancypipe_core.plugins.journal import NAME
from fancypipe_core.plugins.runs import find_runs, read_journal, tasks_of
from tests.core.test_cost import _calls

BACKENDS = ["serial", "threads", "procs"]


@task
def nothing(x: int) -> int:
    return x


@task
def plus(a: int, b: int) -> int:
    return a + b


@task
def naps(x: int) -> int:
    time.sleep(0.03)
    return x


@task(retries=1)
def fails(x: int) -> int:
    raise ValueError(f"no {x}")


@module
def study(n: int) -> Any:
    short = [nothing(x) for x in range(n)]
    return [*short, *(plus(a, 1) for a in short[:50]), *(naps(x) for x in range(5))]


# ---- which tasks are told of together --------------------------------------------


class Made:
    def __init__(self, definition: object, code: object, offset: int) -> None:
        self._definition, self._code, self._offset = definition, code, offset


class Node(NamedTuple):
    id: int
    name: str
    instance: Made | None
    parent: Any = None


def added(nodes: Iterable[Node], *, placed: bool = True) -> list[tuple[str, list[int]]]:
    def place(_node: Any) -> str:
        return "x.py:1"

    made: list[Any] = list(nodes)
    told = added_together(made, place if placed else None, 1.0, 2.0)
    return [(one.name, [*one.tasks] or [one.task]) for one in told]


def test_tasks_that_were_made_alike_are_added_together() -> None:
    f, g, code = object(), object(), object()
    alike = [Node(n, "f", Made(f, code, 8)) for n in (1, 2, 3)]
    assert added([]) == []
    assert added(alike) == [("f", [1, 2, 3])]
    assert added(alike[:1]) == [("f", [1])]
    for odd in (
        Node(9, "g", Made(g, code, 8)),
        Node(9, "f", Made(f, object(), 8)),
        Node(9, "f", Made(f, code, 10)),
        Node(9, "f", Made(f, code, 8), alike[0]),
        Node(9, "f", None),  # a worker made it
    ):
        assert added([*alike, odd, *alike]) == [
            ("f", [1, 2, 3]), (odd.name, [9]), ("f", [1, 2, 3]),
        ]  # fmt: skip
    worker_made = [Node(n, "f", None) for n in (1, 2)]
    assert added(worker_made) == [("f", [1]), ("f", [2])]
    # Where nobody asks for the place, the task alone counts.
    other = Node(9, "f", Made(f, object(), 10), alike[0])
    assert added([*alike, other], placed=False) == [("f", [1, 2, 3, 9])]


@pytest.mark.parametrize("tasks", [[1, 2, 3], [7], [1, 3, 2, 4], [4, 3, 2, 1], [1, 2, 4], [2, 1]])
def test_numbers_in_a_row_are_a_range(tasks: list[int]) -> None:
    row = in_a_row(tasks)
    assert list(row) == tasks
    assert isinstance(row, range) == (tasks in ([1, 2, 3], [7]))


def test_some_short_tasks_are_told_in_full_in_each_span_of_time() -> None:
    details = Details()
    details.left = 0
    details.refill(100.0)
    assert details.left == together._DETAILS
    details.left = 0
    details.refill(100.9)
    assert details.left == 0
    details.refill(101.1)
    assert details.left == together._DETAILS


class Hears:
    """Takes what a stream passes on."""

    want_notes = False

    def __init__(self) -> None:
        self.told: list[int] = []

    def wanted(self) -> Wants:
        return Wants(together=True)

    def task_events(self, events: Sequence[TaskEvent]) -> None:
        self.told.append(len(events))

    def notes(self, notes: Sequence[TaskNote]) -> None:
        raise AssertionError(notes)


def test_the_first_of_a_run_is_told_at_once() -> None:
    hears = Hears()
    stream = event_stream.EventStream(hears, live=True)
    nodes: list[Any] = [Node(n, "f", Made(None, None, 0)) for n in range(3)]
    for _ in range(2):
        stream.added(nodes[:1])
        assert hears.told == [1]  # a kill from now on leaves that it was there
        stream.added(nodes[1:2])
        stream.added(nodes[2:])
        assert hears.told == [1]  # these wait for company
        stream.run_over()
        assert hears.told == [1, 2]
        hears.told.clear()


# ---- in runs ----------------------------------------------------------------------


class Takes:
    """Takes what happens together, or not."""

    def __init__(self, *, together: bool) -> None:
        self.together = together
        self.events: list[TaskEvent] = []

    @hookimpl
    def fancypipe_wants(self) -> Wants:
        return Wants(together=self.together)

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        self.events += events


def lines_of(folder: Path) -> list[dict[str, Any]]:
    (found,) = find_runs(folder)
    return list(read_journal(found))


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_is_told_of_each_task(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "_DETAILS", 3)
    monkeypatch.setattr(event_stream, "SHORT", 0.02)  # also on a busy machine
    assert run(study(500), backend=backend, workers=2, journal=True, tempdir=str(tmp_path))
    lines = lines_of(tmp_path)
    for kind in ("added", "submitted", "done"):
        told = Counter(line["task"] for line in lines if line["kind"] == kind)
        assert set(told.values()) == {1}
        assert len(told) == 556 - (kind == "submitted")  # a module is sent nowhere
    names = Counter(line["name"] for line in lines if line["kind"] == "done")
    assert names == {"study": 1, "nothing": 500, "plus": 50, "naps": 5}
    (whole,) = [
        one["task"] for one in lines if (one["kind"], one.get("name")) == ("added", "study")
    ]
    for kind in ("plus", "nothing"):
        made = [one for one in lines if (one["kind"], one.get("name")) == ("added", kind)]
        assert {one["parent"] for one in made} == {whole}
        assert len({one["where"] for one in made}) == 1
    needs = [
        one["needs"] for one in lines if (one["kind"], one.get("name")) == ("submitted", "plus")
    ]
    assert len(needs) == 50
    sent = {one["task"]: one["at"] for one in lines if one["kind"] == "submitted"}
    for one in lines:
        if one["kind"] == "done" and one["name"] != "study":
            assert one["seconds"] > 0
            assert one["worker"]
            # By the clock of the day, which may be set while we look.
            assert one["at"] - one["seconds"] >= sent[one["task"]] - 0.01
    naps_told = [one for one in lines if (one["kind"], one.get("name")) == ("done", "naps")]
    assert all(one["value"].isdecimal() and one["memory"] > 0 for one in naps_told)
    # Most of what is short takes a few bytes, and no line of its own.  Where the machine is busy
    # workers report in small batches: so one of three runs is to show it.
    counts: list[int] = []
    place = tmp_path
    while len(counts) < 3 and min(counts, default=450) >= 450:
        if counts:
            place = tmp_path / f"again-{len(counts)}"
            assert run(study(500), backend=backend, workers=2, journal=True, tempdir=str(place))
        (found,) = find_runs(place)
        counts.append((found / NAME).read_bytes().count(b"\n"))
    assert min(counts) < 450  # each of the 50 that need others has a line when it is submitted


@pytest.mark.parametrize("backend", ["threads", "procs"])
def test_who_wants_each_alone_gets_each_alone(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "_DETAILS", 0)
    monkeypatch.setattr(event_stream, "SHORT", 60.0)  # also on a busy machine
    takes, refuses = Takes(together=True), Takes(together=False)
    run([nothing(x) for x in range(300)], backend=backend, workers=1, observers=[takes, refuses])
    assert refuses.events == takes.events
    assert Counter(one.kind for one in refuses.events) == {
        "added": 300, "submitted": 300, "done": 300,
    }  # fmt: skip
    assert all(one.task and one.name == "nothing" and not one.tasks for one in refuses.events)
    alone = Takes(together=True)
    run([nothing(x) for x in range(300)], backend=backend, workers=1, observers=[alone])
    assert len(alone.events) < 100
    for kind in ("added", "submitted", "done"):
        told = [n for e in alone.events if e.kind == kind for n in ([*e.tasks] or [e.task])]
        assert len(set(told)) == len(told) == 300
    assert all(len(e.took) == len(e.tasks) and min(e.took) > 0 for e in alone.events
               if e.kind == "done" and e.tasks)  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_failures_among_them_are_told_in_full(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "_DETAILS", 0)
    targets = [*(nothing(x) for x in range(100)), fails(7), *(nothing(x) for x in range(100))]
    with pytest.raises(ValueError, match="no 7"):
        run(targets, backend=backend, workers=1, journal=True, tempdir=str(tmp_path),
            keep_going=False)  # fmt: skip
    lines = lines_of(tmp_path)
    (failed,) = [one for one in lines if one["kind"] == "failed"]
    assert (failed["name"], failed["attempt"], failed["inputs"]) == ("fails", 2, "x=7")
    assert "raise ValueError" in failed["traceback"]
    assert [one["attempt"] for one in lines if one["kind"] == "retried"] == [1]
    ends = Counter(one["task"] for one in lines if one["kind"] in ("done", "failed", "cancelled"))
    assert len(ends) == 201
    assert set(ends.values()) == {1}


def test_a_journal_costs_no_call_for_each_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a slow machine more are told of in full, and more often.
    monkeypatch.setattr(together, "_DETAILS", 0)
    monkeypatch.setattr(event_stream, "_PAUSE", 1000.0)
    monkeypatch.setattr(event_stream, "_REST", 1000.0)
    count = 20_000

    def calls(**settings: Any) -> int:
        # The least: on a machine with other work the loop takes more turns, each with calls.
        counted = []
        for _ in range(3):
            with Session("procs", workers=2, **settings) as session:
                session.run([nothing(x) for x in range(100)])
                targets = [nothing(x) for x in range(count)]
                counted.append(_calls(lambda: session.run(targets)))  # noqa: B023 - at once
        return min(counted)

    without = calls()
    assert calls(journal=True, page=False, tempdir=str(tmp_path)) < without + count / 2


# ---- what readers make of it --------------------------------------------------------


def test_lines_about_many_tasks_are_read_with_care() -> None:
    assert tasks_of({"tasks": "3-5"}) == range(3, 6)
    assert tasks_of({"tasks": [3, 1]}) == [3, 1]
    assert list(tasks_of({"task": 3})) == [3]
    odd: object
    for odd in ("", "3", "3-", "-3", "a-b", {}, 3, None):
        assert list(tasks_of({"tasks": odd})) == []


def test_times_of_tasks_in_one_line_are_reckoned(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"kind": "run", "at": 10.0},
        {"kind": "added", "name": "f", "at": 10.0, "tasks": "1-4"},
        {"kind": "submitted", "at": 10.001, "attempt": 1, "tasks": "1-4"},
        # One after the other, but none began before it was sent.
        {"kind": "done", "at": 10.002, "attempt": 1, "tasks": [2, 1, 4], "took": [700, 200, 300]},
        {"kind": "done", "at": 10.003, "attempt": 1, "tasks": "3-3", "took": [100], "worker": "w"},
    ]
    (tmp_path / NAME).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    told = [one for one in read_journal(tmp_path) if one["kind"] == "done"]
    assert [(one["task"], one["name"]) for one in told] == [(2, "f"), (1, "f"), (4, "f"), (3, "f")]
    ended = [round((one["at"] - 10.0) * 1e6) for one in told]
    assert ended == [1700, 1700, 2000, 3000]
    assert [round(one["seconds"] * 1e6) for one in told] == [700, 200, 300, 100]
    assert [round(one["waited"] * 1e6) for one in told] == [0, 500, 700, 1900]
    assert told[3]["worker"] == "w"


def test_the_clock_of_the_processor_is_read_when_the_last_reading_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readings = [10.0, 20.0, 25.0]
    monkeypatch.setattr(meter_module, "process_time", lambda: readings.pop(0))
    meter = meter_module.Meter(beside_others=False)
    assert meter.until < 1.0  # the first job reads it
    meter.look(1.0)
    assert 1.00001 < meter.until < 1.0001  # one that begins right behind it does not
    meter.look(1.001)
    used = meter.used()
    assert used.cpu == 5.0
    assert used.where == meter.brief.where != ""
    assert meter.brief.cpu is None
    assert meter.until < 1.0  # a long job lies between that reading and the next job

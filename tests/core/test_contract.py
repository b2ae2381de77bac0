"""What a backend may have besides the five methods, and what the engine makes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from fancypipe_core import Session, errors, run, task
from fancypipe_core._plugins import discovery
from fancypipe_core.backend import (
    NOT_BEGUN,
    Backend,
    BackendOptions,
    BackendPlugin,
    Certificate,
    Done,
    Event,
    Job,
    JobId,
    Live,
    Lost,
    Ok,
    Sink,
    Slots,
    Started,
)
from fancypipe_core.hooks import TaskEvent, hookimpl


@task
def square(x: int) -> int:
    return x * x


class Own:
    """A backend that runs what it is given, at once, in a thread of its own.

    Args:
        options: What the engine gave.
    """

    first = Slots(2)

    def __init__(self, options: BackendOptions) -> None:
        self.options = options
        self.waiting: list[Job] = []
        self.changed = threading.Condition()
        self.ending = False
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.sink: Sink

    def start(self, sink: Sink) -> None:
        self.sink = sink
        sink([self.first])
        self.thread.start()

    def submit(self, jobs: Sequence[Job]) -> None:
        with self.changed:
            self.waiting += jobs
            self.changed.notify()

    def cancel(self, ids: Sequence[JobId]) -> None:
        with self.changed:
            lost = [job.id for job in self.waiting if job.id in ids]
            self.waiting = [job for job in self.waiting if job.id not in ids]
        self.sink([Lost(id, NOT_BEGUN) for id in lost])

    recall = cancel

    def work(self) -> None:
        runner = self.options.runner()
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting or self.ending)
                if self.ending:
                    return
                job = self.waiting.pop(0)
            self.sink(self.answer(runner, job))

    def answer(self, runner: Any, job: Job) -> list[Event]:
        runner.connect(self.sink)
        runner.enter()
        return [runner.run(job)]

    def stop(self, grace: float) -> None:
        with self.changed:
            self.ending = True
            self.changed.notify()
        if self.thread.ident is not None:
            self.thread.join(grace + 5.0)


@contextmanager
def patched(make: Callable[[BackendOptions], Backend]) -> Any:
    plugin = BackendPlugin("own", (), "for tests", make, shares_memory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "find", lambda _name: plugin)
        yield


def opened(make: Callable[[BackendOptions], Backend], **settings: Any) -> Session:
    with patched(make):
        return Session("own", debug=True, **{"grace": 5.0, **settings})


# ---- slow start, and a backend that scales ----


class Scales(Own):
    """Has no worker until there is work, and then two."""

    first = Slots(0)
    told: list[int]

    def __init__(self, options: BackendOptions) -> None:
        super().__init__(options)
        self.told = []

    def backlog(self, tasks: int) -> None:
        if tasks and not any(self.told):
            self.sink([Slots(2)])
        self.told.append(tasks)


def test_up_with_no_worker_yet_and_workers_come_with_the_backlog() -> None:
    made: list[Scales] = []

    def make(options: BackendOptions) -> Backend:
        made.append(Scales(options))
        return made[0]

    with opened(make) as session:
        assert made[0].told == [], "nothing waits before there is a run"
        assert session.run([square(n) for n in range(10)]) == [n * n for n in range(10)]
    told = made[0].told
    assert told[0] == 10, "all that could run"
    assert told[-1] == 0, "and in the end nothing"
    assert all(a != b for a, b in pairwise(told)), "only what has changed"


def test_the_backlog_of_a_map_is_its_elements() -> None:
    made: list[Scales] = []

    def make(options: BackendOptions) -> Backend:
        made.append(Scales(options))
        return made[0]

    with opened(make) as session:
        assert session.run(square.map(range(500))) == [n * n for n in range(500)]
    assert 490 <= max(made[0].told) <= 500
    assert made[0].told[-1] == 0


class Never(Own):
    """Says that it is up, and gets no worker."""

    first = Slots(0)
    start_limit = 0.3


class Goes(Own):
    """Loses all workers with the first job, for good."""

    first = Slots(1)
    start_limit = 0.3

    def answer(self, runner: Any, job: Job) -> list[Event]:
        why = Certificate("exit", "gone", "here", 1, guilty=False)
        return [Slots(0), Lost(job.id, why)]


@pytest.mark.parametrize("kind", [Never, Goes])
def test_without_a_worker_a_run_ends_with_a_reason(kind: type[Own]) -> None:
    with opened(kind, backend_start_limit=0.2) as session:
        for target in ([square(1), square(2)], square.map(range(100))):
            with pytest.raises(errors.BackendClosed, match=r"no worker for 0\.3 seconds.*_limit"):
                session.run(target)


# ---- what a backend is told of the session ----


def test_a_backend_is_told_who_it_is_and_what_was_asked_for() -> None:
    options: list[BackendOptions] = []

    def make(given: BackendOptions) -> Backend:
        options.append(given)
        return Own(given)

    with opened(make) as first, opened(make, workers=3):
        assert options[0].session == first.id
    unasked, asked = options
    assert (unasked.workers_given, asked.workers_given) == (False, True)
    assert unasked.name == asked.name == "own"
    assert unasked.session != asked.session


# ---- workers that left ----


class Leaves(Own):
    """Each task's worker is preempted, again and again, and it says so badly: as guilty."""

    def __init__(self, options: BackendOptions) -> None:
        super().__init__(options)
        self.times: dict[int, int] = {}

    def answer(self, runner: Any, job: Job) -> list[Event]:
        times = self.times[job.id[0]] = self.times.get(job.id[0], 0) + 1
        if times <= 10:
            return [Lost(job.id, Certificate("left", "its time was up", "node7", 0))]
        return super().answer(runner, job)


def test_preempted_workers_count_against_nobody() -> None:
    with opened(Leaves, max_losses=2) as session:
        assert session.run([square(n) for n in range(5)]) == [n * n for n in range(5)]


# ---- who runs a task ----


class Named(Own):
    """Says who runs what."""

    def answer(self, runner: Any, job: Job) -> list[Event]:
        self.sink([Started(job.id, f"node{job.id[1]}:17")])
        if job.id[1] == 1:
            return [Lost(job.id, Certificate("exit", "gone", "node1", 17))]
        return super().answer(runner, job)


class Watcher:
    def __init__(self) -> None:
        self.events: list[TaskEvent] = []

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        self.events += events


def test_observers_hear_who_runs_a_task() -> None:
    watcher = Watcher()
    with opened(Named, observers=[watcher]) as session:
        assert session.run(square(3)) == 9
    heard = [(event.kind, event.attempt, event.worker) for event in watcher.events]
    assert heard == [
        ("added", 0, ""),
        ("submitted", 1, ""),
        ("started", 1, "node1:17"),
        ("lost", 1, "node1:17"),
        ("retried", 1, "node1:17"),
        ("submitted", 2, ""),
        ("started", 2, "node2:17"),
        ("done", 2, "node2:17"),
    ]


# ---- what is the plugin's fault is told as the plugin's ----


class Clumsy(Own):
    """Raises in one of its methods."""

    where = ""

    def _may_raise(self, name: str) -> None:
        if self.where == name:
            raise ZeroDivisionError(f"in {name}")

    def start(self, sink: Sink) -> None:
        self._may_raise("start")
        super().start(sink)

    def submit(self, jobs: Sequence[Job]) -> None:
        self._may_raise("submit")
        super().submit(jobs)

    def cancel(self, ids: Sequence[JobId]) -> None:
        self._may_raise("cancel")
        super().cancel(ids)

    def recall(self, ids: Sequence[JobId]) -> None:
        self._may_raise("recall")
        super().cancel(ids)

    def stop(self, grace: float) -> None:
        super().stop(grace)
        self._may_raise("stop")

    def check(self) -> str:
        self._may_raise("check")
        return ""

    def backlog(self, tasks: int) -> None:
        self._may_raise("backlog")


class Selects(Clumsy):
    """Is driven, and raises in that."""

    def drive(self, timeout: float | None) -> None:
        self._may_raise("drive")

    def wake(self) -> None:
        """Nothing waits."""


@task
def fails() -> None:
    raise ValueError("on purpose")


@task
def slow() -> None:
    threading.Event().wait(1.5)


def brought_by(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let it seem that a distribution has brought the backend."""
    points = {name: ("own:plugin", "fancypipe-own", "3.2.1")}
    monkeypatch.setattr(discovery, "_distributions", lambda _group: points)


@pytest.mark.parametrize("where", ["make", "start", "submit", "check", "backlog", "drive"])
def test_what_a_backend_raises_is_told_as_its_own(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought_by(monkeypatch, "own")
    kind = Selects if where == "drive" else Clumsy

    def make(options: BackendOptions) -> Backend:
        if where == "make":
            raise ZeroDivisionError("in make")
        made = kind(options)
        made.where = where
        return made

    target = slow() if where == "check" else [square(n) for n in range(50)]
    with pytest.raises(errors.PluginError) as caught, opened(make) as session:
        session.run(target)
    text = str(caught.value)
    told = f"backend 'own' (fancypipe-own 3.2.1): {where}() failed: ZeroDivisionError: in {where}"
    assert text.startswith(told)
    assert "test_contract.py:" in text, "where"
    assert "engine" not in text
    assert caught.value.plugin == "own"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("where", ["cancel", "recall"])
def test_an_error_in_cancel_does_not_hide_why_the_run_ended(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    brought_by(monkeypatch, "own")

    def make(options: BackendOptions) -> Backend:
        made = Clumsy(options)
        made.where = where
        return made

    with opened(make, grace=0.0) as session:
        if where == "cancel":
            with pytest.raises(ValueError, match="on purpose"):
                session.run([fails(), *[slow() for _ in range(3)]])
        else:
            threading.Timer(0.2, session.cancel).start()
            with pytest.raises(errors.Cancelled):
                session.run([slow() for _ in range(3)])
    said = capsys.readouterr().err
    assert f"backend 'own' (fancypipe-own 3.2.1): {where}() failed: ZeroDivisionError" in said


def test_an_error_in_stop_does_not_take_the_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    brought_by(monkeypatch, "own")

    def make(options: BackendOptions) -> Backend:
        made = Clumsy(options)
        made.where = "stop"
        return made

    with patched(make):
        assert run(square(7), backend="own") == 49
    said = capsys.readouterr().err
    assert "backend 'own' (fancypipe-own 3.2.1): stop() failed: ZeroDivisionError" in said
    assert "what it has started may be left" in said


NOT_EVENTS: dict[str, tuple[Any, str]] = {
    "no record": (["gone"], "'gone', which is no event"),
    "no sequence": (7, "7, which is no sequence of events"),
    "no certificate": ([Lost((1, 1), None)], "whose reason is not a Certificate"),  # type: ignore[arg-type]
    "no reply": ([Done((1, 1), None, 0.0)], "whose reply is none of Ok"),  # type: ignore[arg-type]
    "no id": ([Done(1, Ok(Live(1)), 0.0)], "whose id is not (task, attempt)"),  # type: ignore[arg-type]
    "no count": ([Slots("2")], "whose counts are not natural"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", NOT_EVENTS)
def test_what_is_no_event_is_told_as_the_backends_fault(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought_by(monkeypatch, "own")
    told, seen = NOT_EVENTS[name]

    class Babbles(Own):
        def answer(self, runner: Any, job: Job) -> list[Event]:
            return told  # type: ignore[no-any-return]

    with opened(Babbles) as session, pytest.raises(errors.PluginError) as caught:
        session.run(square(2))
    assert str(caught.value).startswith("backend 'own' (fancypipe-own 3.2.1) gave the sink ")
    assert seen in str(caught.value)


def test_ends_of_what_it_has_not_got_are_left_out_and_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    brought_by(monkeypatch, "own")

    class Repeats(Own):
        def answer(self, runner: Any, job: Job) -> list[Event]:
            (done,) = super().answer(runner, job)
            assert isinstance(done, Done)
            return [done, done, Done((1000 + job.id[0], 1), done.reply, 0.0)]

    with opened(Repeats) as session:
        assert session.run([square(n) for n in range(20)]) == [n * n for n in range(20)]
    said = capsys.readouterr().err
    assert said.count("backend 'own' (fancypipe-own 3.2.1) told the end of attempt 1") == 1


def test_what_outlives_its_run_is_no_stray(capsys: pytest.CaptureFixture[str]) -> None:
    """A job that cannot be stopped ends in a later run: that is in order."""
    with opened(Own, grace=0.0) as session:
        with pytest.raises(errors.TaskError):
            session.run([fails(), slow()])
        assert session.run([square(2), slow()]) == [4, None]
    assert "told the end" not in capsys.readouterr().err

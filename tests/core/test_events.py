"""What observers are told: kinds, attempts, times, progress, and how many ended in which way."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, current, errors, module, run, task
from fancypipe_core._model import progress as _progress
from fancypipe_core.hooks import Outcome, RunInfo, TaskEvent, hookimpl

BACKENDS = ["serial", "threads", "procs"]


class Watch:
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.events: list[TaskEvent] = []
        self.outcomes: list[Outcome] = []

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        self.events += events

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def of(self, name: str) -> list[tuple[str, int]]:
        return [(event.kind, event.attempt) for event in self.events if event.name == name]

    def one(self, name: str, kind: str) -> TaskEvent:
        (found,) = [one for one in self.events if (one.name, one.kind) == (name, kind)]
        return found


@task(retries=3)
def third_time(x: int) -> int:
    if current().attempt < 3:
        raise OSError("not yet")
    return x


@task(retries=1)
def never(x: int) -> int:
    raise ValueError("no")


@task
def needs(x: int) -> int:
    return x


@task
def long(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task
def returns_long() -> Any:
    return long(0.4)


@module
def composes() -> Any:
    return long(0.0)


@module
def refuses() -> Any:
    raise ValueError("no")


@pytest.fixture(scope="module")
def watching() -> Watch:
    return Watch()


@pytest.fixture(scope="module", params=BACKENDS)
def session(request: pytest.FixtureRequest, watching: Watch) -> Iterator[Session]:
    with Session(request.param, 2, observers=[watching]) as opened:
        yield opened


@pytest.fixture
def watch(session: Session, watching: Watch) -> Watch:
    watching.events.clear()
    watching.outcomes.clear()
    return watching


def test_each_event_names_its_attempt(session: Session, watch: Watch) -> None:
    with pytest.raises(errors.RunFailed):
        # Not the session's own setting; the events are the same.
        run(
            [third_time(1), needs(never(2)), composes(), refuses()],
            backend=session.settings.backend,
            workers=2,
            observers=[watch],
            keep_going=True,
        )
    assert watch.of("third_time") == [
        ("added", 0), ("submitted", 1), ("retried", 1), ("submitted", 2), ("retried", 2),
        ("submitted", 3), ("done", 3),
    ]  # fmt: skip
    assert watch.of("never") == [
        ("added", 0), ("submitted", 1), ("retried", 1), ("submitted", 2), ("failed", 2),
    ]  # fmt: skip
    # It did not run, and is not told as if it had.
    assert watch.of("needs") == [("added", 0), ("skipped", 0)]
    assert watch.one("needs", "skipped").message == "ValueError: no"
    assert watch.of("composes") == [("added", 0), ("unfolded", 1), ("done", 1)]
    assert watch.of("refuses") == [("added", 0), ("failed", 1)]
    assert watch.outcomes[-1].counts == {"done": 3, "failed": 2, "skipped": 1, "cancelled": 0}


def test_what_was_cancelled_names_its_attempt(session: Session, watch: Watch) -> None:
    with pytest.raises(ValueError, match="no"):
        session.run([refuses(), [long(0.0) for _ in range(500)]])
    ends = {(event.kind, event.attempt) for event in watch.events if event.name == "long"}
    assert ends <= {("added", 0), ("submitted", 1), ("done", 1), ("cancelled", 0), ("cancelled", 1)}
    counts = watch.outcomes[-1].counts
    assert set(counts) == {"done", "failed", "skipped", "cancelled"}
    kinds = [event.kind for event in watch.events]
    assert {kind: kinds.count(kind) for kind in counts} == counts  # type: ignore[arg-type]
    # Each attempt that went out has an end of the same number.
    sent = {event.task for event in watch.events if event.kind == "submitted"}
    assert all((event.task in sent) == (event.attempt == 1) for event in watch.events
               if event.kind == "cancelled")  # fmt: skip


def test_a_task_that_returns_references_took_what_it_ran(session: Session, watch: Watch) -> None:
    assert session.run(returns_long()) == 0.4
    unfolded, done = watch.one("returns_long", "unfolded"), watch.one("returns_long", "done")
    inner = watch.one("long", "done")
    assert unfolded.seconds is not None
    assert inner.seconds is not None
    assert unfolded.seconds == done.seconds
    assert inner.seconds >= 0.4
    assert unfolded.at <= inner.at <= done.at
    # The one after the other; in between they were on their way.
    assert unfolded.seconds + inner.seconds <= done.at - watch.one("returns_long", "submitted").at


# ---- progress ------------------------------------------------------------------


class Steps(Watch):
    """Lets the task go on when it has seen how far it is."""

    def __init__(self, gate: Path) -> None:
        super().__init__()
        self.gate = gate

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        super().fancypipe_task_events(events)
        for event in events:
            if event.kind == "progress":
                (self.gate / f"{event.done:g}").touch()


def wait_for(file: Path) -> None:
    until = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < until, f"nobody was told what {file} stands for"
        time.sleep(0.002)


@task
def step_by_step(gate: Path) -> None:
    for step in range(3):
        if step:
            time.sleep(0.11)  # as far apart as messages may be
        current().progress(step, 10)
        wait_for(gate / str(step))
    current().progress(0.25)


@pytest.mark.parametrize("backend", BACKENDS)
def test_progress_is_seen_while_the_task_runs(backend: str, tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    run(step_by_step(tmp_path), backend=backend, workers=1, observers=[steps])
    told = [event for event in steps.events if event.kind == "progress"]
    assert [(event.done, event.total) for event in told[:3]] == [(0, 10), (1, 10), (2, 10)]
    assert {(event.path, event.attempt, event.name) for event in told} == {
        ("step_by_step", 1, "step_by_step")
    }


@task
def million(gate: Path) -> float:
    progress = current().progress
    begin = time.perf_counter()
    for step in range(1_000_000):
        progress(step, 999_999)
    took = time.perf_counter() - begin
    wait_for(gate / "999999")
    return took


@pytest.mark.parametrize("backend", ["threads", "procs"])
def test_a_million_calls_are_a_few_messages_and_the_last_is_among_them(
    backend: str, tmp_path: Path
) -> None:
    steps = Steps(tmp_path)
    took = run(million(tmp_path), backend=backend, workers=1, observers=[steps])
    told = [event for event in steps.events if event.kind == "progress"]
    assert 2 <= len(told) <= 20 * took + 10
    assert told[-1].done == told[-1].total == 999_999


@task
def odd() -> int:
    say = current().progress
    for done, total in ((float("nan"), 3), (float("inf"), None), (2, float("inf")), (5, 0)):
        time.sleep(0.11)
        say(done, total)
    with pytest.raises(TypeError):
        say([1], 2)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there are other threads
        pid = os.fork()
    if not pid:
        say(7, 7)
        os._exit(0)
    os.waitpid(pid, 0)
    return 1


def test_odd_progress_harms_nobody(session: Session, watch: Watch) -> None:
    assert session.run(odd()) == 1
    told = [(event.done, event.total) for event in watch.events if event.kind == "progress"]
    assert told[:2] == [(2, None), (5, 0)]
    assert (7, 7) not in told


def test_what_a_worker_says_is_read_with_care() -> None:
    for text in ("", "/", "x/3", "3/x", "3/4/5", "\x1b[2J/1", "nan/1", "-inf"):
        assert _progress.read(text) is None
    assert _progress.read("3") == (3, None)
    assert _progress.read("1e3/2.5") == (1000, 2.5)
    assert _progress.read("3/nan") == _progress.read("3/inf") == (3, None)

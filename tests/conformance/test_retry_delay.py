"""Attempts that wait for their time: on every backend, without a worker, and not for ever."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Backoff, Ref, Session, Task, errors, module, run, task
from fancypipe_core.hooks import TaskEvent, hookimpl

BACKENDS = ("serial", "threads", "procs")
LONG = 1e6  # seconds; a test that waits for it is ended by the watchdog


def note(log: Path, word: str) -> int:
    """Write down that something happens now; return how often it has."""
    with log.open("a") as file:
        file.write(f"{word} {time.monotonic()}\n")
    return sum(line.split()[0] == word for line in log.read_text().splitlines())


def times(log: Path, word: str) -> list[float]:
    lines = (line.split() for line in log.read_text().splitlines())
    return [float(time) for name, time in lines if name == word]


@task(retries=2, retry_delay=Backoff(0.1, factor=3, jitter=0))
def flaky(log: Path, good: int = 3) -> str:
    if note(log, "flaky") < good:
        raise OSError("no connection")
    return "there"


@task(retries=1, retry_delay=LONG)
def hopeless(log: Path) -> None:
    note(log, "hopeless")
    raise OSError("no connection")


@task
def other(log: Path) -> str:
    note(log, "other")
    return "done"


@task
def fails_after(log: Path) -> None:
    while not log.exists() or "hopeless" not in log.read_text():
        time.sleep(0.01)
    raise KeyError("another")


@task
def hands_on(log: Path) -> Ref[str]:
    return flaky(log)


@module
def waits(log: Path) -> str:
    return flaky(log).result() + "!"


class Patient(Task, retries=1, retry_delay=0.1):
    def main(self, log: Path) -> str:
        if note(log, "flaky") < 2:
            raise OSError("no connection")
        return "there"


@pytest.fixture(params=BACKENDS)
def one_worker(request: pytest.FixtureRequest) -> Iterator[Session]:
    with Session(request.param, workers=1, debug=True) as session:
        yield session


def test_each_attempt_waits_for_its_time(one_worker: Session, tmp_path: Path) -> None:
    for number, (make, least) in enumerate(
        ((flaky, [0.1, 0.3]), (hands_on, [0.1, 0.3]), (waits, [0.1, 0.3]), (Patient, [0.1]))
    ):
        log = tmp_path / str(number)
        make_any: Any = make
        assert one_worker.run(make_any(log)).startswith("there")
        began = times(log, "flaky")
        assert len(began) == len(least) + 1
        waited = [later - before for before, later in itertools.pairwise(began)]
        assert all(got >= wanted for got, wanted in zip(waited, least, strict=True)), waited


def test_who_waits_takes_no_worker(one_worker: Session, tmp_path: Path) -> None:
    log = tmp_path / "log"

    @task(retries=1, retry_delay=0.5)
    def first(log: Path) -> int:
        if note(log, "first") == 1:
            raise OSError("no connection")
        return len(times(log, "other"))

    # The first of the targets is begun first, and there is one worker.
    assert one_worker.run(first(log), *(other(log) for _ in range(5))) == (5, *["done"] * 5)
    assert times(log, "first")[0] < times(log, "other")[0]


def test_a_run_that_is_stopped_waits_for_no_delay(one_worker: Session, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def stop() -> None:
        while not log.exists() or not log.read_text():
            time.sleep(0.01)
        one_worker.cancel()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(errors.Cancelled):
        one_worker.run(hopeless(log))
    stopper.join()
    assert len(times(log, "hopeless")) == 1
    assert one_worker.run(other(log)) == "done", "the session goes on"


@pytest.mark.parametrize("backend", ["threads", "procs"])
def test_a_run_that_fails_waits_for_no_delay(backend: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(errors.TaskError, match="another"):
        run([hopeless(log), fails_after(log)], backend=backend, workers=2)
    assert len(times(log, "hopeless")) == 1


class Watcher:
    def __init__(self) -> None:
        self.events: list[TaskEvent] = []

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        self.events += events

    def of(self, kind: str) -> list[TaskEvent]:
        return [event for event in self.events if event.kind == kind]


def test_a_time_limit_is_a_failure_that_waits_too(tmp_path: Path) -> None:
    log, watcher = tmp_path / "log", Watcher()

    @task(retries=1, timeout=1.5, retry_delay=0.2)
    def slow(log: Path) -> str:
        if note(log, "slow") == 1:
            time.sleep(LONG)
        return "there"

    assert run(slow(log), backend="procs", workers=1, observers=[watcher]) == "there"
    assert watcher.of("submitted")[1].at - watcher.of("lost")[0].at >= 0.2


def test_observers_are_told_of_the_delay(tmp_path: Path) -> None:
    watcher = Watcher()
    run(flaky(tmp_path / "log", 2), backend="serial", observers=[watcher])
    (told,) = watcher.of("retried")
    assert told.message.endswith("; tried again in 0.1 s")


@pytest.mark.parametrize(
    ("delay", "attempts"),
    [
        (Backoff(1, jitter=0), [1, 2, 4, 8]),
        (Backoff(2, factor=1, jitter=0), [2, 2, 2, 2]),
        (Backoff(1, factor=10, ceiling=50, jitter=0), [1, 10, 50, 50]),
        (Backoff(0, jitter=1), [0, 0, 0, 0]),
    ],
)
def test_delays_grow(delay: Backoff, attempts: list[float]) -> None:
    assert [delay.after(number) for number in range(1, 5)] == attempts
    assert delay.after(100_000) <= delay.ceiling


def test_chance_makes_them_shorter_and_never_longer() -> None:
    found = [Backoff(8, jitter=0.5).after(1) for _ in range(100)]
    assert all(4 <= one <= 8 for one in found)
    assert len(set(found)) > 1


@pytest.mark.parametrize(
    "delay",
    [-1, float("nan"), float("inf"), "1", Backoff(1, factor=0.5), Backoff(1, jitter=2),
     Backoff(float("nan")), Backoff(1, ceiling=float("inf"))],
)  # fmt: skip
def test_what_is_no_delay(delay: Any) -> None:
    with pytest.raises(errors.GraphError, match=r"task f: retry_delay: \w+ must be a number from"):

        @task(retries=1, retry_delay=delay)
        def f() -> None: ...

"""Elements of a map that kill their worker or take too long are singled out."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors, run
from fancypipe_core.hooks import TaskEvent, hookimpl
from tests.procs import tasks as t

N = 2000


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session("procs", 2, debug=True, grace=5.0) as opened:
        opened.run(t.fine.map(range(N)))  # from now on they go together
        yield opened


@pytest.mark.fault(92)
@pytest.mark.parametrize(
    ("how", "detail"),
    [("segfault", "SIGSEGV"), ("exit", "exit code 3"), ("kill", "SIGKILL")],
)
def test_a_deadly_element_is_named(session: Session, how: str, detail: str) -> None:
    with pytest.raises(errors.TaskLost, match=detail) as caught:
        session.run(t.deadly.map(range(N), at=1234, how=how))
    error = caught.value
    assert (error.index, error.task) == (1234, "deadly.map/1234")
    assert error.attempt >= 3
    assert error.inputs == f"x=1234, at=1234, how='{how}'"
    assert [one.detail for one in error.certificates] == [detail] * 3
    assert session.run(t.fine.map(range(N))) == list(range(N))


def test_the_others_have_their_results() -> None:
    with pytest.raises(errors.RunFailed) as caught:
        run(
            t.deadly.map(range(N), at=1234, how="exit"), backend="procs", workers=2, keep_going=True
        )
    results = caught.value.results
    assert isinstance(results[1234], errors.TaskLost)
    del results[1234]
    assert results == [x for x in range(N) if x != 1234]


class Deaths:
    """Counts the workers that died."""

    def __init__(self) -> None:
        self.lost: list[TaskEvent] = []

    @hookimpl
    def fancypipe_task_events(self, events: list[TaskEvent]) -> None:
        self.lost += [one for one in events if one.kind == "lost"]


@pytest.mark.parametrize("losses", [2, 3])
def test_no_more_deaths_than_it_takes(losses: int) -> None:
    deaths = Deaths()
    with pytest.raises(errors.TaskLost) as caught:
        run(
            t.deadly.map(range(N), at=1234, how="exit"),
            backend="procs",
            workers=2,
            max_losses=losses,
            observers=[deaths],
        )
    assert len(caught.value.certificates) == losses
    own = [one for one in deaths.lost if one.path == "deadly.map/1234"]
    assert len(own) == losses, "those where it was alone count"
    assert len(deaths.lost) - len(own) <= 2, "and so many single it out"


def test_with_one_loss_allowed_nothing_is_begun_twice(tmp_path: Path) -> None:
    with pytest.raises(errors.RunFailed) as caught:
        run(
            t.notes_down.map(range(60), folder=str(tmp_path), at=31),
            backend="procs",
            workers=2,
            max_losses=1,
            keep_going=True,
        )
    results = caught.value.results
    assert isinstance(results[31], errors.TaskLost)
    assert [x for x, one in enumerate(results) if one == x] == [x for x in range(60) if x != 31]
    begun = sorted(int(name.partition("-")[0]) for name in os.listdir(tmp_path))
    assert begun == list(range(60)), "each once"


def test_a_worker_that_is_killed_from_outside_costs_no_result(session: Session) -> None:
    """Nobody knows whose fault that is: it is tried again, in smaller parts."""
    pids = set(session.run(t.pid_of.map(range(N))))
    killed: list[int] = []

    def numbers() -> Iterator[int]:
        for x in range(N):
            if x == N // 2:
                killed.append(pids.pop())
                os.kill(killed[0], signal.SIGKILL)
            yield x

    assert session.run(t.fine.map(numbers())) == list(range(N))
    assert killed


@pytest.mark.fault(92)
def test_a_time_limit_is_that_of_one_element(session: Session) -> None:
    # All together take longer than one may.
    assert session.run(t.takes_its_time.map([0.05] * 30)) == [0.05] * 30
    with pytest.raises(errors.TaskTimeout, match=r"timeout of 1 s") as caught:
        session.run(t.takes_its_time.map([0.0] * 500 + [60.0] + [0.0] * 500))
    assert caught.value.index == 500
    assert caught.value.task == "takes_its_time.map/500"


def test_an_element_that_takes_long_holds_up_no_other() -> None:
    """The span gives back what is behind it, and others run that."""
    slow: Any = [0.0] * 300 + [0.3] + [0.0] * 300
    assert run(t.takes_its_time.map(slow), backend="procs", workers=2) == slow


def test_interrupted_maps_leave_nothing(session: Session) -> None:
    def numbers() -> Iterator[int]:
        for x in range(N):
            if x == N // 2:
                session.cancel()
            yield x

    with pytest.raises(errors.Cancelled):
        session.run(t.fine.map(numbers()))
    assert session.run(t.fine.map(range(N))) == list(range(N))

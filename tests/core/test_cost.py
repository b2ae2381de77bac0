"""What a run and a task cost, as far as it does not depend on the machine: calls and bytes."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import FrameType
from typing import Any

import numpy as np  # noqa: F401  # its random numbers are watched once somebody imports it
import pytest

from fancypipe_core import Session, task
from fancypipe_core._worker import inline

_TASKS = 2000


@task
def nothing(value: int) -> int:
    return value


@task
def add(a: int, b: int) -> int:
    return a + b


def _calls(act: Callable[[], Any]) -> int:
    """Return how many Python functions are called in this thread."""
    count = 0

    def see(_frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    # On a slow machine a burst is over after few tasks, and there are more turns of the loop.
    with pytest.MonkeyPatch.context() as patch, Session("serial") as session:
        patch.setattr(inline, "_BURST", 1000.0)
        session.run([nothing(n) for n in range(100)])
        yield session


def test_a_run_of_one_task_takes_few_calls(session: Session) -> None:
    target = nothing(1)
    assert _calls(lambda: session.run(target)) < 205  # 286 before, 184 now


def test_a_task_takes_few_calls(session: Session) -> None:
    targets = [nothing(n) for n in range(_TASKS)]
    assert _calls(lambda: session.run(targets)) < 19 * _TASKS  # 29 before, 15 now


def test_a_task_that_needs_others_takes_few_calls(session: Session) -> None:
    leaves = [nothing(n) for n in range(_TASKS)]
    targets = [add(a, b) for a, b in pairwise(leaves)]
    assert _calls(lambda: session.run(targets)) < 60 * _TASKS  # 75 before, 55 now, for two tasks


def test_a_link_of_a_chain_takes_few_calls(session: Session) -> None:
    link = nothing(0)
    for _ in range(_TASKS):
        link = nothing(link)
    assert _calls(lambda: session.run(link)) < 65 * _TASKS  # 102 before, 58 now


def test_a_task_takes_few_bytes(session: Session) -> None:
    tracemalloc.start()
    try:
        values = session.run([nothing(1000 + n) for n in range(_TASKS)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(values) == _TASKS
    assert peak / _TASKS < 635  # 639 before, 624 now


@pytest.fixture(scope="module")
def workers() -> Iterator[Session]:
    with Session("procs", workers=2) as session:
        session.run([nothing(n) for n in range(3 * _TASKS)])
        yield session


def test_a_task_on_processes_takes_few_calls_in_the_client(workers: Session) -> None:
    def act() -> None:
        workers.run([nothing(n) for n in range(10 * _TASKS)])

    # On a slow machine there are more turns of the loop.
    assert _calls(act) < 12 * 10 * _TASKS  # 31 before, 4.6 now


def test_a_task_on_processes_takes_few_bytes_in_the_client(workers: Session) -> None:
    tracemalloc.start()
    try:
        values = workers.run([nothing(1000 + n) for n in range(10 * _TASKS)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(values) == 10 * _TASKS
    assert peak / (10 * _TASKS) < 680  # 753 before, 647 now

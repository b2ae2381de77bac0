"""Tasks follow what they need to the process that makes it: see decision 0027."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from fancypipe_core import Session, current, task
from fancypipe_core.backend import Job
from fancypipe_core.errors import TaskError
from fancypipe_core.toolkit import Connection

np = pytest.importorskip("numpy")


@task
def where(before: list[int]) -> list[int]:
    return [*before, os.getpid()]


@task
def step(x: int, at: int) -> int:
    if at == 40 and current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if at == 70:
        raise ValueError("on purpose")
    return x + 1


@task
def array(n: int) -> Any:
    return np.arange(n, dtype=float)


@task
def spoils(x: Any) -> float:
    x *= 2.0
    return float(x[-1])


@task
def last(x: Any, *_: Any) -> float:
    return float(x[-1])


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session("procs", 2, debug=True) as session:
        session.run([where([n]) for n in range(200)])
        yield session


def test_a_chain_stays_where_it_is_and_costs_few_messages(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    submit = Connection.submit

    def counted(self: Connection, jobs: list[Job]) -> None:
        sent.append(len(jobs))
        submit(self, jobs)

    monkeypatch.setattr(Connection, "submit", counted)
    ref = where([])
    for _ in range(299):
        ref = where(ref)
    pids = session.run(ref)
    assert len(pids) == 300
    moves = sum(before != after for before, after in pairwise(pids))
    assert moves < 30
    assert len(sent) < 100, f"{Counter(sent)}: each was sent by itself"


def test_what_a_follower_changes_nobody_else_sees(session: Session) -> None:
    made = [array(n) for n in (600, 5000, 20000)]
    refs = [(one, spoils(one), last(one, spoils(one)), spoils(one)) for one in made]
    for values, n in zip(session.run(refs), (600, 5000, 20000), strict=True):
        kept, first, second, third = values
        assert (kept[-1], first, second, third) == (n - 1.0, 2 * (n - 1.0), n - 1.0, 2 * (n - 1.0))


def test_a_death_in_a_chain_costs_what_ran(session: Session) -> None:
    ref = step(0, 0)
    for at in range(1, 60):
        ref = step(ref, at)
    assert session.run(ref) == 60


def test_a_failure_in_a_chain_is_told_of_who_failed(session: Session) -> None:
    ref = step(0, 100)
    for at in range(50, 90):
        ref = step(ref, at)
    with pytest.raises(TaskError, match="on purpose"):
        session.run(ref)
    assert session.run(step(1, 1)) == 2

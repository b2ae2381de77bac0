"""The results of a map one by one, while others run."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors, task
from fancypipe_core._engine.spans import MOST, UNDER_WAY
from tests.conformance import conftest
from tests.conformance import mapped as m
from tests.conformance import submitted as s
from tests.conformance.test_map import Watching

BACKENDS = (*conftest.BACKENDS, "remote")
N = 3000
SQUARES = [x * x for x in range(N)]


def test_in_order(session: Session) -> None:
    assert list(session.stream(m.square.map(range(N)))) == SQUARES
    assert list(session.stream(m.square.map([]))) == []
    assert list(session.stream(m.square.map(m.numbers(10), plus=m.square(1)))) == [
        x + 1 for x in SQUARES[:10]
    ]
    assert session.run(m.square(3)) == 9


def test_as_they_come(session: Session) -> None:
    pairs = list(session.as_completed(m.square.map(range(N))))
    assert sorted(pairs) == list(enumerate(SQUARES))
    assert dict(session.as_completed(m.composed.map(range(20)))) == dict(enumerate(SQUARES[:20]))
    assert dict(session.as_completed(m.nested.map(range(9)))) == {
        x: x * x if x % 2 else x for x in range(9)
    }


def plus_one(x: int) -> int:
    return x + 1


def test_of_a_function(session: Session) -> None:
    assert list(session.map(m.square, range(50))) == SQUARES[:50]
    assert list(session.map(plus_one, range(50))) == list(range(1, 51))


def test_of_what_has_no_end(session: Session) -> None:
    with closing(session.stream(m.square.map(itertools.count()))) as results:  # type: ignore[type-var]
        assert list(itertools.islice(results, N)) == SQUARES
    assert session.run(m.square(3)) == 9, "the session goes on"
    for x, value in enumerate(session.stream(m.square.map(itertools.count()))):
        assert value == x * x
        if x == 100:
            break
    gc.collect()
    assert session.run(m.square(3)) == 9


class Numbers:
    """Says how many of its numbers nobody has got the results of."""

    def __init__(self) -> None:
        self.taken = self.got = self.most = 0

    def __iter__(self) -> Iterator[int]:
        for x in itertools.count():
            self.taken += 1
            self.most = max(self.most, self.taken - self.got)
            yield x


def test_no_more_is_taken_than_is_got(session: Session) -> None:
    numbers, count = Numbers(), 150_000
    with closing(session.stream(m.square.map(numbers))) as results:  # type: ignore[type-var]
        for value in itertools.islice(results, count):
            assert value == numbers.got * numbers.got
            numbers.got += 1
    # What is cut into spans, and what was handed out together.
    assert numbers.most <= UNDER_WAY + 2 * MOST
    assert not session._driver.graph.nodes


def test_nodes_of_spans_are_let_go(session: Session) -> None:
    nodes, most = session._driver.graph.nodes, 0
    for _ in session.stream(m.square.map(range(50_000))):
        most = max(most, len(nodes))
    assert most < 500


def test_an_element_that_fails(session: Session) -> None:
    got: list[int] = []
    with pytest.raises(ValueError, match="37 is not welcome") as caught:
        got.extend(session.stream(m.picky.map(range(99))))
    error: Any = caught.value
    assert isinstance(error, errors.TaskError)
    assert error.index == 37
    assert got == list(range(len(got)))
    assert session.run(m.square(3)) == 9


def test_keep_going(backend: str) -> None:
    with Session(backend, 2, keep_going=True) as session:
        got: dict[int, Any] = {}
        with pytest.raises(errors.RunFailed) as caught:
            got.update(session.as_completed(m.picky.map(range(250))))
        assert sorted(got) == list(range(250))
        assert [x for x, value in sorted(got.items()) if value != x] == [37, 137, 237]
        assert all(isinstance(got[x], ValueError) for x in (37, 137, 237))
        assert len(caught.value.failures) == 3
        assert list(session.stream(m.square.map(range(9)))) == SQUARES[:9]


def test_what_is_no_map_is_refused(session: Session) -> None:
    for target in (m.square(1), [m.square.map([1])], m.square.map([1])[0], m.total):
        with pytest.raises(errors.UsageError, match=r"is no map: give what task\.map\(\) returned"):
            next(session.stream(target))  # type: ignore[arg-type]


def test_others_run_beside_it(session: Session) -> None:
    got = []
    for value in session.stream(m.square.map(range(N))):
        got.append(value)
        if len(got) == 10:
            assert session.run(m.square(9)) == 81
            assert session.submit(m.square(8)).result() == 64
        if len(got) == 20:
            beside = session.stream(m.square.map(range(N)))
            assert list(beside) == SQUARES
    assert got == SQUARES
    session._wheel.wait_until_idle()
    assert not session._driver.graph.nodes


@task
def submits_beside(x: int) -> int:
    """Something else is asked for in the moment in which this ends."""
    other = threading.Thread(target=lambda: s.HERE["futures"].append(s.HERE["submit"](s.double(x))))
    other.start()
    other.join()
    return x


@pytest.mark.parametrize("many", [1, 3])
def test_it_ends_also_as_others_begin(backend: str, many: int) -> None:
    if backend not in ("serial", "threads"):
        pytest.skip("its tasks do not see the session")
    with Session(backend, 1) as session:
        s.HERE.update(session=session, submit=session.submit, futures=[])
        assert list(session.stream(submits_beside.map(range(many)))) == list(range(many))
        found = [future.result(s.LONG) for future in s.HERE["futures"]]
        assert found == [2 * x for x in range(many)]
    s.HERE.clear()


def test_no_more_is_taken_than_is_got_also_beside_others(session: Session, tmp_path: Path) -> None:
    numbers, gate = Numbers(), tmp_path / "gate"
    other = session.submit(m.waits(str(gate)))
    if session._unit == "worker" and session._driver.slots == 1:
        gate.touch()
    with closing(session.stream(m.square.map(numbers))) as results:  # type: ignore[type-var]
        for value in itertools.islice(results, 50_000):
            assert value == numbers.got * numbers.got
            numbers.got += 1
        assert numbers.most <= UNDER_WAY + 2 * MOST
    gate.touch()
    assert other.result() is None
    assert session.run(m.square(3)) == 9


def test_a_session_that_is_closed_ends_it(backend: str) -> None:
    with Session(backend, 2) as session:
        results = session.stream(m.square.map(itertools.count()))
        assert next(results) == 0
    with pytest.raises(errors.BackendClosed):
        for _ in results:
            pass


def test_it_can_be_interrupted(session: Session) -> None:
    results = session.stream(m.square.map(itertools.count()))
    assert next(results) == 0
    session.cancel()
    with pytest.raises(errors.Cancelled):
        for _ in results:
            pass
    assert session.run(m.square(1)) == 1


def test_observers_see_a_run(backend: str) -> None:
    watching = Watching()
    with Session(backend, 2, observers=[watching]) as session:
        assert list(session.stream(m.square.map(range(N)))) == SQUARES
        assert watching.counts == {"done": 1, "failed": 0, "skipped": 0, "cancelled": 0}
        kinds = [one.kind for one in watching.events if one.kind != "progress"]
        assert kinds == ["added", "submitted", "done"]


def test_temporary_files_are_the_callers(session: Session) -> None:
    paths = list(session.stream(m.writes.map(range(50))))
    assert [int(path.read_text()) for path in paths] == list(range(50))

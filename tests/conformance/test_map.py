"""A map gives what as many tasks would give, on each backend."""

from __future__ import annotations

import gc
import itertools
import pickle
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Session, errors, run
from fancypipe_core._engine.spans import MOST, UNDER_WAY
from fancypipe_core._worker.runner import Runner
from fancypipe_core.backend import Cut, Ok, Payload
from fancypipe_core.hooks import Outcome, RunInfo, TaskEvent, hookimpl
from tests.conformance import conftest
from tests.conformance import mapped as m
from tests.conformance.outcomes import shares_memory

BACKENDS = (*conftest.BACKENDS, "remote")
N = 1000
SQUARES = [x * x for x in range(N)]


def error_of(session: Session, target: Any) -> Any:
    with pytest.raises(errors.FancyPipeError) as caught:
        session.run(target)
    return caught.value


# ---- what can be mapped ----


@pytest.mark.parametrize(
    "make",
    [
        lambda: range(N),
        lambda: list(range(N)),
        lambda: tuple(range(N)),
        lambda: (x for x in range(N)),
        lambda: iter(range(N)),
        lambda: dict.fromkeys(range(N)),
        lambda: np.arange(N),
    ],
    ids=["range", "list", "tuple", "generator", "iterator", "dict", "array"],
)
def test_all_that_can_be_iterated_over(session: Session, make: Any) -> None:
    assert session.run(m.square.map(make())) == SQUARES


def test_few_and_none(session: Session) -> None:
    assert session.run(m.square.map([])) == []
    assert session.run(m.square.map(iter(()))) == []
    assert session.run(m.square.map([3])) == [9]


def test_several_iterables_and_what_is_the_same_for_all(session: Session) -> None:
    assert session.run(m.square.map([1, 2, 3], [10, 20, 30])) == [11, 24, 39]
    assert session.run(m.square.map(range(3), itertools.islice(itertools.count(), 3))) == [0, 2, 6]
    assert session.run(m.square.map(range(N), plus=1)) == [x + 1 for x in SQUARES]


def test_a_class(session: Session) -> None:
    assert session.run(m.Powers.map(range(50), to=3)) == [x**3 for x in range(50)]


def test_references(session: Session) -> None:
    assert session.run(m.square.map(m.numbers(N))) == SQUARES
    assert session.run(m.square.map(m.square.map(range(N)))) == [x * x for x in SQUARES]
    assert session.run(m.total(m.square.map(range(N)))) == sum(SQUARES)
    assert session.run(m.square.map(range(N))[7]) == 49
    one = m.square(3)
    refs = [m.square(1), m.square(2), 5, one]
    assert session.run(m.square.map(refs, plus=one)) == [10, 25, 34, 90]
    assert session.run({"a": m.square.map([1, 2]), "b": one}) == {"a": [1, 4], "b": 9}


def test_references_in_elements_are_run_once(session: Session) -> None:
    made = [m.pid(x) for x in range(30)]
    first, second = session.run([m.total.map([[one] for one in made]), list(made)])
    assert first == second


def test_elements_that_return_references(session: Session) -> None:
    assert session.run(m.nested.map(range(99))) == [x * x if x % 2 else x for x in range(99)]


def test_a_span_of_all_kinds(session: Session) -> None:
    """What had values before one failed is kept, also references."""
    expected = [x * x if x % 100 == 60 else x for x in range(N)]
    assert session.run(m.mixed.map(range(N))) == expected
    assert sorted(session.as_completed(m.mixed.map(range(N)))) == list(enumerate(expected))


def test_modules(session: Session) -> None:
    assert session.run(m.composed.map(range(99), plus=1)) == [x * x + 1 for x in range(99)]
    assert session.run(m.twice(20)) == [x**4 for x in range(20)]


def test_inside_of_tasks(session: Session) -> None:
    assert session.run(m.inside(N)) == sum(SQUARES)
    assert session.run(m.makes(N)) == [x + 1 for x in SQUARES]
    assert session.run(m.inside.map(range(20))) == [sum(SQUARES[:n]) for n in range(20)]


# ---- results are as those of tasks ----


def test_results_of_all_kinds(session: Session) -> None:
    assert session.run(m.counted.map(range(50))) == [{x: 1} for x in range(50)]
    got = session.run(m.outputs.map(range(50)))
    assert [(one.a, one.b) for one in got] == [(x, [x]) for x in range(50)]
    arrays = [np.full(3, x) for x in range(20)] + [np.full(10_000, x) for x in range(20)]
    squares = session.run(m.square.map(arrays))
    assert all(np.array_equal(got, one * one) for got, one in zip(squares, arrays, strict=True))


def test_no_element_sees_what_another_changed(session: Session) -> None:
    assert session.run(m.appended.map(range(200), table=[])) == [1] * 200
    shared = [0]
    assert session.run(m.changed.map([shared] * 200)) == [[0, 1]] * 200
    assert shared == [0]


def test_no_element_leaves_anything_to_another(session: Session) -> None:
    assert len(set(session.run(m.messy.map(range(200))))) > 190


def test_each_element_has_a_context_of_its_own(session: Session) -> None:
    assert session.run(m.in_context.map(range(300))) == [(-1, 28)] * 300
    assert session.run(m.in_context(1)) == (-1, 28)


def test_each_element_knows_its_index(session: Session) -> None:
    assert session.run(m.index_of.map(range(5, 305))) == list(range(300))
    assert session.run(m.index_alone()) is None


def test_temporary_files_of_elements_are_apart(session: Session) -> None:
    assert session.run(m.reads(m.writes.map(range(100)))) == list(range(100))
    paths = session.run(m.writes.map(range(100)))
    assert [int(path.read_text()) for path in paths] == list(range(100))


# ---- failures ----


def test_the_error_names_the_element(session: Session) -> None:
    error = error_of(session, m.picky.map(range(99)))
    assert isinstance(error, ValueError)
    assert isinstance(error, errors.TaskError)
    assert (error.index, error.task, error.inputs) == (37, "picky.map/37", "x=37")
    assert "picky.map/37 (x=37) failed: ValueError: 37 is not welcome" in str(error)
    assert session.run(m.square.map([2])) == [4]


def test_sys_exit_is_the_elements_own(session: Session) -> None:
    error = error_of(session, m.exits.map(range(99)))
    assert isinstance(error, errors.TaskError)
    assert error.index == 37


def test_retries_are_for_each_element(session: Session) -> None:
    got = session.run(m.in_the_end.map(range(99)))
    assert [x for x, _ in got] == list(range(99))
    assert got[37] == (37, 3)
    assert session.run(m.after_a_delay.map(range(99))) == list(range(99))


def test_what_cannot_be_sent_is_named(session: Session) -> None:
    if not shares_memory(session):
        error = error_of(session, m.unsendable.map(range(99)))
        assert isinstance(error, errors.EncodeError)
        assert isinstance(error, errors.TaskError)
        assert error.index == 37
    generator = (x for x in range(3))
    error = error_of(session, m.square.map([1, 2, generator, 4]))
    assert isinstance(error, errors.EncodeError)
    assert "square.map/2" in str(error)
    assert error.path == "inputs['x']"


@pytest.mark.fault(92)
def test_keep_going(backend: str) -> None:
    with pytest.raises(errors.RunFailed) as caught:
        run(m.picky.map(range(250)), m.square(3), backend=backend, workers=2, keep_going=True)
    failed = caught.value
    results, nine = failed.results
    assert nine == 9
    assert sorted(one.index or 0 for one in failed.failures) == [37, 137, 237]
    assert len(results) == 250
    for index, value in enumerate(results):
        if index % 100 == 37:
            assert isinstance(value, ValueError)
            assert id(value) in map(id, failed.failures)
        else:
            assert value == index
    assert "3 of the tasks failed" in str(failed)


def test_keep_going_where_elements_need_tasks_that_failed(backend: str) -> None:
    refs = [m.picky(x) for x in (1, 37, 2)]
    with pytest.raises(errors.RunFailed) as caught:
        run(
            m.square.map(refs), m.fails_below.map(refs), backend=backend, workers=2, keep_going=True
        )
    for results in caught.value.results:
        assert isinstance(results[1], errors.DependencyFailed)
        assert results[1].index == 1
        assert results[0] == 1
    assert caught.value.results[0][2] == 4


def test_who_needs_a_map_that_failed_does_not_run(backend: str) -> None:
    with pytest.raises(errors.RunFailed) as caught:
        run(m.total(m.picky.map(range(99))), backend=backend, workers=2, keep_going=True)
    assert isinstance(caught.value.results, errors.DependencyFailed)
    assert caught.value.results.root == "picky.map/37"


@pytest.mark.parametrize("at", [20, 5000])
def test_a_worker_that_stops_where_no_element_is(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Nothing of what it says is taken for a result."""

    def lies(*_: Any) -> Cut:
        return Cut(at, Ok((Payload(pickle.dumps([0] * at)),)), None)

    with Session("serial", 1) as session:
        assert session.run(m.square.map(range(20))) == SQUARES[:20]
        monkeypatch.setattr(Runner, "_run_span", lies)
        error = error_of(session, m.square.map(range(20)))
        assert isinstance(error, errors.ProtocolError)
        assert "cannot stop at" in str(error)
        monkeypatch.undo()
        assert session.run(m.square.map(range(20))) == SQUARES[:20]


# ---- what cannot be mapped ----


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: m.square.map(3), "argument 1 is a int, and cannot be iterated over"),
        (lambda: m.square.map([1], [1, 2]), "have 1 and 2 elements"),
    ],
)
def test_it_is_refused_at_once(make: Any, said: str) -> None:
    with pytest.raises(errors.GraphError, match=said):
        make()


def test_inputs_that_do_not_fit_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="task square"):
        m.square.map([1], [2], [3])
    with pytest.raises(TypeError, match="task square"):
        m.square.map([1], time=3)


def test_lengths_that_come_to_differ(session: Session) -> None:
    error = error_of(session, m.square.map(range(20), (x for x in range(10))))
    assert isinstance(error, errors.GraphError)
    assert "argument 2 ended after 10 elements" in str(error)


def test_a_reference_to_what_is_no_list(session: Session) -> None:
    error = error_of(session, m.square.map(m.square(2)))
    assert isinstance(error, errors.GraphError)
    assert "argument 1 refers to a int" in str(error)


def test_an_iterator_can_be_used_once(session: Session) -> None:
    mapped = m.square.map(x for x in range(10))
    assert session.run(mapped) == SQUARES[:10]
    error = error_of(session, mapped)
    assert isinstance(error, errors.GraphError)
    assert "used up" in str(error)
    listed = m.square.map(range(10))
    assert session.run(listed) == session.run(listed) == SQUARES[:10]


def broken() -> Iterator[int]:
    yield from range(50)
    raise LookupError("the source has dried up")


def test_a_generator_that_fails(session: Session) -> None:
    with pytest.raises(LookupError, match="dried up") as caught:
        session.run(m.square.map(broken()))
    error: Any = caught.value
    assert isinstance(error, errors.TaskError)
    assert error.task == "square.map"
    assert "test_map.py" in error.where
    assert session.run(m.square(2)) == 4


# ---- one task, whatever its size ----


class Watching:
    """Keeps what observers are told."""

    def __init__(self) -> None:
        self.events: list[TaskEvent] = []
        self.counts: dict[str, int] = {}

    @hookimpl
    def fancypipe_task_events(self, events: list[TaskEvent]) -> None:
        self.events += events

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        self.counts = dict(outcome.counts)


def test_observers_see_one_task(backend: str) -> None:
    watching = Watching()
    run(m.square.map(range(N)), backend=backend, workers=2, observers=[watching])
    kinds = [(one.kind, one.name) for one in watching.events if one.kind != "progress"]
    assert kinds == [(kind, "square.map") for kind in ("added", "submitted", "done")]
    progress = [one for one in watching.events if one.kind == "progress"]
    assert progress
    assert all(one.total == N and one.done <= N for one in progress if one.done is not None)
    assert watching.counts["done"] == 1


def test_observers_see_the_element_that_failed(backend: str) -> None:
    watching = Watching()
    with pytest.raises(errors.RunFailed):
        run(
            m.picky.map(range(99)),
            backend=backend,
            workers=2,
            observers=[watching],
            keep_going=True,
        )
    told = [(one.kind, one.path, one.inputs) for one in watching.events if one.name == "picky"]
    assert told == [("added", "", ""), ("failed", "picky.map/37", "x=37")]
    ends = [(one.kind, one.name) for one in watching.events if one.kind in ("failed", "done")]
    assert sorted(ends) == [("failed", "picky"), ("failed", "picky.map")]


class Counted:
    """Counts how many of its kind are alive."""

    alive = 0
    most = 0

    def __init__(self, x: int) -> None:
        self.x = x
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)

    def __del__(self) -> None:
        Counted.alive -= 1

    def __reduce__(self) -> Any:
        return (int, (self.x,))


def test_a_generator_is_taken_as_there_is_room(session: Session) -> None:
    gc.collect()
    Counted.alive = Counted.most = 0
    count = 100_000
    got = session.run(m.square.map(Counted(x) for x in range(count)))
    assert got == [x * x for x in range(count)]
    gc.collect()
    assert Counted.alive <= 1, "the elements are let go"
    assert Counted.most <= UNDER_WAY + MOST + 1, f"{Counted.most} elements at the same time"


def test_no_node_for_each_element(session: Session) -> None:
    submitted: list[Any] = []
    backend: Any = session._driver.backend
    submit = backend.submit

    def counting(jobs: Any) -> None:
        submitted.extend(jobs)
        submit(jobs)

    backend.submit = counting
    try:
        session.run(m.square.map(range(20_000)))
    finally:
        backend.submit = submit
    assert len(submitted) < 2000
    assert not session._driver.graph.nodes


def test_a_map_in_a_message_has_its_name(session: Session) -> None:
    assert re.fullmatch(
        r"<task square.map, made at tests/conformance/test_map.py:\d+>", repr(m.square.map([1]))
    )

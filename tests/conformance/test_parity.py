"""The same pipelines on every backend, with the same results."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Outputs, Session, current, errors, run, task
from tests.conformance import pipelines as p


def test_the_pipeline_of_the_readme(session: Session) -> None:
    assert session.run(p.sum_of_squares()) == 25
    assert session.run(p.sum_of_squares(5, x2=6)) == 61


def test_several_targets_and_any_shape(session: Session) -> None:
    shared = p.square(3)
    value = session.run({"a": [shared, (shared, 1)], "b": p.Point(shared, p.Frozen(shared))}, 7)
    assert value == ({"a": [9, (9, 1)], "b": p.Point(9, p.Frozen(9))}, 7)
    assert session.run(p.Pair(shared, {shared})) == p.Pair(9, {9})
    assert session.run(5) == 5


def test_references_at_any_depth_of_inputs(session: Session) -> None:
    value = {"k": [p.square(2), (p.Point(p.square(3)), p.Frozen({p.square(4)}))], p.square(5): 1}
    expected = {"k": [4, (p.Point(9), p.Frozen({16}))], 25: 1}
    assert session.run(p.same(value)) == expected
    assert session.run(p.same(Outputs(a=p.square(2), b=p.Pair(1, p.square(3))))) == Outputs(
        a=4, b=p.Pair(1, 9)
    )


def test_items_and_operators(session: Session) -> None:
    a, b = p.square(3), p.square(2)
    pair = p.same([a, {"k": b}])
    assert session.run(pair[0], pair[1]["k"], p.same(pair[1])["k"]) == (9, 4, 4)
    assert session.run(a + b, a - 1, 100 - a, a * b, a / b, a // b, a % b, 2**b, -a, abs(-a)) == (
        13, 8, 91, 36, 2.25, 2, 1, 16, -9, 9,
    )  # fmt: skip
    assert session.run(a > b, a < b, a == 9, a != 9, a >= 9, a <= 8) == (
        True, False, True, False, True, False,
    )  # fmt: skip
    assert session.run(p.same([10, 20, 30])[p.same(1)]) == 20


def test_outputs_are_carried_each_on_its_own(session: Session) -> None:
    parts = p.split(8.0)
    assert session.run(parts["half"], p.add(parts["double"], 1), parts["parts"][1]["deep"]) == (
        4.0, 17.0, 8.0,
    )  # fmt: skip
    assert session.run(parts).half == 4.0
    later = p.split_later(3.0)
    assert session.run(later["sum"], p.same(later["square"]), later["plain"]) == (12.0, 9.0, 3.0)
    assert session.run(p.same(later)) == Outputs(square=9.0, plain=3.0, sum=12.0)


def test_classes_and_their_attributes(session: Session) -> None:
    assert session.run(p.Scale(4), p.Scale(4, factor=p.square(2))) == (8, 16)
    assert session.run(p.Keeps(1, {"ref": p.square(3)})) == (1, {"ref": 9})
    assert session.run(p.Sums(5)) == 30
    assert session.run(p.renamed()) == "a better name"


def test_modules_nest(session: Session) -> None:
    value = session.run(p.outer(3))
    assert value["count"] == 3
    assert [(m.sum, m.list) for m in value["all"]] == [(0, [0, 0]), (2, [1, 0]), (8, [4, 1])]


@pytest.mark.fault(21)
def test_dynamic_sub_graphs(session: Session) -> None:
    assert session.run(p.fib(10), p.down(30)) == (55, 30)
    assert session.run(p.nest(2)) == {
        "n": 2, "inner": [{"n": 1, "inner": [{"n": 0}, (1,)]}, (4,)],
    }  # fmt: skip
    assert session.run(p.decides(3)) == [0, 1, 4, 9, 16, 25, 36, 49, 64]


def test_a_module_that_a_task_made_runs_in_the_client(session: Session) -> None:
    client, worker, value = session.run(p.makes_module(2))
    assert client == os.getpid() + 2
    assert value == 8
    assert (worker == os.getpid()) == (session.settings.backend != "procs")


@pytest.mark.fault(21)
def test_results_inside_modules_and_tasks(session: Session) -> None:
    assert session.run(p.waits_inside(3)) == 11
    assert session.run(p.fails_inside(4)) == 4
    assert session.run(p.catches(5)) == 25
    assert session.run(p.nested_waits(5)) == 5


def test_a_task_runs_once(session: Session, tmp_path: Path) -> None:
    marked = p.mark(str(tmp_path / "marks"))
    assert session.run([marked, p.add(marked, marked), p.same({"m": marked})]) == [1, 2, {"m": 1}]
    assert session.run(p.waits_twice(3)) == 90


def test_only_what_is_asked_for_runs(session: Session, tmp_path: Path) -> None:
    p.mark(str(tmp_path / "never"))
    assert session.run(p.same([p.square(1)])[0]) == 1
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("depth", [1000])
@pytest.mark.fault(21)
def test_deep_recursion_with_one_worker(single: Session, depth: int) -> None:
    assert single.run(p.down(depth)) == depth


@pytest.mark.fault(21)
def test_fibonacci_with_one_worker(single: Session) -> None:
    assert single.run(p.fib(18)) == 2584


def test_wide_fan_in(single: Session) -> None:
    assert single.run(p.total([p.square(i) for i in range(5000)])) == sum(
        i * i for i in range(5000)
    )


def test_code_without_a_name(session: Session) -> None:
    offset = 5

    class Local:
        def __init__(self, value: Any) -> None:
            self.value = value

    class LocalError(Exception):
        pass

    @task
    def shifted(x: Any) -> Any:
        return Local(x + offset)

    @task
    def raises_local() -> None:
        raise LocalError("local")

    assert session.run(p.call(lambda x: x + offset, 2)) == 7
    made = session.run(shifted(1))
    assert type(made) is Local
    assert made.value == 6
    assert type(session.run(p.same(Local(p.square(3))))) is Local
    with pytest.raises(LocalError, match="local"):
        session.run(raises_local())


def test_values_that_people_have(session: Session) -> None:
    values = [
        None, True, 3, 2.5, 1j, "text", b"bytes", [1], (1, 2), {"a": 1}, {1, 2}, frozenset({3}),
        p.Point(1, 2), p.Pair(1, 2), p.Colour.RED, Path("a/b"), range(3), slice(1, 2), 10**50, ...,
    ]  # fmt: skip
    assert session.run([p.same(value) for value in values]) == values


def test_arrays(session: Session) -> None:
    big = np.arange(600_000, dtype=np.float32).reshape(3, -1)
    assert session.run(p.array_sum(p.array(100_000))) == float(np.arange(100_000).sum())
    back = session.run(
        p.same({"a": big, "t": big.T, "small": np.ones(3), "empty": np.ones((0, 2))})
    )
    np.testing.assert_array_equal(back["a"], big)
    np.testing.assert_array_equal(back["t"], big.T)
    assert back["a"].dtype == np.float32
    assert back["empty"].shape == (0, 2)


@pytest.mark.fault(1, 3)
def test_a_failure_is_told_as_it_was(session: Session) -> None:
    with pytest.raises(p.CustomError) as caught:
        session.run(p.add(p.raises(7), 1))
    error = caught.value
    assert isinstance(error, errors.TaskError)
    assert error.code == 7
    assert error.task == "raises"
    assert error.attempt == 1
    assert error.where.rsplit(":", 1)[0] == p.__file__
    assert type(error.__cause__) is p.CustomError
    assert "raises (code=7) failed: CustomError: custom (7)" in str(error)
    traceback = error.__cause__.__traceback__
    assert traceback is not None
    assert traceback.tb_frame.f_code.co_name == "raises"


@pytest.mark.fault(2, 4)
def test_chains_and_odd_exceptions_come_back(session: Session) -> None:
    with pytest.raises(RuntimeError, match="outer") as caught:
        session.run(p.raises_chain())
    cause = caught.value.__cause__
    assert isinstance(cause, RuntimeError)
    assert isinstance(cause.__cause__, KeyError)
    with pytest.raises(errors.TaskError, match="LockedError: holds a lock"):
        session.run(p.raises_locked())
    with pytest.raises(errors.TaskError, match="ShyError"):
        session.run(p.raises_shy())
    with pytest.raises(ValueError, match="xxxxxxxxxx") as long:
        session.run(p.raises_long())
    assert len(str(long.value)) < 2000
    with pytest.raises(ZeroDivisionError):
        session.run(p.raises_deep(200))
    with pytest.raises(errors.TaskError, match="RecursionError"):
        session.run(p.raises_deep(100_000))


@pytest.mark.fault(14)
def test_exits_and_interrupts_are_failures_like_others(session: Session) -> None:
    with pytest.raises(errors.TaskError, match="SystemExit: 3"):
        session.run(p.exits(3))
    with pytest.raises(errors.TaskError, match="KeyboardInterrupt"):
        session.run(p.interrupts())
    assert session.run(p.square(2)) == 4


@pytest.mark.fault(1)
def test_retries(session: Session) -> None:
    assert session.run(p.works_on(3)) == 3
    with pytest.raises(OSError, match="not yet") as caught:
        session.run(p.works_on(4))
    assert isinstance(caught.value, errors.TaskError)
    assert caught.value.attempt == 3
    assert caught.value.errno == 5


def test_missing_outputs_and_items(session: Session) -> None:
    for target in (
        p.asks_for_missing(),
        p.split(1.0)["nosuch"],
        p.same({"a": 1})["b"],
        p.same([1])[5],
    ):
        with pytest.raises(errors.GraphError):
            session.run(target)
    assert session.run(p.square(2)) == 4


def test_a_reference_that_waits_for_itself(session: Session) -> None:
    circle: list[Any] = []
    instance = p.same(circle)
    circle.append(instance)
    with pytest.raises(errors.GraphError, match="same -> same"):
        session.run(instance)
    assert session.run(p.square(2)) == 4


@pytest.mark.fault(1)
def test_keep_going(backend: str, tmp_path: Path) -> None:
    good = [p.mark(str(tmp_path / str(i))) for i in range(20)]
    with pytest.raises(errors.RunFailed) as caught:
        run(
            [*good, p.raises(1), p.add(p.raises(2), 1)], backend=backend, workers=2, keep_going=True
        )
    assert len(list(tmp_path.iterdir())) == 20
    assert sorted(failure.code for failure in caught.value.failures) == [1, 2]  # type: ignore[attr-defined]
    assert caught.value.skipped == 1


def test_a_failed_run_that_went_on_hands_out_what_there_is(backend: str) -> None:
    failed = p.raises(1)
    targets = {"good": [p.square(i) for i in range(20)], "bad": failed, "item": failed[0]}
    with pytest.raises(errors.RunFailed) as caught:
        run(targets, p.add(failed, 1), backend=backend, workers=2, keep_going=True)
    results, skipped = caught.value.results
    assert results["good"] == [i * i for i in range(20)]
    assert results["bad"] is results["item"] is not None
    assert isinstance(results["bad"], errors.TaskError)
    assert results["bad"].code == 1  # type: ignore[attr-defined]
    assert isinstance(skipped, errors.DependencyFailed)
    assert skipped.root == "raises"
    assert "did not run: it needs task raises, which failed" in str(skipped)
    assert skipped.__cause__ is not None


def test_the_context(session: Session) -> None:
    assert session.run(p.who()) == ("who", 1)
    with pytest.raises(errors.UsageError, match="no task runs"):
        current()


def test_temporary_files_live_as_long_as_their_values(session: Session) -> None:
    written = p.write("text")
    name = p.text_of(written)
    assert session.run(p.read(written), p.read(p.same([written])[0])) == ("text", "text")
    assert Path(session.run(name)).read_text() == "text", "the caller has its name"
    kept = session.run(written)
    assert kept.read_text() == "text"
    folder = session.run(p.write_in_folder("deep"))["folder"]
    assert (folder / "a.txt").read_text() == "deep"


def test_temporary_files_are_there_for_the_tasks_that_a_task_returns(session: Session) -> None:
    assert session.run(p.writes_for_others("a", "b")) == "ab"


def test_sessions_are_not_entered_twice_and_end(backend: str) -> None:
    with Session(backend, 1) as session:
        assert session.run(p.square(2)) == 4
    with pytest.raises(errors.BackendClosed):
        session.run(p.square(2))
    session.close()


def test_a_session_serves_threads_one_after_the_other(backend: str) -> None:
    results: list[Any] = []
    with Session(backend, 2) as session:
        threads = [
            threading.Thread(target=lambda i=i: results.append(session.run(p.square(i))))
            for i in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(results) == [0, 1, 4, 9, 16]

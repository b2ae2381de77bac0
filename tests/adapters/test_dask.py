"""Collections of dask on our backends: the same values as dask's own schedulers give."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Session, errors

dask = pytest.importorskip("dask", reason="dask is not installed")
pytest.importorskip("dask.array", reason="dask[array] is not installed")

import dask.array as da  # noqa: E402
import dask.bag as db  # noqa: E402
from dask._task_spec import Task, TaskRef  # noqa: E402

from fancypipe_core.adapters.dask import get  # noqa: E402


@pytest.fixture(params=["serial", "threads"])
def on(request: pytest.FixtureRequest) -> Iterator[Any]:
    with Session(request.param, 2) as session:
        yield partial(get, session=session)


def test_all_of_it_on_processes() -> None:
    """In one test, since each new worker imports dask."""
    with Session("procs", 2) as session:
        on = partial(get, session=session)
        test_an_array(on)
        test_a_bag(on)
        test_delayed_calls_and_several_at_once(on)
        test_keys_stand_as_they_are_asked_for(on)
        test_a_long_chain(on)
        test_what_a_node_raises(on)


def test_an_array(on: Any) -> None:
    x = da.from_array(np.arange(10_000).reshape(100, 100), chunks=50)
    y = ((x + x.T) * x).sum(axis=0)
    assert np.array_equal(y.compute(scheduler=on), y.compute(scheduler="sync"))


def test_an_array_of_ours_is_cut(on: Any) -> None:
    ours = np.arange(1000.0)
    cut: Any = da.from_array(ours, chunks=100)
    assert cut.mean().compute(scheduler=on) == ours.mean()


def test_a_bag(on: Any) -> None:
    bag = db.from_sequence(range(1000), npartitions=10).map(_rest).frequencies()
    assert sorted(bag.compute(scheduler=on)) == sorted(bag.compute(scheduler="sync"))


def test_a_dataframe(on: Any) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    dd = pytest.importorskip("dask.dataframe", reason="dask[dataframe] is not installed")
    frame = pd.DataFrame({"a": range(1000), "b": np.arange(1000) % 5})
    means = dd.from_pandas(frame, npartitions=7).groupby("b").a.mean()
    assert means.compute(scheduler=on).equals(frame.groupby("b").a.mean())


def test_delayed_calls_and_several_at_once(on: Any) -> None:
    parts = [dask.delayed(_rest)(n) for n in range(20)]
    total, first = dask.delayed(sum)(parts), parts[3]
    assert dask.compute(total, first, 5, scheduler=on) == (sum(n % 7 for n in range(20)), 3, 5)


def test_it_is_dasks_scheduler_as_long_as_it_is_set(on: Any) -> None:
    with dask.config.set(scheduler=on):
        assert da.ones(100, chunks=10).sum().compute() == 100


GRAPH: dict[Any, Any] = {
    "one": 1,
    "other": "one",
    ("x", 0): (sum, ["one", "other", 5]),
    ("x", 1): (sum, [("x", 0), 1]),
    "never": (os._exit, 3),
}


def test_keys_stand_as_they_are_asked_for(on: Any) -> None:
    assert on(GRAPH, "other") == 1
    assert on(GRAPH, ("x", 1)) == 8
    assert on(GRAPH, [[("x", 0), "one"], [("x", 1)]]) == ((7, 1), (8,))
    assert on(GRAPH, [("x", 1)], optimize_graph=False) == (8,)


def test_a_long_chain(on: Any) -> None:
    graph: dict[Any, Any] = {"n0": 7} | {f"n{n}": (abs, f"n{n - 1}") for n in range(1, 3000)}
    assert on(graph, "n2999", optimize_graph=False) == 7


def test_what_a_node_raises(on: Any) -> None:
    with pytest.raises(ZeroDivisionError, match="task divide") as caught:
        dask.delayed(_divide)(1, 0).compute(scheduler=on)
    assert isinstance(caught.value, errors.TaskError)


def test_a_graph_that_lacks_something(on: Any) -> None:
    with pytest.raises(KeyError, match="no key 'where'"):
        on(GRAPH, ["one", "where"])
    with pytest.raises(errors.UsageError, match="the graph has no 'gone'"):
        on({"b": Task("b", abs, TaskRef("gone"))}, "b")


def test_a_worker_that_dies_costs_nothing_but_its_node(tmp_path: Path) -> None:
    parts = [dask.delayed(_dies_once)(n, tmp_path / "died") for n in range(5)]
    assert dask.compute(*parts, scheduler=get, backend="procs", num_workers=2) == (0, 1, 2, 3, 4)
    assert (tmp_path / "died").exists()


def test_a_session_and_what_it_should_be_are_too_much() -> None:
    with Session("serial") as session, pytest.raises(errors.UsageError, match="either a session"):
        get(GRAPH, "one", session=session, backend="serial")


def _rest(number: int) -> int:
    return number % 7


def _divide(a: int, b: int) -> float:
    return a / b


def _dies_once(number: int, mark: Path) -> int:
    if number == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number

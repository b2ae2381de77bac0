"""joblib's `Parallel` on our backends gives what it gives on its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from joblib import Parallel, delayed, parallel_config

from fancypipe_core import Session, errors, task
from fancypipe_core.adapters import joblib as adapter

On = partial[AbstractContextManager[Any]]


@pytest.fixture(params=["serial", "threads", "procs"])
def on(request: pytest.FixtureRequest) -> Iterator[On]:
    with Session(request.param, 2) as session:
        yield partial(parallel_config, backend="fancypipe", session=session, n_jobs=2)


def test_results_come_in_order(on: On) -> None:
    with on():
        assert Parallel()(delayed(square)(n) for n in range(500)) == [n * n for n in range(500)]
        assert Parallel(batch_size=7)(delayed(square)(n) for n in range(20))[-1] == 361


def test_results_come_one_by_one(on: On) -> None:
    with on():
        ordered = Parallel(return_as="generator")(delayed(square)(n) for n in range(30))
        assert list(ordered) == [n * n for n in range(30)]
        some = Parallel(return_as="generator_unordered")(delayed(square)(n) for n in range(30))
        assert sorted(some) == [n * n for n in range(30)]


def test_an_error_is_of_its_own_class_and_the_session_goes_on(on: On) -> None:
    with on():
        with pytest.raises(ZeroDivisionError) as caught:
            Parallel()(delayed(divide)(6, n - 5) for n in range(20))
        assert isinstance(caught.value, errors.TaskError)
        assert Parallel()(delayed(divide)(6, n) for n in (1, 2, 3)) == [6, 3, 2]


def test_calls_in_a_batch_have_pools_of_joblib(on: On) -> None:
    with on():
        assert Parallel()(delayed(total)(n) for n in range(5)) == [0, 0, 1, 5, 14]


def test_what_runs_is_given_up_after_an_error(tmp_path: Path) -> None:
    with (
        Session("procs", 2) as session,
        parallel_config(backend="fancypipe", session=session, n_jobs=2),
        pytest.raises(KeyError, match="second"),
    ):
        Parallel(batch_size=1)(delayed(waits_or_fails)(n, tmp_path / "up") for n in range(2))


def test_a_time_limit_of_joblib(tmp_path: Path) -> None:
    with (
        Session("procs", 2) as session,
        parallel_config(backend="fancypipe", session=session, n_jobs=2),
        pytest.raises(multiprocessing.TimeoutError),
    ):
        Parallel(timeout=0.2)(delayed(wait)(tmp_path / "never") for _ in range(2))


def test_a_worker_that_dies_costs_its_batch_only(tmp_path: Path) -> None:
    with (
        Session("procs", 2) as session,
        parallel_config(backend="fancypipe", session=session, n_jobs=2),
    ):
        calls = (delayed(dies_once)(n, tmp_path / "died") for n in range(10))
        assert Parallel()(calls) == list(range(10))
    assert (tmp_path / "died").exists()


def test_workers_stay_for_the_next_call() -> None:
    try:
        with parallel_config(backend="fancypipe", workertype="procs", n_jobs=2):
            first = set(Parallel(batch_size=1)(delayed(pid)(n) for n in range(20)))
            again = set(Parallel(batch_size=1)(delayed(pid)(n) for n in range(20)))
        assert os.getpid() not in first
        assert len(first | again) <= 2
        with parallel_config(backend="fancypipe", workertype="threads", n_jobs=2):
            assert set(Parallel()(delayed(pid)(n) for n in range(4))) == {os.getpid()}
        for one in first:  # those of before have been closed, since others were asked for
            with pytest.raises(ProcessLookupError):
                os.kill(one, 0)
    finally:
        adapter._kept.close()


def test_one_job_needs_no_session() -> None:
    with parallel_config(backend="fancypipe", workertype="no such thing", n_jobs=1):
        assert Parallel()(delayed(square)(n) for n in range(3)) == [0, 1, 4]


def test_inside_a_task_it_is_sequential() -> None:
    with Session("procs", 1) as session:
        assert session.run(inside(4)) == [0, 1, 4, 9]


def test_how_many_at_a_time() -> None:
    backend = adapter.FancyPipeBackend()
    assert backend.effective_n_jobs(3) == 3
    assert backend.effective_n_jobs(None) == 1
    assert backend.effective_n_jobs(-1) >= 1
    with pytest.raises(ValueError, match="no meaning"):
        backend.effective_n_jobs(0)


def test_a_session_and_settings_of_one_are_too_much() -> None:
    with Session("serial") as session, pytest.raises(errors.UsageError, match="either a session"):
        adapter.FancyPipeBackend(session=session, max_losses=1)


def test_scores_of_scikit_learn_are_the_same() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.datasets import make_classification
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.svm import SVC

    x, y = make_classification(100, 5, random_state=0)
    found = []
    with Session("procs", 2) as session:
        for config in ({"n_jobs": 1}, {"n_jobs": 2, "backend": "fancypipe", "session": session}):
            with parallel_config(**config):
                grid = GridSearchCV(SVC(), {"C": [0.1, 1.0, 10.0]}).fit(x, y)
                scores = cross_val_score(SVC(), x, y)
            found.append((list(grid.cv_results_["mean_test_score"]), list(scores)))
    assert found[0] == found[1]


def square(number: int) -> int:
    return number * number


def divide(a: int, b: int) -> float:
    return a / b


def total(most: int) -> int:
    return sum(Parallel(n_jobs=2)(delayed(square)(n) for n in range(most)))


def pid(number: int) -> int:
    return os.getpid()


def wait(file: Path) -> None:
    until = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < until
        time.sleep(0.005)


def waits_or_fails(number: int, up: Path) -> None:
    if number == 0:
        up.touch()
        wait(up.with_name("never"))
    wait(up)
    raise KeyError("second")


def dies_once(number: int, mark: Path) -> int:
    if number == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@task
def inside(most: int) -> list[int]:
    with parallel_config(backend="fancypipe", n_jobs=2):
        values: list[int] = Parallel()(delayed(square)(n) for n in range(most))
    return values

"""Calls on ray that end beside one that was stopped: begun again, and no more often than that."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from time import monotonic
from typing import Any

import pytest

ray = pytest.importorskip("ray")
pytest.importorskip("fancypipe_ray")

from ray.exceptions import WorkerCrashedError  # noqa: E402 - as above

from fancypipe_core.toolkit import engine  # noqa: E402 - as above
from fancypipe_ray import _cluster  # noqa: E402 - as above


class Given(Future[Any]):
    """What ray gives for a call; the test ends it."""

    def future(self) -> Given:
        return self


class Run:
    """A function of ray's that the test runs by hand."""

    def __init__(self) -> None:
        self.given: list[Given] = []
        self.fails = False

    def remote(self, _function: Any, _argument: Any) -> Given:
        if self.fails:
            raise ray.exceptions.RaySystemError("gone")
        self.given.append(Given())
        return self.given[-1]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Any:
    calls = _cluster.RayCalls({"CPU": 1.0}, 2)
    vars(calls)["_run"] = Run()
    monkeypatch.setattr(ray, "cancel", lambda _given, **_: None)
    return calls


def test_a_worker_that_a_call_has_killed_is_told_at_once(calls: Any) -> None:
    call = calls.submit(abs, 1)
    calls._run.given[0].set_exception(WorkerCrashedError())
    with pytest.raises(WorkerCrashedError):
        call.result(0)
    assert len(calls._run.given) == 1


def test_who_dies_beside_what_was_stopped_is_called_again_and_once_only(calls: Any) -> None:
    stopped, other = calls.submit(abs, 1), calls.submit(abs, 2)
    calls.stop(stopped)
    calls._run.given[0].set_result(None)  # it has ended by itself
    calls._run.given[1].set_exception(WorkerCrashedError())
    assert stopped.result(0) is None
    assert not other.done()
    calls._run.given[2].set_exception(WorkerCrashedError())
    with pytest.raises(WorkerCrashedError):
        other.result(0)
    assert len(calls._run.given) == 3


def test_what_was_stopped_itself_is_over(calls: Any) -> None:
    stopped = calls.submit(abs, 1)
    calls.stop(stopped)
    calls._run.given[0].set_exception(WorkerCrashedError())
    with pytest.raises(WorkerCrashedError):
        stopped.result(0)


def test_a_kill_of_long_ago_spares_nobody(calls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, other = calls.submit(abs, 1), calls.submit(abs, 2)
    calls.stop(stopped)
    later = monotonic() + 100.0
    monkeypatch.setattr(engine, "monotonic", lambda: later)
    calls._run.given[1].set_exception(WorkerCrashedError())
    with pytest.raises(WorkerCrashedError):
        other.result(0)


def test_one_that_cannot_be_called_again_ends(calls: Any) -> None:
    stopped, other = calls.submit(abs, 1), calls.submit(abs, 2)
    calls.stop(stopped)
    calls._run.fails = True
    calls._run.given[1].set_exception(WorkerCrashedError())
    with pytest.raises(ray.exceptions.RaySystemError, match="gone"):
        other.result(0)


def test_a_future_of_rays_that_was_cancelled_ends_the_call(calls: Any) -> None:
    call = calls.submit(abs, 1)
    assert calls._run.given[0].cancel()
    with pytest.raises(CancelledError):
        call.result(0)

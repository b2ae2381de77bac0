"""`EngineBackend`: what backends on engines of others share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fancypipe_core.backend import BackendOptions, Note, Slots
from fancypipe_core.errors import BackendClosed
from fancypipe_core.toolkit import (
    Call,
    Calls,
    EngineBackend,
    EngineSettings,
    function_named,
)
from fancypipe_core.toolkit.store import Left
from tests.core.test_futures_contract import call, job
from tests.waiting import wait_until


class Address(NamedTuple):
    address: str | None
    resources: str = "GPU=1"


class Given(Future[Any]):
    """What this engine gives for a call; the test ends it."""


class ByHand(Calls):
    """An engine whose calls the test ends."""

    def __init__(self, takes: Mapping[str, float] = {}) -> None:
        super().__init__(takes)
        self.killed: list[Call] = []

    def begin(self, call: Call, function: Any, argument: Any) -> None:
        call.given = Given()
        call.given.add_done_callback(call.end_as)

    def size(self) -> int:
        return 7

    def runs(self, call: Call) -> bool:
        return True

    def kill(self, call: Call) -> None:
        self.killed.append(call)
        call.given.cancel()


class Threads(ByHand):
    """An engine that runs what it is given."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__()
        self.pool = pool

    def begin(self, call: Call, function: Any, argument: Any) -> None:
        call.given = self.pool.submit(function, argument)
        call.given.add_done_callback(call.end_as)


class OnThreads(EngineBackend):
    """A backend on it."""

    def __init__(self, options: BackendOptions) -> None:
        super().__init__(options, breaks=())
        self.pool = ThreadPoolExecutor(1)
        self.connected = False

    def connect(self) -> Threads:
        self.connected = True
        return Threads(self.pool)

    def disconnect(self) -> None:
        self.connected = False
        self.pool.shutdown()


@pytest.fixture
def calls() -> Iterator[ByHand]:
    calls = ByHand()
    yield calls
    calls.close()
    assert not calls.open


def test_a_call_ends_as_the_engine_says(calls: ByHand) -> None:
    fine, bad, cancelled = [calls.submit(abs, -1) for _ in range(3)]
    assert list(calls.open) == [fine, bad, cancelled], "in the order of calling"
    assert not fine.cancel(), "nothing is cancelled without being stopped"
    fine.given.set_result(1)
    bad.given.set_exception(ValueError("on purpose"))
    cancelled.given.cancel()
    assert fine.result(0) == 1
    assert isinstance(bad.exception(0), ValueError)
    assert type(cancelled.exception(0)).__name__ == "CancelledError"
    assert not calls.open


def test_a_call_that_is_over_at_once_stays_nowhere() -> None:
    with ThreadPoolExecutor(1) as pool:
        calls = Threads(pool)
        answers = [calls.submit(abs, -n) for n in range(50)]
        assert [call.result(60) for call in answers] == list(range(50))
        wait_until(lambda: not calls.open)


def test_what_is_stopped_knows_it_and_the_others_do_not(calls: ByHand) -> None:
    one, other = calls.submit(abs, 1), calls.submit(abs, 1)
    calls.stop(one)
    assert (one.stopped, other.stopped) == (True, False)
    assert calls.killed == [one]
    calls.close()
    assert calls.killed == [one, other]
    assert other.stopped


LEFT = "name", (b"head", [bytearray(b"small"), Left("one"), Left("other")])


def answered(value: Any) -> Future[Any]:
    """Return a future that is over."""
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def test_a_call_ends_when_what_its_worker_has_left_is_here(calls: ByHand) -> None:
    call, coming = Call(calls), {"one": Future[Any](), "other": Future[Any]()}
    call.end_whole(coming.__getitem__, answered(deepcopy(LEFT)))
    coming["other"].set_result(b"second")
    assert not call.done()
    coming["one"].set_result(b"first")
    parts = call.result(0)[1][1]
    assert [part.data for part in parts[1:]] == [b"first", b"second"]


def test_what_is_gone_from_where_it_was_left_ends_a_call_too(calls: ByHand) -> None:
    call, gone = Call(calls), Future[Any]()
    gone.set_exception(KeyError("gone"))
    call.end_whole({"one": gone}.__getitem__, answered(deepcopy(LEFT)))  # to ask for one raises
    assert [part.data for part in call.result(0)[1][1][1:]] == [None, None]


def test_what_is_no_answer_with_parts_ends_a_call_as_it_is(calls: ByHand) -> None:
    failed: Future[Any] = Future()
    failed.set_exception(ValueError("on purpose"))
    for answer in (failed, answered(None), answered(("name", "file"))):
        call = Call(calls)
        call.end_whole({}.__getitem__, answer)
        assert call.exception(0) is answer.exception(0)


def options_of(folder: Path, address: str | None, workers_given: bool = True) -> BackendOptions:
    given = Address(address)
    return BackendOptions(3, str(folder), lambda: None, given, workers_given)  # type: ignore[arg-type, return-value]


def make_cluster() -> list[str]:
    """Make what the test takes for a cluster."""
    return ["made"]


def test_a_cluster_is_made_once_or_is_where_the_address_says(tmp_path: Path) -> None:
    here: list[BackendOptions] = []
    for address, expected in [("host:1", "host:1"), (f"{__name__}:make_cluster", ["made"])]:
        backend = OnThreads(options_of(tmp_path, address))
        one, other = backend.cluster(here.append), backend.cluster(here.append)
        assert one == expected
        assert one is other
        assert (backend.made is one) == (expected == ["made"])
    assert not here
    own = OnThreads(options_of(tmp_path, None))
    assert own.cluster(lambda options: [options]) is own.cluster(lambda options: [options])
    assert own.resources == {"GPU": 1.0}


def test_what_a_cluster_that_is_made_here_leaves_in_its_folder_goes(tmp_path: Path) -> None:
    def make(options: BackendOptions) -> str:
        assert tmp_path in Path(options.directory).parents
        Path(options.directory, "scratch").mkdir(parents=True)
        return options.directory

    class Forgets(OnThreads):
        def disconnect(self) -> None:
            super().disconnect()
            raise ConnectionError("the engine is gone")

    backend = Forgets(options_of(tmp_path, None))
    Path(backend.cluster(make), "file").touch()
    (tmp_path / "of the session").touch()
    with pytest.raises(ConnectionError):
        backend.stop(0.0)
    assert [one.name for one in tmp_path.iterdir()] == ["of the session"]


@pytest.mark.parametrize(
    ("address", "workers_given", "slots"),
    [(None, True, 3), (None, False, 3), ("there", True, 3), ("there", False, 7)],
)
def test_a_cluster_that_is_there_knows_its_slots_unless_they_are_given(
    tmp_path: Path, address: str | None, workers_given: bool, slots: int
) -> None:
    told: list[Any] = []
    backend = OnThreads(options_of(tmp_path, address, workers_given))
    backend.start(told.extend)
    try:
        assert backend.connected
        wait_until(lambda: any(getattr(event, "count", 0) == slots for event in told))
    finally:
        backend.stop(5.0)
    assert not backend.connected


class Deserted(OnThreads):
    """A backend on an engine whose workers come and go as the test says; while there are none,
    calls wait.
    """

    def connect(self) -> Threads:
        self.calls = ComeAndGo(self.pool)
        return self.calls


class ComeAndGo(Threads):
    """An engine that begins nothing while it has no worker."""

    there = 1

    def begin(self, call: Call, function: Any, argument: Any) -> None:
        if self.there:
            super().begin(call, function, argument)
        else:
            call.given = Given()
            call.given.add_done_callback(call.end_as)

    def size(self) -> int:
        return self.there


def test_an_engine_that_has_no_worker_any_more_is_told_and_not_waited_for(tmp_path: Path) -> None:
    told: list[Any] = []
    backend = Deserted(options_of(tmp_path, None)._replace(start_limit=6.0))
    backend.start(told.extend)
    try:
        wait_until(lambda: any(isinstance(event, Slots) and event.count for event in told))
        backend.calls.there = 0
        backend.submit([job(1, call(int))])
        wait_until(lambda: any(isinstance(event, Note) for event in told))
        (note,) = [event for event in told if isinstance(event, Note)]
        assert "no worker is there, and work waits (1 under way)" in note.text
        with pytest.raises(BackendClosed, match=r"no worker for 6 s.* backend_start_limit"):
            wait_until(lambda: backend.check() == "never")
        backend.check()
    finally:
        backend.stop(0.0)


def test_an_engine_without_a_worker_is_given_work_so_that_it_gets_some(tmp_path: Path) -> None:
    for workers_given, count in ((True, 3), (False, 1)):
        backend = Deserted(options_of(tmp_path, "there", workers_given))
        backend.start(lambda _: None)
        try:
            wait_until(lambda: bool(backend._executors) and backend._executors[1].is_up)  # noqa: B023
            backend.calls.there = 0
            wait_until(lambda: not backend._executors[1].manned)  # noqa: B023
            backend.submit([job(n, call(int)) for n in range(5)])
            wait_until(lambda: len(backend.calls.open) >= count)  # noqa: B023
        finally:
            backend.stop(0.0)


def test_a_function_is_told_from_an_address() -> None:
    assert function_named("os:getpid") is os.getpid
    for address in (None, "", "host:8786", "tcp://host:1", "auto"):
        assert function_named(address) is None


def test_resources_are_read_with_the_settings() -> None:
    assert EngineSettings(resources="GPU=1").resources == "GPU=1"
    with pytest.raises(ValueError, match="-resources"):
        EngineSettings(resources="GPU")


@pytest.mark.parametrize(
    ("takes", "has", "number"),
    [
        ({"CPU": 1.0}, {"CPU": 4.0}, 4),
        ({"CPU": 1.0, "GPU": 1.0}, {"CPU": 4.0, "GPU": 2.0}, 2),
        ({"CPU": 1.0, "GPU": 1.0}, {"CPU": 4.0}, 0),
        ({"CPU": 1.0, "GPU": 0.0}, {"CPU": 4.0}, 4),
        ({"CPU": 3.0}, {"CPU": 8.0}, 2),
        ({"GPU": 0.1}, {"GPU": 0.3}, 3),  # 2.9999999999999996
        ({"GPU": 0.1}, {"GPU": 1.0}, 10),  # 1.0 // 0.1 is 9.0
        ({"CPU": 0.0}, {"CPU": 4.0}, 1),
        ({}, {}, 1),
    ],
)
def test_calls_have_room_as_often_as_what_they_take_is_there(
    takes: dict[str, float], has: dict[str, float], number: int
) -> None:
    assert ByHand(takes).room(has) == number

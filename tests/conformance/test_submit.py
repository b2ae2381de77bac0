"""Things that are submitted to a session: each is done, fails and ends for itself."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import random
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    as_completed,
    wait,
)
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors
from tests.conformance import conftest
from tests.conformance import submitted as s
from tests.conformance.test_map import Watching
from tests.remote.cluster import in_force
from tests.waiting import wait_until

BACKENDS = (*conftest.BACKENDS, "remote")
LONG = s.LONG
futures_timeout = concurrent.futures.TimeoutError  # of its own class in Python 3.10


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that lets tasks end; it is there in the end, so that nothing is left waiting."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def begun(gate: Path) -> None:
    wait_until(Path(f"{gate}.begun").exists)


@pytest.fixture
def two(backend: str) -> Iterator[Session]:
    """A session of its own, in which two tasks run at a time where the backend can."""
    with Session(backend, 2, debug=True, grace=5.0) as session:
        yield session


@pytest.fixture
def narrow(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session of its own, in which one task runs at a time."""
    folder = tmp_path_factory.mktemp("narrow")
    with (
        in_force(folder, slots=1) if backend == "remote" else nullcontext(),
        Session(backend, 1) as session,
    ):
        yield session


def can_run_beside(backend: str) -> None:
    if backend == "serial":
        pytest.skip("one task at a time")


# ---- values ----


def test_what_comes_of_it(session: Session) -> None:
    assert session.submit(s.double(3)).result(LONG) == 6
    assert session.submit([s.double(1), s.double(2)]).result(LONG) == [2, 4]
    assert session.submit(s.double(1), s.double(2)).result(LONG) == (2, 4)
    assert session.submit(s.deep(20)).result(LONG) == 2
    assert session.submit({"a": 5}).result(LONG) == {"a": 5}
    futures = [session.submit(s.double(n)) for n in range(300)]
    assert [future.result(LONG) for future in futures] == [2 * n for n in range(300)]
    session._wheel.wait_until_idle()
    assert not session._driver.graph.nodes


def test_it_is_a_future(session: Session, gate: Path) -> None:
    future = session.submit(s.waits(str(gate), 7))
    assert isinstance(future, Future)
    with pytest.raises(futures_timeout):
        future.result(0.01)
    begun(gate)
    assert future.running()
    assert not future.done()
    assert repr(future) == "<TaskFuture: running>"
    gate.touch()
    assert future.result(LONG) == 7
    assert repr(future) == "<TaskFuture: done: 7>"
    assert future.done()
    assert not future.running()
    assert not future.cancelled()
    assert not future.cancel()
    assert future.exception() is None


def test_the_tools_of_the_standard_library(session: Session, gate: Path) -> None:
    futures = [session.submit(s.double(n)) for n in range(20)]
    done, left = wait(futures, LONG)
    assert len(done) == 20
    assert not left
    assert {future.result() for future in as_completed(futures, LONG)} == set(range(0, 40, 2))
    failed = session.submit(s.fails(1))
    done, _ = wait([failed, *futures], LONG, FIRST_COMPLETED)
    assert done
    with pytest.raises(ValueError, match="1 is not welcome"):
        failed.result(LONG)
    assert isinstance(failed.exception(), errors.TaskError)
    assert repr(failed).startswith("<TaskFuture: failed: TaskError[ValueError]: task fails ")
    gate.touch()


def test_a_callback_may_submit_more(session: Session) -> None:
    ends: Future[int] = Future()

    def more(future: Future[int]) -> None:
        value = future.result()
        if value < 100:
            session.submit(s.double(value)).add_done_callback(more)
        else:
            ends.set_result(value)

    session.submit(s.double(1)).add_done_callback(more)
    assert ends.result(LONG) == 128


def test_in_a_loop_of_asyncio(session: Session, gate: Path) -> None:
    open_gate = gate.touch

    async def main() -> list[Any]:
        ones = [asyncio.wrap_future(session.submit(s.double(n))) for n in range(20)]
        values = await asyncio.gather(*ones)
        waits = asyncio.wrap_future(session.submit(s.waits(str(gate))))
        waits.cancel()
        ended = await asyncio.gather(waits, return_exceptions=True)
        open_gate()
        return [values, type(ended[0]), await asyncio.wrap_future(session.submit(s.double(4)))]

    assert asyncio.run(main()) == [[2 * n for n in range(20)], asyncio.CancelledError, 8]


def test_a_loop_that_gives_up_gives_up_the_root(two: Session, gate: Path) -> None:
    """Cancelled or timed out, alone or in a group: what only it needs goes, and no more."""
    shared = gate.with_name("shared")
    both = s.waits(str(shared), 1)
    kept = two.submit(s.add(both, 1))
    begun(shared)
    futures = [two.submit(s.add(both, s.waits(str(gate), n))) for n in range(4)]

    async def main() -> None:
        cancelled, timed, inside, grouped = map(asyncio.wrap_future, futures)
        cancelled.cancel()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(timed, 0.01)
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await inside
        else:
            inside.cancel()
        group = asyncio.gather(grouped, asyncio.wrap_future(kept))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(kept)), 0.01)
        grouped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await group

    try:
        asyncio.run(main())
        assert all(future.cancelled() for future in futures)
        assert not kept.done()
        shared.touch()
        if two._equipment.shares:
            gate.touch()  # nobody can stop what runs there
        assert kept.result(LONG) == 2
        assert two.run(s.double(2)) == 4
        two._wheel.wait_until_idle()
        assert not two._driver.graph.nodes
    finally:
        shared.touch()


def test_from_many_threads(session: Session) -> None:
    got: dict[int, list[int]] = {}

    def work(number: int) -> None:
        if number % 2:
            got[number] = [session.run(s.double(number + n)) for n in range(20)]
        else:
            futures = [session.submit(s.double(number + n)) for n in range(20)]
            got[number] = [future.result(LONG) for future in futures]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert got == {number: [2 * (number + n) for n in range(20)] for number in range(8)}
    assert session.run(s.double(1)) == 2


def test_who_drives_hands_over(two: Session, backend: str, gate: Path) -> None:
    can_run_beside(backend)
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(two.run(s.waits(str(gate), 5))))
    thread.start()
    begun(gate)
    for n in range(5):
        assert two.submit(s.double(n)).result(LONG) == 2 * n
        assert two.run(s.double(n)) == 2 * n
    assert thread.is_alive()
    gate.touch()
    thread.join(LONG)
    assert got == [5]
    assert two.run(s.double(1)) == 2


def test_while_a_module_waits_inside_its_main(two: Session, backend: str, gate: Path) -> None:
    can_run_beside(backend)
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(two.run(s.waits_inside(str(gate)))))
    thread.start()
    begun(gate)
    for n in range(5):
        assert two.submit(s.double(n)).result(LONG) == 2 * n
    later = two.submit([s.deep(3), s.double(4)])
    assert two.run(s.double(4)) == 8
    assert two.run(s.double(4), {"a": s.double(5)}) == (8, {"a": 10})
    assert two.submit([s.double(n) for n in range(300)]).result(LONG)[-1] == 598
    assert later.result(LONG) == [2, 8], "also modules"
    gate.touch()
    thread.join(LONG)
    assert got == [6]


def test_what_is_submitted_first_begins_first(narrow: Session, tmp_path: Path, gate: Path) -> None:
    first = narrow.submit(s.waits(str(gate)))
    futures = [narrow.submit(s.note(n, str(tmp_path))) for n in range(500)]
    gate.touch()
    assert [future.result(LONG) for future in futures] == list(range(500))
    assert first.result(LONG) == 0
    order = [int(n) for n in (tmp_path / "order").read_text().split()]
    assert sorted(order) == list(range(500))
    assert [n for place, n in enumerate(order) if abs(n - place) > 20] == []


def test_nothing_is_passed_for_ever(narrow: Session, tmp_path: Path, gate: Path) -> None:
    """What is taken later goes first, but not before all that has begun."""
    notes = [s.note(-n, str(tmp_path)) for n in range(1, 3001)]
    large = narrow.submit([s.waits(str(gate)), *notes])
    begun(gate)
    futures = [narrow.submit(s.note(n, str(tmp_path))) for n in range(6000)]
    gate.touch()
    assert large.result(LONG) == [0, *range(-1, -3001, -1)]
    assert [future.result(LONG) for future in futures] == list(range(6000))
    order = [int(n) for n in (tmp_path / "order").read_text().split()]
    assert sorted(order) == list(range(-3000, 6000))
    assert max(place for place, n in enumerate(order) if n < 0) < 6500
    later = [n for n in order if n >= 0]
    assert [n for place, n in enumerate(later) if abs(n - place) > 20] == []


# ---- one for all, and each for itself ----


def test_one_instance_runs_once(two: Session, tmp_path: Path, gate: Path) -> None:
    both = s.note(1, str(tmp_path))
    held = two.submit(s.waits(str(gate)))
    ones = [two.submit(both), two.submit(both), two.submit([both, s.add(both, 1)])]
    gate.touch()
    assert [future.result(LONG) for future in ones] == [1, 1, [1, 2]]
    assert held.result(LONG) == 0
    order = (tmp_path / "order").read_text().split()
    assert len(order) in (1, 2)  # it may be done and forgotten before it is asked for again


def test_a_failure_is_of_who_needs_it(two: Session, gate: Path) -> None:
    bad = s.fails(1)
    other = two.submit(s.waits(str(gate), 4))
    failed = [two.submit(s.add(bad, s.double(1))), two.submit([bad])]
    for future in failed:
        if two._driver.slots == 1:
            gate.touch()
        assert isinstance(future.exception(LONG), ValueError)
    gate.touch()
    assert other.result(LONG) == 4
    assert two.submit(s.double(1)).result(LONG) == 2


def test_cancelling_takes_what_only_it_needs(two: Session, backend: str, gate: Path) -> None:
    can_run_beside(backend)
    shared, own = gate.with_name("shared"), gate.with_name("own")
    both = s.waits(str(shared), 1)
    stays = two.submit(s.add(both, 10))
    goes = two.submit(s.add(both, s.waits(str(own), 2), s.double(3)))
    begun(shared)
    begun(own)
    told: list[Future[Any]] = []
    goes.add_done_callback(told.append)
    assert goes.cancel()
    assert goes.cancelled()
    assert told == [goes]
    assert wait([goes], LONG).done == {goes}
    with pytest.raises(CancelledError):
        goes.result(LONG)
    assert goes.cancel(), "as with any future, it is cancelled already"
    if not two._equipment.shares:  # the worker that ran it is another's now, or ended
        assert [two.submit(s.double(n)).result(LONG) for n in range(9)] == list(range(0, 18, 2))
    assert not stays.done()
    shared.touch()
    assert stays.result(LONG) == 11
    own.touch()


def test_what_has_not_begun_is_cancelled_for_nothing(two: Session, gate: Path) -> None:
    held = [two.submit(s.waits(str(gate))) for _ in range(2)]
    futures = [two.submit(s.double(n)) for n in range(400)]
    assert all(future.cancel() for future in futures[100:])
    gate.touch()
    assert [future.result(LONG) for future in futures[:100]] == [2 * n for n in range(100)]
    assert [future.result(LONG) for future in held] == [0, 0]
    two._wheel.wait_until_idle()
    assert not two._driver.graph.nodes


def test_values_are_released_one_by_one(two: Session, backend: str, gate: Path) -> None:
    can_run_beside(backend)
    held = two.submit(s.waits(str(gate)))
    begun(gate)
    for n in range(20):
        assert two.submit(s.add(s.double(n), s.double(1))).result(LONG) == 2 * n + 2
        if n % 2:
            assert two.submit(s.fails(n)).exception(LONG)
    assert two.submit(s.double(0)).result(LONG) == 0
    wait_until(lambda: len(two._driver.graph.nodes) <= 2)
    gate.touch()
    assert held.result(LONG) == 0


def test_failures_are_forgotten(two: Session, backend: str, gate: Path) -> None:
    can_run_beside(backend)
    held = two.submit(s.waits(str(gate)))
    begun(gate)
    for _ in range(4):
        futures = [two.submit(s.add(s.fails(n), 1)) for n in range(400)]
        assert all(isinstance(future.exception(LONG), ValueError) for future in futures)
    wait_until(lambda: two._equipment.report.failures.size <= 1400)
    gate.touch()
    assert held.result(LONG) == 0


def test_keep_going_is_each_ones_own(backend: str, tmp_path: Path) -> None:
    with Session(backend, 2, keep_going=True, debug=True) as session:
        shared = s.fails(0)
        one = session.submit([s.double(1), s.add(shared, s.note(1, str(tmp_path))), s.fails(2)])
        two = session.submit([s.add(s.note(2, str(tmp_path)), 1), shared])
        good = session.submit(s.add(s.double(3), 1))
        first, second = one.exception(LONG), two.exception(LONG)
        assert good.result(LONG) == 7
        assert isinstance(first, errors.RunFailed)
        assert isinstance(second, errors.RunFailed)
        assert sorted(str(f.__cause__) for f in first.failures) == [
            "0 is not welcome", "2 is not welcome",
        ]  # fmt: skip
        assert first.skipped == 1
        assert first.results[0] == 2
        assert isinstance(first.results[1], errors.DependencyFailed)
        assert [str(f.__cause__) for f in second.failures] == ["0 is not welcome"]
        assert second.skipped == 0
        assert second.results[0] == 3
        assert session.run(s.double(1)) == 2
    assert sorted((tmp_path / "order").read_text().split()) == ["1", "2"]


# ---- the end ----


def test_all_is_cancelled(two: Session, gate: Path) -> None:
    running = two.submit(s.waits(str(gate)))
    futures = [two.submit(s.add(s.waits(str(gate)), n)) for n in range(100)]
    begun(gate)
    if two._driver.slots == 1:
        gate.touch()  # nobody can stop it
    two.cancel(0.0)
    for future in futures[1:]:
        assert isinstance(future.exception(LONG), errors.Cancelled)
    assert running.exception(LONG) is None or isinstance(running.exception(), errors.Cancelled)
    gate.touch()
    assert two.submit(s.double(1)).result(LONG) == 2
    two.cancel()
    assert two.run(s.double(1)) == 2


def test_what_is_submitted_after_all_was_cancelled_is_done(two: Session, gate: Path) -> None:
    """Also if the run that was cancelled has not ended yet."""
    running = two.submit(s.waits(str(gate)))
    begun(gate)
    two.cancel(LONG)
    later = two.submit(s.double(2))
    gate.touch()
    assert later.result(LONG) == 4
    assert running.exception(LONG) is None or isinstance(running.exception(), errors.Cancelled)


def test_a_session_that_is_closed_ends_them(backend: str, gate: Path) -> None:
    with Session(backend, 2) as session:
        running = session.submit(s.waits(str(gate), 1))
        futures = [session.submit(s.add(s.waits(str(gate)), n)) for n in range(100)]
        begun(gate)
        if backend == "serial":
            gate.touch()
        session.close(0.0)
    assert wait([running, *futures], LONG).not_done == set()
    ended = [future.exception() for future in futures]
    assert isinstance(ended[-1], errors.BackendClosed)
    assert "closed before" in str(ended[-1])
    with pytest.raises(errors.BackendClosed):
        session.submit(s.double(1))


def test_closing_lets_what_runs_finish(backend: str, gate: Path) -> None:
    with Session(backend, 1, grace=LONG) as session:
        running = session.submit(s.waits(str(gate), 1))
        begun(gate)
        opener = threading.Timer(0.05, gate.touch)
        opener.start()
    opener.join()
    assert running.result(LONG) == 1


@pytest.mark.fault(1)
def test_a_backend_that_dies_ends_them_all(backend: str, gate: Path) -> None:
    with Session(backend, 2) as session:
        session.run(s.double(1))

        def dies(*_: object) -> None:
            raise RuntimeError("the backend is broken")

        backend_of: Any = session._driver.backend
        submit, backend_of.submit = backend_of.submit, dies
        futures = [session.submit(s.double(n)) for n in range(200)]
        for future in futures:
            error = future.exception(LONG)
            assert isinstance(error, errors.InternalError)
            assert "the backend is broken" in str(error)
        assert len({id(future.exception()) for future in futures}) == 200
        backend_of.submit = submit
        assert session.submit(s.double(1)).result(LONG) == 2


def test_a_session_that_nobody_holds_ends_what_it_has(backend: str) -> None:
    session = Session(backend, 1)
    futures = [session.submit(s.double(n)) for n in range(50)]
    there = weakref.ref(session._activity)
    driver = session._driver
    del session
    gc.collect()
    assert [future.result(LONG) for future in futures] == [2 * n for n in range(50)]
    driver.stop(0.0)
    del driver, futures
    wait_until(lambda: gc.collect() is not None and there() is None)


# ---- inside ----


def test_inside_a_run_it_is_refused(backend: str) -> None:
    with Session(backend, 2) as session:
        s.HERE["session"] = session
        ends: list[Callable[[Any], Any]] = [session.run, lambda t: session.submit(t).result(LONG)]
        for end in ends:
            with pytest.raises(errors.UsageError, match=r"submit\(\) was called inside a task"):
                end(s.submits())
            with pytest.raises(errors.UsageError, match=r"run\(\) was called on a session"):
                end(s.runs())
            if session._equipment.shares:
                with pytest.raises(errors.UsageError, match="was called inside a task"):
                    end(s.submits_in_a_task())
        s.HERE["future"] = session.submit(s.waits_for_a_future())
        with pytest.raises(errors.UsageError, match="it would wait for ever"):
            s.HERE["future"].result(LONG)
        assert session.submit(s.double(1)).result(LONG) == 2
    s.HERE.clear()


def test_a_session_cannot_be_sent(backend: str) -> None:
    with Session(backend, 1) as session:
        if not session._equipment.shares:
            with pytest.raises(errors.EncodeError, match="a session stays in its process"):
                session.run(s.echo(session))


def test_observers_see_one_run_for_all_that_is_under_way(backend: str, gate: Path) -> None:
    can_run_beside(backend)
    watching = Watching()
    with Session(backend, 2, observers=[watching]) as session:
        held = session.submit(s.waits(str(gate)))
        begun(gate)
        assert session.run(s.double(1)) == 2
        assert session.submit(s.fails(1)).exception(LONG)
        gate.touch()
        assert held.result(LONG) == 0
        session._wheel.wait_until_idle()
        assert watching.counts == {"done": 2, "failed": 1, "skipped": 0, "cancelled": 0}


def test_the_callers_settings_stay_his_own(two: Session, gate: Path) -> None:
    held = two.submit(s.waits(str(gate)))
    begun(gate)
    os.environ["FANCYPIPE_TEST_OF_SUBMIT"] = "1"
    random.seed(1)
    first = random.random()
    random.seed(1)
    futures = [two.submit(s.double(n)) for n in range(20)]
    gate.touch()
    assert [future.result(LONG) for future in futures] == list(range(0, 40, 2))
    two._wheel.wait_until_idle()
    assert held.result(LONG) == 0
    assert random.random() == first
    assert os.environ.pop("FANCYPIPE_TEST_OF_SUBMIT") == "1"

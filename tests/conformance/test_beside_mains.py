"""What is submitted while a module is inside its main: all of it is taken, and nothing waits."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors
from fancypipe_core._engine.helpers import Helpers
from tests.conformance import conftest
from tests.conformance import mains as m
from tests.conformance import submitted as s
from tests.conformance.mains import Doors, Here
from tests.waiting import wait_until

BACKENDS = (*conftest.BACKENDS, "remote")
LONG = 15.0
Begin = Callable[[Session, Any], "Future[Any]"]


@pytest.fixture
def doors() -> Iterator[Doors]:
    Here.doors = Doors()
    yield Here.doors
    Here.doors.open_all()


@pytest.fixture
def two(backend: str, doors: Doors) -> Iterator[Session]:
    """A session in which two tasks run at a time where the backend can."""
    with Session(backend, 2, debug=True, grace=5.0) as session:
        yield session
        doors.open_all()


def submitted(session: Session, target: Any) -> Future[Any]:
    return session.submit(target)


def led(session: Session, target: Any) -> Future[Any]:
    """Have it run by a thread that drives for itself, until others ask for something."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(session.run(target))
        except BaseException as error:  # noqa: BLE001 - it is told
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def streamed(session: Session, target: Any) -> Future[Any]:
    """The same, for a map whose results are taken one by one."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(list(session.stream(target)))
        except BaseException as error:  # noqa: BLE001 - it is told
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


begins = pytest.mark.parametrize("begin", [submitted, led])


def everything(session: Session) -> None:
    """Whatever can be submitted comes to its end."""
    targets: list[tuple[Any, Any]] = [
        (s.double(2), 4),
        ([s.double(1), s.double(2)], [2, 4]),
        (s.deep(3), 2),
        ([s.deep(2), s.double(4)], [2, 8]),
        (m.asks(3), 12),
        (m.twice.map(range(100)), [2 * n for n in range(100)]),
        (m.twice.map(n for n in range(100)), [2 * n for n in range(100)]),
        ([m.twice.map([1, 2]), m.asks(1)], [[2, 4], 4]),
    ]
    for target, value in targets:
        assert session.submit(target).result(LONG) == value
    again = [session.submit(make) for make in (s.deep(3), m.asks(3), m.twice.map(range(9)))]
    assert {str(one.result(LONG)) for one in as_completed(again, LONG)} == {
        "2", "12", str(list(range(0, 18, 2))),
    }  # fmt: skip
    assert session.run(s.deep(1)) == 2
    assert list(session.stream(m.twice.map(range(3)))) == [0, 2, 4]


@begins
def test_beside_a_main_that_waits_in_its_own_code(two: Session, doors: Doors, begin: Begin) -> None:
    first = begin(two, m.stands("door", 5))
    doors.reached("door")
    everything(two)
    assert not first.done()
    doors.open("door")
    assert first.result(LONG) == 10
    everything(two)


@begins
def test_beside_a_main_that_waits_for_a_result(
    two: Session, backend: str, tmp_path: Path, begin: Begin
) -> None:
    if backend == "serial":
        pytest.skip("one task at a time")
    gate = tmp_path / "gate"
    first = begin(two, m.asks_behind(str(gate)))
    try:
        wait_until(Path(f"{gate}.begun").exists)
        everything(two)
        assert not first.done()
    finally:
        gate.touch()
    assert first.result(LONG) == 6
    everything(two)


@begins
def test_beside_mains_in_mains(two: Session, doors: Doors, begin: Begin) -> None:
    """One waits for a result of one that waits in its own code; each goes on where it was."""
    first = begin(two, m.around("door", 5))
    doors.reached("door inside")
    everything(two)
    doors.open("door inside")
    doors.reached("door")
    everything(two)
    doors.open("door")
    assert first.result(LONG) == 11


@begins
def test_the_main_inside_goes_on_alone(two: Session, doors: Doors, begin: Begin) -> None:
    """Somebody else drives since then, also where nothing is left but that."""
    first = begin(two, m.around("door", 5))
    doors.reached("door inside")
    assert two.submit(s.double(1)).result(LONG) == 2
    doors.open("door inside")
    doors.open("door")
    assert first.result(LONG) == 11


@pytest.mark.parametrize("begin", [submitted, led, streamed])
def test_beside_a_generator_that_waits(two: Session, doors: Doors, begin: Begin) -> None:
    first = begin(two, m.twice.map(m.elements("door", 20)))
    doors.reached("door")
    everything(two)
    assert not first.done()
    doors.open("door")
    assert first.result(LONG) == [2 * n for n in range(20)]
    everything(two)


@pytest.mark.parametrize("begin", [submitted, led, streamed])
def test_a_generator_that_waits_for_results(two: Session, doors: Doors, begin: Begin) -> None:
    first = begin(two, m.twice.map(m.results("door", 20)))
    doors.reached("door")
    everything(two)
    doors.open("door")
    assert first.result(LONG) == [4 * n for n in range(20)]
    assert begin(two, m.twice.map(m.results("door", 20))).result(LONG) == [4 * n for n in range(20)]


@begins
def test_one_main_lets_another_go_on(two: Session, doors: Doors, begin: Begin) -> None:
    first = begin(two, m.stands("door", 1))
    doors.reached("door")
    assert two.submit(m.opens("door", 2)).result(LONG) == 4
    assert first.result(LONG) == 2


def test_many_wait_at_a_time(two: Session, doors: Doors) -> None:
    futures = [two.submit(m.stands(f"door {n}", n)) for n in range(20)]
    for n in reversed(range(20)):
        doors.reached(f"door {n}")
    everything(two)
    for n in reversed(range(20)):
        doors.open(f"door {n}")
        assert futures[n].result(LONG) == 2 * n


def test_many_wait_for_results(two: Session) -> None:
    futures = [two.submit(m.asks(n)) for n in range(20)]
    assert [future.result(LONG) for future in futures] == [4 * n for n in range(20)]
    two._wheel.wait_until_idle()
    assert not two._driver.graph.nodes


@begins
def test_what_it_has_waited_for_runs_once(
    two: Session, doors: Doors, tmp_path: Path, begin: Begin
) -> None:
    first = begin(two, m.uses_twice(str(tmp_path), "door"))
    doors.reached("door")
    everything(two)
    doors.open("door")
    assert first.result(LONG) == 2
    assert (tmp_path / "order").read_text().split() == ["1"]


# ---- how it ends otherwise ----


@begins
def test_what_a_main_raises_is_told(two: Session, doors: Doors, begin: Begin) -> None:
    first = begin(two, m.breaks("door"))
    doors.reached("door")
    everything(two)
    doors.open("door")
    error = first.exception(LONG)
    assert isinstance(error, ValueError)
    assert isinstance(error, errors.TaskError)
    assert "breaks" in str(error)
    traceback = error.__cause__.__traceback__ if error.__cause__ else None
    names = []
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names[-2:] == ["breaks", "pass_through"] or names[-1] == "breaks"
    everything(two)


@begins
def test_a_main_is_told_that_all_was_cancelled(two: Session, doors: Doors, begin: Begin) -> None:
    first = begin(two, m.asks_later("door"))
    doors.reached("door")
    other = two.submit(m.stands("other"))
    doors.reached("other")
    two.cancel(0.0)
    if begin is submitted:  # the other one waits in that main itself
        assert isinstance(first.exception(LONG), errors.Cancelled)
    assert isinstance(other.exception(LONG), errors.Cancelled)
    everything(two)
    doors.open("door")
    assert doors["told"].wait(LONG)
    assert isinstance(doors.refs["told"], errors.Cancelled)
    assert isinstance(first.exception(LONG), errors.Cancelled)
    everything(two)


def test_one_is_cancelled_and_the_others_go_on(two: Session, doors: Doors) -> None:
    first = two.submit(m.asks_later("door"))
    doors.reached("door")
    assert two.submit(s.deep(1)).result(LONG) == 2
    assert first.cancel()
    everything(two)
    doors.open("door")
    assert doors["told"].wait(LONG)
    assert isinstance(doors.refs["told"], errors.Cancelled)
    two._wheel.wait_until_idle()
    assert not two._driver.graph.nodes
    everything(two)


def test_a_session_is_closed_beside_a_main(backend: str, doors: Doors) -> None:
    with Session(backend, 2) as session:
        one, two = session.submit(m.asks_later("door")), session.submit(m.stands("other"))
        doors.reached("door")
        doors.reached("other")
        session.close(0.0)
    assert isinstance(one.exception(LONG), errors.BackendClosed)
    assert isinstance(two.exception(LONG), errors.BackendClosed)
    doors.open_all()
    assert doors["told"].wait(LONG)
    wait_until(lambda: not any(t.name == "fancypipe-module" for t in threading.enumerate()))


def test_those_that_wait_for_each_other_are_told(two: Session, doors: Doors) -> None:
    doors.refs.update(a=m.asks_for_another("b", "door a"), b=m.asks_for_another("a", "door b"))
    futures = [two.submit(doors.refs[name]) for name in "ab"]
    for name in "ab":
        doors.reached(f"door {name}")
    doors.open_all()
    found = [future.exception(LONG) for future in futures]
    assert any("wait" in str(error) for error in found)
    everything(two)


def test_ctrl_c_in_a_main_of_the_caller(two: Session, doors: Doors) -> None:
    """Another thread drives meanwhile; who waits in the main thread is told as ever."""
    assert threading.current_thread() is threading.main_thread()
    other: list[Future[Any]] = []

    def interrupt() -> None:
        doors.reached("door")
        everything(two)
        other.append(two.submit(m.stands("other")))
        doors.reached("other")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        two.run(m.stands("door"))
    thread.join(LONG)
    assert isinstance(other[0].exception(LONG), errors.Cancelled)
    everything(two)


# ---- around ----


def test_without_threads_mains_are_run_one_by_one(
    two: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Helpers, "start", lambda _self, _what: False)
    everything(two)


def test_in_a_main_apart_nothing_is_submitted(two: Session, doors: Doors) -> None:
    s.HERE["session"] = two
    try:
        first = two.submit(m.stands("door"))
        doors.reached("door")
        with pytest.raises(errors.UsageError, match=r"submit\(\) was called inside a task"):
            two.submit(s.submits()).result(LONG)
        doors.open("door")
        assert first.result(LONG) == 0
    finally:
        s.HERE.clear()


def test_the_collector_is_put_back(two: Session, doors: Doors) -> None:
    two._wheel.wait_until_idle()
    before = gc.get_threshold()
    first = led(two, m.stands("door"))
    doors.reached("door")
    everything(two)
    doors.open("door")
    assert first.result(LONG) == 0
    two._wheel.wait_until_idle()
    wait_until(lambda: gc.get_threshold() == before)

"""Each thread of the threads backend dies or stands still: the run ends, with the reason."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fancypipe_core import Session, errors, task
from tests.faults.conftest import Plan

LIMIT = 2.0  # seconds; the setting freeze_limit
SECONDS = 60.0  # in which a run that ends must have ended, on a slow machine


@pytest.fixture
def soon() -> Iterator[None]:
    """What is to end within seconds does so."""
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < SECONDS


def opened(workers: int = 2, **settings: Any) -> Session:
    return Session("threads", workers, debug=True, freeze_limit=LIMIT, **settings)


@task
def square(x: int) -> int:
    return x * x


@task
def name_of_thread() -> str:
    return threading.current_thread().name


@task(timeout=0.2)
def held(go: threading.Event) -> None:
    assert go.wait(SECONDS)


@task
def wait_for(go: threading.Event) -> str:
    assert go.wait(SECONDS)
    return "done"


# ---- deaths -----------------------------------------------------------------------------


@pytest.mark.fault(31, 80)
@pytest.mark.parametrize("point", ["threads.begin", "threads.taken", "threads.report"])
@pytest.mark.usefixtures("soon")
def test_a_thread_that_dies_is_replaced_and_nothing_is_lost(point: str, plan: Plan) -> None:
    plan(f"{point}=raise")
    with opened() as session:
        assert session.run([square(i) for i in range(200)]) == [i * i for i in range(200)]
        names = [thread.name for thread in threading.enumerate()]
        assert sum(name.startswith("fancypipe-worker-") for name in names) == 2


@pytest.mark.fault(31)
@pytest.mark.usefixtures("soon")
def test_the_certificate_of_a_thread_says_what_ended_it(plan: Plan) -> None:
    plan("threads.taken=raise@1+")
    with (
        opened(1, max_losses=2) as session,
        pytest.raises(errors.TaskLost, match=r"its worker died 2 times") as caught,
    ):
        session.run(square(3))
    why = caught.value.certificate
    assert "fancypipe-worker-2 ended by InjectedFault: a test planned this" in why.detail
    assert any("fault(" in line for line in why.output)
    assert why.pid
    assert why.host


@pytest.mark.fault(31)
@pytest.mark.usefixtures("soon")
def test_threads_that_only_die_end_the_run(plan: Plan) -> None:
    plan("threads.begin=raise@1+")
    with (
        pytest.raises(errors.InternalError, match="threads die one after the other"),
        opened(1) as session,
    ):
        session.run(square(3))


# ---- standing still -----------------------------------------------------------------------


@pytest.mark.fault(36)
@pytest.mark.parametrize("point", ["threads.begin", "threads.taken", "threads.report"])
@pytest.mark.usefixtures("soon")
def test_a_thread_that_stands_still_ends_the_run(point: str, plan: Plan) -> None:
    plan(f"{point}=freeze")
    with (
        opened(1) as session,
        pytest.raises(
            errors.InternalError, match=r"has not moved for 2 s \(the setting freeze_l"
        ) as caught,
    ):
        session.run(square(3))
    text = str(caught.value)
    assert "fancypipe-worker-1 does not come back to its work; it is at" in text
    assert f'fault("{point}")' in text
    assert "This is a bug of fancypipe or of the backend" in text
    assert "an attempt is in flight: attempt 1" in text


@pytest.mark.fault(13)
@pytest.mark.parametrize("action", ["raise", "freeze"])
@pytest.mark.usefixtures("soon")
def test_the_clock_of_time_limits(action: str, plan: Plan) -> None:
    go = threading.Event()
    plan(f"threads.clock={action}")
    how = "has died" if action == "raise" else "does not look at them"
    text = f"limits of fancypipe-worker-1 have passed, and the clock {how}"
    if action == "raise":
        threading.excepthook, before = lambda _: None, threading.excepthook
    try:
        with (
            opened(1, grace=0.0) as session,
            pytest.raises(errors.InternalError, match=text),
        ):
            session.run(held(go))
    finally:
        go.set()
        if action == "raise":
            threading.excepthook = before


@pytest.mark.fault(12)
def test_a_task_that_takes_long_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    from fancypipe_core._engine import watchdog

    go = threading.Event()
    with Session("threads", 2, freeze_limit=0.0) as session:
        looks = 0
        backend = session._driver.backend
        check = backend.check  # type: ignore[attr-defined]

        def counted() -> str:
            nonlocal looks
            looks += 1
            if looks == 3:
                go.set()
            answer: str = check()
            return answer

        monkeypatch.setattr(session._driver._listener._watchdog, "_check", counted)
        assert session.run(wait_for(go)) == "done"
        assert looks >= 3, f"one in {watchdog.LOOK} s"


def test_a_look_at_the_threads_keeps_nothing_alive() -> None:
    """Not even until the next collection of garbage: threads have large values in hand."""
    with opened() as session:
        assert session.run(square(3)) == 9
        backend: Any = session._driver.backend
        gc.collect()
        assert backend.check() == ""
        assert gc.collect() == 0


# ---- what nobody waits for any more ---------------------------------------------------------


@task
def begun_and_held(begun: threading.Event, go: threading.Event) -> None:
    begun.set()
    assert go.wait(SECONDS)


@pytest.mark.fault(13, 73)
@pytest.mark.parametrize("how", ["future", "session"])
@pytest.mark.usefixtures("soon")
def test_a_cancelled_task_that_goes_on_holds_up_nobody(
    how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    begun, go = threading.Event(), threading.Event()
    with opened(1, grace=0.2) as session:
        future = session.submit(begun_and_held(begun, go))
        assert begun.wait(SECONDS)
        if how == "future":
            assert future.cancel()
        else:
            session.cancel(grace=0.0)
        # It held the only place; another has it in the end.
        assert session.submit(name_of_thread()).result(SECONDS) == "fancypipe-worker-2"
        assert session.run([square(i) for i in range(100)]) == [i * i for i in range(100)]
        go.set()
    said = capfd.readouterr().err
    assert said.count("begun_and_held was cancelled, and still runs") == 1
    assert "A thread cannot be killed: fancypipe-worker-1 keeps running" in said


@pytest.mark.fault(73)
@pytest.mark.usefixtures("soon")
def test_a_cancelled_task_that_ends_in_time_keeps_its_thread() -> None:
    begun, go = threading.Event(), threading.Event()
    with opened(1, grace=SECONDS) as session:
        future = session.submit(begun_and_held(begun, go))
        assert begun.wait(SECONDS)
        assert future.cancel()
        after = session.submit(name_of_thread())
        go.set()
        assert after.result(SECONDS) == "fancypipe-worker-1"


@pytest.mark.fault(73)
@pytest.mark.usefixtures("soon")
def test_cancels_and_ends_race_and_each_job_ends_once() -> None:
    @task
    def takes(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    with opened(2, grace=0.01) as session:
        for n in range(40):
            doomed = [session.submit(takes(0.001 * (n % 5) + 0.009)) for _ in range(2)]
            time.sleep(0.002)
            for future in doomed:
                future.cancel()
            assert session.run([square(i) for i in range(4)]) == [0, 1, 4, 9]
        wait_until_so_many_work(2)


def wait_until_so_many_work(count: int) -> None:
    """Those that were let go of end as soon as their task does."""
    until = time.monotonic() + SECONDS
    while True:
        names = [t.name for t in threading.enumerate() if t.name.startswith("fancypipe-worker-")]
        if len(names) == count:
            return
        assert time.monotonic() < until, names
        time.sleep(0.01)


# ---- time limits --------------------------------------------------------------------------


@pytest.mark.fault(13)
@pytest.mark.usefixtures("soon")
def test_a_thread_over_its_limit_is_let_go_of(capfd: pytest.CaptureFixture[str]) -> None:
    go = threading.Event()
    with opened(1, grace=30.0) as session:
        with pytest.raises(errors.TaskTimeout, match=r"timeout of 0\.2 s and was given up on"):
            session.run(held(go))
        # It held the only place; another has it now.
        assert session.run(name_of_thread()) == "fancypipe-worker-2"
        assert session.run([square(i) for i in range(100)]) == [i * i for i in range(100)]
        go.set()
    said = capfd.readouterr().err
    assert said.count("held took longer than its timeout of 0.2 s") == 1
    assert "A thread cannot be killed: fancypipe-worker-1 keeps running" in said


@pytest.mark.fault(13)
@pytest.mark.usefixtures("soon")
def test_a_session_ends_though_a_thread_does_not() -> None:
    go = threading.Event()
    with pytest.raises(errors.TaskTimeout), opened(2, grace=30.0) as session:
        session.run(held(go))
    assert not go.is_set()
    go.set()


@pytest.mark.fault(13)
@pytest.mark.usefixtures("soon")
def test_limits_and_ends_race_and_each_job_ends_once() -> None:
    @task(timeout=0.02)
    def close_to_it(seconds: float) -> str:
        time.sleep(seconds)
        return "done"

    with opened(2, keep_going=True) as session:
        for _ in range(5):
            with pytest.raises(errors.RunFailed) as caught:
                session.run([close_to_it(0.018 + i * 0.0005) for i in range(9)], _late())
            assert all(isinstance(e, errors.TaskTimeout) for e in caught.value.failures)


@task(timeout=0.01)
def _late() -> None:
    time.sleep(0.1)

"""Only the main thread waits in slices: signals come to it alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from fancypipe_core import Session, task
from fancypipe_core._base.slices import SLICE, at_a_time, wait_for


class Noting(threading.Condition):
    """Notes for how long it is waited for at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float | None] = []
        self.is_waited_for = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.noted.append(timeout)
        self.is_waited_for.set()
        return super().wait(timeout)


GATE = threading.Event()


@task
def waits() -> int:
    assert GATE.wait(60)
    return 7


def test_how_long_at_a_time() -> None:
    assert at_a_time() == SLICE
    assert at_a_time(0.01) == 0.01
    assert at_a_time(100.0) == SLICE
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(at_a_time).result(60) is None
        assert pool.submit(at_a_time, 100.0).result(60) == 100.0


def test_a_condition_is_waited_for_once_in_another_thread() -> None:
    condition, true = Noting(), threading.Event()

    def wait() -> None:
        with condition:
            wait_for(condition, true.is_set)

    with ThreadPoolExecutor(1) as pool:
        over = pool.submit(wait)
        assert condition.is_waited_for.wait(60)
        with condition:
            true.set()
            condition.notify_all()
        over.result(60)
    assert condition.noted == [None]


def test_a_future_is_waited_for_once_in_another_thread() -> None:
    GATE.clear()
    with Session("threads", 1) as session, ThreadPoolExecutor(1) as pool:
        future = session.submit(waits())
        condition = future._condition = Noting()
        value = pool.submit(future.result)
        assert condition.is_waited_for.wait(60)
        GATE.set()
        assert value.result(60) == 7
    assert condition.noted == [None]

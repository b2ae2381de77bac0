"""When another worker may be started, and who gets which jobs: the parts that only decide."""

from __future__ import annotations

import pytest

from fancypipe_core.backend import Call, Job
from fancypipe_procs._births import Births
from fancypipe_procs._dealing import Queue
from fancypipe_procs._limits import Limits

CALL = Call("task", ())


def job(number: int, *, alone: bool = False) -> Job:
    return Job((number, 1), CALL, (), None, alone)


@pytest.mark.fault(32)
def test_pauses_double_and_end_in_giving_up() -> None:
    births = Births(Limits(bad_starts=8))
    now = 100.0
    pauses = []
    while not births.hopeless:
        assert births.may(now, others_are_starting=False)
        births.failed(now, now, "it is ill", ("cough",))
        pauses.append(round(births.not_before - now, 3))
        assert not births.may(now, others_are_starting=False)
        now = births.not_before
        assert not births.may(now, others_are_starting=True), "one at a time"
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert str(births.error()) == (
        "no worker process starts, so the run stops; the last one: it is ill; "
        "the last that it printed:\n  | cough"
    )
    assert births.may(now, others_are_starting=True), "the next run begins anew"


@pytest.mark.fault(32)
def test_what_is_started_together_fails_together() -> None:
    births = Births(Limits())
    for _ in range(100):
        births.failed(1.0, 2.0, "it is ill")
    assert births.failures == 1
    births.succeeded()
    assert births.may(2.0, others_are_starting=True)


@pytest.mark.fault(32)
def test_two_that_hang_are_enough() -> None:
    births = Births(Limits())
    births.failed(1.0, 61.0, "it hangs", hung=True)
    assert not births.hopeless
    births.failed(62.0, 122.0, "it hangs", hung=True)
    assert births.hopeless


def test_suspects_wait_apart_and_what_comes_back_comes_first() -> None:
    queue = Queue(2)
    queue.add([job(1), job(2, alone=True), job(3)])
    assert [one.id[0] for one in queue.alone] == [2]
    taken = queue.batch(0)
    assert [one.id[0] for one in taken] == [1]
    queue.take_back([job(4, alone=True), *taken, job(5)])
    assert [one.id[0] for one in queue.jobs] == [1, 5, 3]
    assert [one.id[0] for one in queue.alone] == [4, 2]
    assert queue.drop({(2, 1), (5, 1), (9, 1)}) == [(5, 1), (2, 1)]
    assert [one.id[0] for one in queue.jobs] == [1, 3]


def test_long_jobs_go_singly_and_short_ones_by_the_hundred() -> None:
    queue = Queue(2)
    queue.add([job(number) for number in range(1000)])
    queue.pace.record(10.0, 10)
    assert len(queue.batch(0)) == 1
    assert queue.batch(1) == []
    for _ in range(50):
        queue.pace.record(0.00001, 100)
    assert 100 < len(queue.batch(0)) <= 500, "no more than its share"

"""The gate in a host process: what goes by, what waits, and what is given back."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import count as numbers

import pytest

from fancypipe_core.backend import (
    NOT_BEGUN,
    Call,
    Done,
    Event,
    Job,
    JobId,
    Live,
    Lost,
    Needs,
    Note,
    Ok,
    Sink,
)
from fancypipe_remote._worker.borrower import Borrower
from fancypipe_remote._worker.lifeline import (
    Claim,
    FromHost,
    FromWorker,
    GiveBack,
    Granted,
    Waits,
    of_host,
    of_worker,
)

GPU = Needs(gpu=1)


def job(number: int, needs: Needs | None = None) -> Job:
    return Job((number, 1), Call("task", Live(None)), Live(None), needs=needs)


class Backend:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Job]] = []
        self.cancelled: list[JobId] = []
        self.recalled: list[JobId] = []

    def start(self, sink: Sink) -> None:
        self.sink = sink

    def submit(self, jobs: Sequence[Job]) -> None:
        self.batches.append(jobs)

    def cancel(self, ids: Sequence[JobId]) -> None:
        self.cancelled += ids

    def recall(self, ids: Sequence[JobId]) -> None:
        self.recalled += ids

    def stop(self, _grace: float) -> None:
        self.batches.clear()

    @property
    def jobs(self) -> list[Job]:
        return [job for batch in self.batches for job in batch]

    def end(self, number: int) -> None:
        self.sink([Done((number, 1), Ok(Live(None)), 1.0)])


class Bench:
    """A gate, its backend, and the worker's end of the lifeline."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.worker, self.lifeline = of_worker(ours), of_host(theirs)
        self.backend = Backend()
        self.told: list[Event] = []
        self.gate = Borrower(self.lifeline)
        self.asked: list[Callable[[], None]] = []
        self.backend.start(self.gate.open(self.backend, self.asked.append, self.told.extend))

    def is_full_after(self, job: Job) -> bool:
        self.gate.submit([job])
        return self.lifeline.has_more

    def heard(self) -> list[FromHost]:
        return self.worker.heard()

    def hear(self, said: FromWorker) -> None:
        self.worker.say(said)
        for one in self.lifeline.heard():
            self.gate.hear(one)
        for what in self.asked:
            what()
        self.asked.clear()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.worker.close()
    made.lifeline.close()


def test_jobs_without_needs_go_by_as_they_came(bench: Bench) -> None:
    jobs = [job(1), job(2, Needs(cpus=3))]
    bench.gate.submit(jobs)
    assert bench.backend.batches == [jobs]
    assert bench.backend.batches[0] is jobs
    bench.backend.end(1)
    assert bench.heard() == []
    assert len(bench.told) == 1


def test_a_job_begins_when_it_is_granted_and_gives_back_at_its_end(bench: Bench) -> None:
    bench.gate.submit([job(1, Needs(memory=7, gpu=2)), job(2)])
    assert [one.id for one in bench.backend.jobs] == [(2, 1)]
    assert bench.heard() == [Claim(1, 7, 2)]
    bench.hear(Granted(1, ("4", "8")))
    assert bench.backend.jobs[1].devices == ("4", "8")
    bench.backend.end(2)
    assert bench.heard() == []
    bench.backend.end(1)
    assert bench.heard() == [GiveBack(1)]
    assert len(bench.told) == 2


def test_devices_that_a_job_has_are_not_claimed(bench: Bench) -> None:
    bench.gate.submit(
        [job(1, GPU).with_devices(("x",)), job(2, Needs(1, 5, 1)).with_devices(("y",))]
    )
    assert bench.heard() == [Claim(1, 5, 0)]
    bench.hear(Granted(1, ()))
    assert [one.devices for one in bench.backend.jobs] == [("x",), ("y",)]


@pytest.mark.parametrize("how", ["cancel", "recall"])
def test_what_waits_is_dropped_and_a_grant_that_crosses_that_changes_nothing(
    bench: Bench, how: str
) -> None:
    bench.gate.submit([job(1, GPU), job(2)])
    getattr(bench.gate, how)([(1, 1), (2, 1), (9, 9)])
    assert bench.heard() == [Claim(1, 0, 1), GiveBack(1)]
    assert bench.told == [Lost((1, 1), NOT_BEGUN)]
    assert (2, 1) in bench.backend.cancelled + bench.backend.recalled
    bench.hear(Granted(1, ("4",)))
    assert [one.id for one in bench.backend.jobs] == [(2, 1)]


def test_a_job_that_came_back_may_come_again(bench: Bench) -> None:
    bench.gate.submit([job(1, GPU)])
    bench.gate.recall([(1, 1)])
    bench.gate.submit([job(1, GPU)])
    assert bench.heard() == [Claim(1, 0, 1), GiveBack(1), Claim(2, 0, 1)]
    bench.hear(Granted(1, ("4",)))
    assert not bench.backend.jobs, "that was for the first"
    bench.hear(Granted(2, ("8",)))
    assert [one.devices for one in bench.backend.jobs] == [("8",)]


def test_a_client_is_told_for_whom_it_waits(bench: Bench) -> None:
    bench.gate.submit([job(1, GPU)])
    bench.hear(Waits(1, ("a", "b")))
    (note,) = bench.told
    assert isinstance(note, Note)
    assert note.text.startswith("task task waits for 1 gpu on ")
    assert note.text.endswith("where it is lent to a and b")
    bench.gate.recall([(1, 1)])
    bench.hear(Waits(1, ("a", "b")))
    assert len(bench.told) == 2, "it does not wait any more"


def test_what_the_worker_does_not_take_waits_and_nobody_waits_for_it(bench: Bench) -> None:
    count = next(number for number in numbers(1) if bench.is_full_after(job(number, GPU)))
    heard: list[FromHost] = []
    while bench.lifeline.has_more:
        heard += bench.heard()
        bench.lifeline.flush()
    heard += bench.heard()
    assert len(heard) == count

"""In a host process: jobs that need devices or memory begin when the worker lends them those.

Each is claimed over the lifeline, as its backend sees no other client's jobs, and given
back when the job has ended; what it has when this process dies, the worker takes back.
All other jobs go by at the cost of a look at one field.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from fancypipe_core.backend import NOT_BEGUN, Backend, Done, Event, Job, JobId, Lost, Note, Sink
from fancypipe_core.toolkit.account import wanted
from fancypipe_remote._protocol.messages import host_name
from fancypipe_remote._worker.lifeline import Claim, FromWorker, GiveBack, Granted, Lifeline, Waits

__all__ = ["Borrower"]


class Borrower:
    """The gate of a host process's server; see `fancypipe_core.toolkit.server.Gate`.

    Args:
        lifeline: To the worker.
    """

    def __init__(self, lifeline: Lifeline[FromWorker]) -> None:
        self._lifeline = lifeline
        self._numbers = count(1)
        self._waiting: dict[int, Job] = {}  # by the number of the claim
        self._claims: dict[JobId, int] = {}  # of jobs that wait, and of those that have begun
        self._changing = threading.Lock()
        self._backend: Backend
        self._ask: Callable[[Callable[[], None]], None]
        self._sink: Sink

    def open(self, backend: Backend, ask: Callable[[Callable[[], None]], None], sink: Sink) -> Sink:
        """As of a gate."""
        self._backend, self._ask, self._sink = backend, ask, sink
        return self._ended

    def submit(self, jobs: Sequence[Job]) -> None:
        """Let jobs begin; those with needs when these are granted."""
        with_needs = [job for job in jobs if job.needs is not None]
        claimed = {job.id for job in with_needs if self._claim(job)} if with_needs else ()
        if claimed:
            jobs = [job for job in jobs if job.id not in claimed]
        if jobs:
            self._backend.submit(jobs)

    def _claim(self, job: Job) -> bool:
        """Claim what a job needs; tell whether that is anything that is lent."""
        needs = wanted(job)
        if not (needs.memory or needs.gpu):
            return False
        number = next(self._numbers)
        with self._changing:
            self._waiting[number] = job
            self._claims[job.id] = number
        self._lifeline.say(Claim(number, needs.memory, needs.gpu))
        return True

    def cancel(self, ids: Sequence[JobId]) -> None:
        """As of a backend."""
        self._withdraw(ids)
        self._backend.cancel(ids)

    def recall(self, ids: Sequence[JobId]) -> None:
        """As of a backend."""
        self._withdraw(ids)
        self._backend.recall(ids)

    def _withdraw(self, ids: Sequence[JobId]) -> None:
        """End those that wait here."""
        with self._changing:
            numbers = {id: self._claims[id] for id in ids if id in self._claims}
            waiting = [id for id, number in numbers.items() if self._waiting.pop(number, None)]
        if waiting:
            self._give_back(waiting)
            self._sink([Lost(id, NOT_BEGUN) for id in waiting])

    def hear(self, said: FromWorker) -> None:
        """Take what the worker says; in any thread."""
        if isinstance(said, Granted):
            self._ask(partial(self._begin, said))
        elif isinstance(said, Waits):
            self._ask(partial(self._tell, said))

    def _begin(self, granted: Granted) -> None:
        with self._changing:
            job = self._waiting.pop(granted.number, None)
        if job is None:
            return  # it is not to begin any more: what was granted is on its way back
        self._backend.submit([job.with_devices(granted.devices) if granted.devices else job])

    def _tell(self, waits: Waits) -> None:
        job = self._waiting.get(waits.number)
        if job is None:
            return
        text = (
            f"task {job.call.label} waits for {wanted(job)._replace(cpus=1)} on {host_name()}, "
            f"where it is lent to {' and '.join(waits.holders)}"
        )
        self._sink([Note(None, "warning", text)])

    def _ended(self, events: Sequence[Event]) -> None:
        """Take the backend's events, in any thread: what has ended gives back what it had."""
        if self._claims:
            ends = [event.id for event in events if isinstance(event, (Done, Lost))]
            self._give_back([id for id in ends if id in self._claims])
        self._sink(events)

    def _give_back(self, ids: Sequence[JobId]) -> None:
        for id in ids:
            with self._changing:
                number = self._claims.pop(id, None)
            if number is not None:
                self._lifeline.say(GiveBack(number))

"""Jobs with needs: one runs while as many threads are its own as it needs cores.

When memory and devices are there for it, threads *gather*: each that becomes free sits
down, and the last to come runs the job.  The others get up when it has ended.  So cores
are counted by threads that do nothing else, and jobs that need nothing special pay
nothing for it.  Threads gather for one job at a time, so no two hold up each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from fancypipe_core.backend import Call, Job, JobId, Live, Needs
from fancypipe_core.toolkit import this_machine
from fancypipe_core.toolkit.account import Account, wanted
from fancypipe_threads._limits import Worker

__all__ = ["SEAT", "Gathering"]

SEAT = Job((0, 0), Call("seat", Live(None)), Live(None), needs=Needs())
"""Stands in the queue of jobs, and brings a thread to those that gather, if any do."""


class Gathering:
    """What jobs with needs have, and who waits for what.

    Args:
        threads: How many there are.
        call: Called to bring so many threads here, with `SEAT`; it must not wait.

    Attributes:
        waiting: How many jobs wait for memory or devices, and no thread with them.
    """

    def __init__(self, threads: int, call: Callable[[int], None]) -> None:
        self._threads = threads
        self._call = call
        self._made: Account[JobId] | None = None
        self._waiting: dict[Needs, dict[JobId, tuple[int, Job]]] = {}  # and when it came
        self.waiting = 0
        self._numbers = count()
        self._next: Job | None = None  # for which threads gather
        self._seated: list[Worker] = []  # for the next
        self._held: dict[JobId, list[Worker]] = {}  # by jobs that run
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def pending(self) -> int:
        """How many jobs are here that have not begun."""
        return self.waiting + (self._next is not None)

    def lacks(self, needs: Needs) -> str:
        """Say why they can never be met; empty if they can."""
        with self._lock:
            return self._account.there.lacks(needs)

    @property
    def _account(self) -> Account[JobId]:
        if self._made is None:
            self._made = Account(this_machine(self._threads))
        return self._made

    def take(self, worker: Worker, job: Job) -> Job | None:
        """A thread has taken a job with needs, or a seat, from the queue.

        Returns:
            The job that it is to run now, with its devices; `SEAT` if it is to wait until
            its signal is released; None if there is nothing here for it.
        """
        with self._lock:
            if self._stopped:
                return None
            if job is not SEAT:
                group = self._waiting.setdefault(self._account.within(wanted(job)), {})
                group[job.id] = next(self._numbers), job
                self.waiting += 1
                self._choose(here=1)
            begins = self._next
            if begins is None:
                return None
            if len(self._seated) + 1 < self._wanted:
                self._seated.append(worker)
                worker.is_seated = True
                return SEAT
            self._held[begins.id], self._seated, self._next = self._seated, [], None
            self._choose()
            return begins

    @property
    def _wanted(self) -> int:
        """How many threads the next is to have."""
        needs = self._next.needs if self._next is not None else None
        return min(needs.cpus, self._threads) if needs is not None else 0

    def _choose(self, here: int = 0) -> None:
        """See which job is next, the oldest for which memory and devices are there: call threads.

        Args:
            here: How many have come already.
        """
        if self._next is not None:
            return
        account = self._account
        account.kept = None
        for _, job, needs in sorted(self._heads()):
            if account.has(needs):
                self._forget(job.id)
                names = account.promise(job.id, needs)
                self._next = job.with_devices(names) if names else job
                self._call(self._wanted - here)
                return
            if account.kept is None:  # it gets what becomes free, although others would fit
                account.kept = needs

    def _heads(self) -> Iterator[tuple[int, Job, Needs]]:
        """Yield the oldest with each kind of needs."""
        for needs, group in self._waiting.items():
            number, job = next(iter(group.values()))
            yield number, job, needs

    def _forget(self, id: JobId) -> bool:
        """A job does not wait any more; tell whether it did."""
        for needs, group in self._waiting.items():
            if group.pop(id, None) is not None:
                self.waiting -= 1
                if not group:
                    del self._waiting[needs]
                return True
        return False

    def over(self, id: JobId) -> None:
        """A job has ended, or never will: what it had is for others."""
        with self._lock:
            self._let_go(id)
            self._choose()

    def _let_go(self, id: JobId) -> bool:
        """Take from a job what it has; tell whether it was here and had not begun."""
        self._account.end(id)
        gone = self._forget(id)
        if self._next is not None and self._next.id == id:
            self._held[id], self._seated, self._next = self._seated, [], None
            gone = True
        for worker in self._held.pop(id, ()):
            self._get_up(worker)
        return gone

    @staticmethod
    def _get_up(worker: Worker) -> None:
        worker.is_seated = False
        worker.signal.release()

    def recall(self, ids: Iterable[JobId]) -> list[JobId]:
        """Take back those of these that have not begun; return them."""
        with self._lock:
            here = [id for id in ids if self._holds(id) and self._let_go(id)]
            if here:
                self._choose()
            return here

    def _holds(self, id: JobId) -> bool:
        """Whether a job is here, and has not begun."""
        is_next = self._next is not None and self._next.id == id
        return is_next or any(id in group for group in self._waiting.values())

    def lost(self, worker: Worker) -> None:
        """A thread is gone, and if it sat here, another is to have its seat."""
        with self._lock:
            for held in (self._seated, *self._held.values()):
                if worker in held:
                    held.remove(worker)
            if self._next is not None:
                self._call(1)

    def shrink(self, threads: int) -> None:
        """There are only so many threads from now on: those may be all that a job gets."""
        with self._lock:
            self._threads = threads
            if self._next is not None and len(self._seated) >= self._wanted:
                self._get_up(self._seated.pop())
                self._call(1)

    def stop(self) -> None:
        """Let all threads get up, and nobody sit down any more."""
        with self._lock:
            self._stopped = True
            for worker in [*self._seated, *(one for held in self._held.values() for one in held)]:
                self._get_up(worker)
            self._seated, self._next = [], None
            self._held.clear()
            self._waiting.clear()
            self.waiting = 0

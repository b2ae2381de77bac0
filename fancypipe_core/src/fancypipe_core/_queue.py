"""Jobs that wait for a pool: those that travel together, and those to be tried alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from weakref import WeakKeyDictionary

from fancypipe_core.backend import Call, Done, Job, JobId, Pace

__all__ = ["Queue"]

_BATCH = 0.002  # seconds of work that travel together: enough to hide the way there
_UNKNOWN = 0.02  # seconds that a task is thought to take before one has run
_LONG = 0.05  # seconds; of jobs that take longer, only one waits in the pool


class Queue:
    """What waits, in order.

    Args:
        count: How many workers there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._jobs: deque[Job] = deque()
        self._alone: deque[Job] = deque()
        self._suspects: set[int] = set()  # tasks
        self._pace = Pace()
        self._paces: WeakKeyDictionary[Call, Pace] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def alone(self) -> int:
        """How many wait to be tried alone."""
        return len(self._alone)

    @property
    def ahead(self) -> int:
        """How many jobs should wait here, so that no worker idles."""
        return self._pace.ahead * self._count

    @property
    def are_long(self) -> bool:
        """Whether jobs take so long that few should be in the pool."""
        return self._pace.seconds > _LONG

    def add(self, jobs: Iterable[Job]) -> None:
        """Jobs come from the engine; suspects are among those to be tried alone."""
        for job in jobs:
            (self._alone if job.id[0] in self._suspects else self._jobs).append(job)

    def put_back(self, jobs: Sequence[Job], alone: bool) -> None:
        """Jobs come back without having begun; they are first in the line."""
        (self._alone if alone else self._jobs).extendleft(reversed(jobs))

    def drop(self, ids: frozenset[JobId]) -> list[JobId]:
        """Take these jobs out; return which were here."""
        found = []
        for queue in (self._jobs, self._alone):
            jobs = list(queue)
            queue.clear()
            queue.extend(job for job in jobs if job.id not in ids)
            found += [job.id for job in jobs if job.id in ids]
        return found

    def take_all(self) -> list[Job]:
        """Take out all that waits."""
        jobs = list(self._jobs)
        self._jobs.clear()
        return jobs + self.take_alone()

    def take_alone(self) -> list[Job]:
        """Take out those that are to be tried alone."""
        jobs = list(self._alone)
        self._alone.clear()
        return jobs

    def next_alone(self) -> list[Job]:
        """Take out the next that is to be tried alone."""
        return [self._alone.popleft()]

    def next_batch(self) -> list[Job]:
        """Take out the next jobs that travel together."""
        most = -(-len(self._jobs) // (2 * self._count))
        jobs = [self._jobs.popleft()]
        seconds = self._expected(jobs[0])
        while self._jobs and len(jobs) < most:
            seconds += self._expected(self._jobs[0])
            if seconds > _BATCH:
                break
            jobs.append(self._jobs.popleft())
        return jobs

    def _expected(self, job: Job) -> float:
        pace = self._paces.get(job.call)
        return pace.seconds if pace is not None else _UNKNOWN

    def suspect(self, jobs: Iterable[Job]) -> None:
        """One of these may have broken the pool: from now on each is tried alone."""
        self._suspects.update(job.id[0] for job in jobs)

    def done(self, job: Job, end: Done) -> None:
        """A job has come back with an answer: learn how long its kind takes."""
        self._pace.record(end.seconds)
        self._paces.setdefault(job.call, Pace()).record(end.seconds)
        self._suspects.discard(job.id[0])

"""The jobs that wait in the client: in which order they go, and how many at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from fancypipe_core.backend import Job, JobId, Pace

__all__ = ["Queue"]

_SHORT = 0.005  # seconds; while jobs take less, each worker has one more than the pace says


class Queue:
    """Jobs that no worker has.

    Jobs wait here and not at the workers, as far as they are long; short ones
    travel by the hundred.

    Args:
        count: How many workers share them.

    Attributes:
        jobs: Those that any worker may run; the first is the most urgent.
        alone: Those that want a fresh worker for themselves.
        pace: How long jobs take.
    """

    def __init__(self, count: int) -> None:
        self.jobs: deque[Job] = deque()
        self.alone: deque[Job] = deque()
        self.pace = Pace()
        self._count = count

    def __bool__(self) -> bool:
        return bool(self.jobs or self.alone)

    def add(self, jobs: Sequence[Job]) -> None:
        """Take jobs in, behind those that are there."""
        suspects = [job for job in jobs if job.alone]
        if suspects:
            self.alone.extend(suspects)
            jobs = [job for job in jobs if not job.alone]
        self.jobs.extend(jobs)

    def take_back(self, jobs: Sequence[Job]) -> None:
        """Take jobs in again that had been given away: they come first."""
        for job in reversed(jobs):
            (self.alone if job.alone else self.jobs).appendleft(job)

    def drop(self, unwanted: Collection[JobId]) -> list[JobId]:
        """Take cancelled jobs out; return those that were here."""
        dropped: list[JobId] = []
        for queue in (self.jobs, self.alone):
            mine = [job.id for job in queue if job.id in unwanted]
            if mine:
                kept = [job for job in queue if job.id not in unwanted]
                queue.clear()
                queue.extend(kept)
                dropped += mine
        return dropped

    def clear(self) -> None:
        """Forget all."""
        self.jobs.clear()
        self.alone.clear()

    def batch(self, load: int) -> list[Job]:
        """Take out what a worker with so many jobs gets now; empty if it has enough.

        So many as hide the latency, and no more than its fair share.
        """
        jobs = self.jobs
        most = self.pace.ahead + (self.pace.seconds < _SHORT) - load
        if most <= 0:
            return []
        fair = -(-len(jobs) // self._count)
        return [jobs.popleft() for _ in range(min(len(jobs), most, fair))]

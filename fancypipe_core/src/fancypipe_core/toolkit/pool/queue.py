"""The jobs that no worker has: in which order they go, and how many at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from math import inf

from fancypipe_core.backend import Job, JobId
from fancypipe_core.toolkit.times import Times

__all__ = ["Queue"]

_TOGETHER = 0.002  # seconds of work that travel together, where workers take batches


class Queue:
    """Jobs that no worker has.

    Jobs wait here and not at the workers, as far as they are long; short ones
    travel by the hundred.

    Args:
        fresh: Whether suspects are kept apart.

    Attributes:
        jobs: Those that any worker may run; the first is the most urgent.
        alone: Those that want a fresh worker for themselves.
        singly: Tasks of which one may have spoilt a batch.
        suspects: Tasks of which one may have killed a worker; they are tried alone too.
        times: How long jobs take.
    """

    def __init__(self, fresh: bool) -> None:
        self.jobs: deque[Job] = deque()
        self.alone: deque[Job] = deque()
        self.singly: set[int] = set()
        self.suspects: set[int] = set()
        self.times = Times()
        self._fresh = fresh

    def __len__(self) -> int:
        return len(self.jobs) + len(self.alone)

    def __contains__(self, id: JobId) -> bool:
        return any(job.id == id for queue in (self.jobs, self.alone) for job in queue)

    def add(self, jobs: Sequence[Job]) -> None:
        """Take jobs in, behind those that are there."""
        if self._fresh:
            known = self.suspects
            suspects = [job for job in jobs if job.alone or job.id[0] in known]
            if suspects:
                self.alone.extend(suspects)
                jobs = [job for job in jobs if not (job.alone or job.id[0] in known)]
        self.jobs.extend(jobs)

    def requeue(self, jobs: Sequence[Job]) -> None:
        """Take jobs in again that a worker had and did not begin: they come first."""
        for job in reversed(jobs):
            apart = self._fresh and (job.alone or job.id[0] in self.suspects)
            (self.alone if apart else self.jobs).appendleft(job)

    def drop(self, unwanted: Collection[JobId]) -> list[JobId]:
        """Take jobs out that nobody wants; return those that were here."""
        dropped: list[JobId] = []
        for queue in (self.jobs, self.alone):
            mine = [job.id for job in queue if job.id in unwanted]
            if mine:
                kept = [job for job in queue if job.id not in unwanted]
                queue.clear()
                queue.extend(kept)
                dropped += mine
        return dropped

    def batch(self, least: int, most: int, seconds: float) -> tuple[list[Job], float]:
        """Take out what a worker gets now.

        Args:
            least: So many jobs, however long they take.
            most: Not more jobs than this.
            seconds: More than `least` only while what was taken fills less than this.

        Returns:
            The jobs, and how long they are thought to take together, in seconds.
        """
        jobs, expected = self.jobs, self.times.expected
        taken: list[Job] = []
        work = 0.0
        for count in range(min(most, len(jobs))):
            if count >= least and work >= seconds:
                break
            job = jobs.popleft()
            work += expected(job.call)
            taken.append(job)
        return taken, work

    def batches(self, jobs: list[Job], slots: int) -> Iterator[list[Job]]:
        """Cut what a worker was sent: short jobs travel together, long ones singly.

        Args:
            jobs: What it was sent.
            slots: How many batches it runs at the same time; as long as nothing else
                waits, each gets its share.
        """
        most = len(jobs) if self.jobs else -(-len(jobs) // max(slots, 1))
        batch: list[Job] = []
        work = 0.0
        for job in jobs:
            more = inf if job.id[0] in self.singly else self.times.expected(job.call)
            if batch and (len(batch) >= most or work + more > _TOGETHER):
                yield batch
                batch, work = [], 0.0
            batch.append(job)
            work += more
        if batch:
            yield batch

    def travelled(self, batch: Collection[JobId], over: Collection[JobId]) -> None:
        """A batch has come back; those that are not over were lost, and nobody knows by whom."""
        if self.singly:
            self.singly.difference_update(id[0] for id in over)
        if len(batch) > 1:
            self.singly.update(id[0] for id in batch if id not in over)

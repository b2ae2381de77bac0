"""The jobs that no worker has: in which order they go, and how many at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from math import inf

from fancypipe_core.backend import Job, JobId
from fancypipe_core.toolkit.times import Times

__all__ = ["Queue"]


class Queue:
    """Jobs that no worker has.

    Jobs wait here and not at the workers, as far as they are long; short ones
    travel by the hundred.

    Args:
        fresh: Whether suspects are kept apart.
        apart: Whether those with needs are.
        together: How many seconds of work travel together, where workers take batches.

    Attributes:
        jobs: Those that any worker may run; the first is the most urgent.
        alone: Those that want a fresh worker for themselves.
        needy: Those that need more of a machine than one core, the oldest first.
        singly: Tasks of which one may have spoilt a batch.
        suspects: Tasks of which one may have killed a worker; they are tried alone too.
        times: How long jobs take.
    """

    def __init__(self, fresh: bool, apart: bool = False, together: float = 0.002) -> None:
        self.jobs: deque[Job] = deque()
        self.alone: deque[Job] = deque()
        self.needy: deque[Job] = deque()
        self._turns: dict[JobId, int] = {}  # of these: how many others have left before
        self._left = 0
        self.singly: set[int] = set()
        self.suspects: set[int] = set()
        self.times = Times()
        self._fresh = fresh
        self._apart = apart
        self._together = together

    @property
    def all(self) -> tuple[deque[Job], ...]:
        """All jobs, by what they want."""
        return self.jobs, self.alone, self.needy

    def __len__(self) -> int:
        return len(self.jobs) + len(self.alone) + len(self.needy)

    def __contains__(self, id: JobId) -> bool:
        return any(job.id == id for queue in self.all for job in queue)

    def add(self, jobs: Sequence[Job]) -> list[Job]:
        """Take jobs in, behind those that are there.

        Returns:
            Followers that were not taken in, as nothing that they need is here.
        """
        strays: list[Job] = []
        # Most are none of these; this takes a third of the time of any().
        if not (self.suspects or [job for job in jobs if job.after or job.alone or job.needs]):
            self.jobs.extend(jobs)
            return strays
        if any(job.after for job in jobs):
            here = {job.id for job in self.jobs}
            jobs, strays = self._sorted(jobs, here, lambda job: here.isdisjoint(job.after))
        if self._fresh:
            known = self.suspects
            self.alone.extend(job for job in jobs if job.alone or job.id[0] in known)
            jobs = [job for job in jobs if not (job.alone or job.id[0] in known)]
        for job in jobs:
            if self._apart and job.needs is not None:
                self.needy.append(job)
                self._turns[job.id] = self._left + len(self.jobs)
            else:
                self.jobs.append(job)
        return strays

    def has_turn(self, job: Job) -> bool:
        """Whether nobody with less needs has waited for longer than this one."""
        return self._turns.get(job.id, 0) <= self._left or not self.jobs

    def take(self, jobs: Collection[Job]) -> None:
        """Take out jobs with needs."""
        ids = {job.id for job in jobs}
        self.needy = deque(job for job in self.needy if job.id not in ids)
        for id in ids:
            self._turns.pop(id, None)

    def requeue(self, jobs: Sequence[Job]) -> list[Job]:
        """Take jobs in again that a worker had and did not begin: they come first.

        Returns:
            Followers that were not taken in, as not all that they need are among them.
        """
        here: set[JobId] = set()
        jobs, strays = self._sorted(jobs, here, lambda job: not here.issuperset(job.after))
        for job in reversed(jobs):
            if self.is_suspect(job):
                self.alone.appendleft(job)
            elif self.wants_its_own(job):
                self.needy.appendleft(job)
            else:
                self.jobs.appendleft(job)
                self._left -= 1
        return strays

    def _sorted(
        self, jobs: Sequence[Job], here: set[JobId], strays: Callable[[Job], bool]
    ) -> tuple[list[Job], list[Job]]:
        """Tell those that are taken in, which are then `here`, from followers that are not."""
        kept, apart = [], []
        for job in jobs:
            alone = self.wants_its_own(job)
            if job.after and (alone or strays(job)):
                apart.append(job)
                continue
            kept.append(job)
            if not alone:
                here.add(job.id)
        return kept, apart

    def is_suspect(self, job: Job) -> bool:
        """Whether a job wants a fresh worker for itself."""
        return self._fresh and (job.alone or job.id[0] in self.suspects)

    def wants_its_own(self, job: Job) -> bool:
        """Whether not any worker may have a job, as it is a suspect or has needs."""
        return (self._apart and job.needs is not None) or self.is_suspect(job)

    def drop(self, unwanted: Collection[JobId]) -> list[JobId]:
        """Take jobs out that nobody wants, and their followers; return those that were here."""
        dropped: list[JobId] = []
        for queue in self.all:
            if not any(job.id in unwanted for job in queue):
                continue
            gone = set(unwanted)
            kept = []
            for job in queue:
                if job.id in gone or not gone.isdisjoint(job.after):
                    gone.add(job.id)
                    dropped.append(job.id)
                else:
                    kept.append(job)
            if queue is self.jobs:
                self._left += len(queue) - len(kept)
            queue.clear()
            queue.extend(kept)
        return dropped

    def batch(
        self, least: int, most: int, seconds: float, has: Collection[JobId] = ()
    ) -> tuple[list[Job], float]:
        """Take out what a worker gets now.

        Args:
            least: So many jobs, however long they take.
            most: Not more jobs than this.
            seconds: More than `least` only while what was taken fills less than this.
            has: The jobs that the worker has: a follower goes with all that it needs, and
                where it does not, nothing behind it is taken.

        Returns:
            The jobs, and how long they are thought to take together, in seconds.
        """
        jobs = self.jobs
        count, work = self.times.filling(islice(jobs, most), least, seconds)
        taken = [jobs.popleft() for _ in range(count)]
        self._left += count
        if [job for job in taken if job.after]:
            with_it = self._all_there(taken, has)
            jobs.extendleft(reversed(taken[with_it:]))
            self._left -= count - with_it
            return taken[:with_it], work * with_it / count
        return taken, work

    @staticmethod
    def _all_there(jobs: Sequence[Job], has: Collection[JobId]) -> int:
        """Return how many of these jobs may go together to who has those."""
        before: set[JobId] = set()
        for count, job in enumerate(jobs):
            if not all(id in before or id in has for id in job.after):
                return count
            before.add(job.id)
        return len(jobs)

    def batches(self, jobs: list[Job], slots: int, *, limits: bool = False) -> Iterator[list[Job]]:
        """Cut what a worker was sent: short jobs travel together, long ones singly.

        Args:
            jobs: What it was sent.
            slots: How many batches it runs at the same time; as long as nothing else
                waits, each gets its share.
            limits: Whether those with time limits go singly, so that each is held to its own.
        """
        most = len(jobs) if self.jobs else -(-len(jobs) // max(slots, 1))
        batch: list[Job] = []
        work = 0.0
        for job in jobs:
            single = job.id[0] in self.singly or (limits and job.time_limit is not None)
            more = inf if single else self.times.expected(job.call)
            if batch and (len(batch) >= most or work + more > self._together):
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

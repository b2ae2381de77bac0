"""Jobs that wait here for values that other jobs make: see `Job.after`.

All threads are of one process, so a follower may run in any of them: it only waits
for its needs, and is a job like any other then.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from fancypipe_core.backend import Done, Job, JobId, Ok
from fancypipe_core.toolkit import KeptValues

__all__ = ["Followers"]

_LATELY = 64  # jobs; so late, at most, do followers come


class Followers:
    """Those that wait; told by the thread that submits, and by those that run jobs."""

    def __init__(self) -> None:
        self.is_used = False
        """Whether there was one lately; otherwise `ended` need not be called."""
        self._unused = 0  # jobs that have ended since, with nobody waiting
        self._here: set[JobId] = set()  # come, and not ended
        self._waiting: dict[JobId, Job] = {}
        self._behind: dict[JobId, list[JobId]] = {}  # who waits, by what they need
        self._kept = KeptValues()
        self._lock = threading.Lock()

    def come(self, jobs: Sequence[Job]) -> tuple[list[Job], list[JobId]]:
        """Jobs have come, and none of them has begun.

        If there was no follower lately, these cannot be followed unless one is among them.

        Returns:
            The followers that may begin, and those that never can.
        """
        begin: list[Job] = []
        lost: list[JobId] = []
        followers = [job for job in jobs if job.after]
        if not (followers or self.is_used):
            return begin, lost
        with self._lock:
            if followers:
                self.is_used, self._unused = True, 0
            if self.is_used:  # else that has just changed
                self._here.update([job.id for job in jobs])
            self._kept.expect(followers)
            here, waiting, behind = self._here, self._waiting, self._behind
            for job in followers:
                id = job.id
                waiting[id] = job
                for need in job.after:
                    behind.setdefault(need, []).append(id)
                # Only now: what ends at this moment is not here any more, or finds it.
                if here.issuperset(job.after):
                    continue
                if self._kept.has(job):
                    self._begin(job, begin, lost)
                else:
                    lost += self._withdraw([id])
        return begin, lost

    def ended(self, done: Done) -> tuple[list[Job], list[JobId]]:
        """A job has run; return the followers that may begin, and those that never can."""
        begin: list[Job] = []
        lost: list[JobId] = []
        with self._lock:
            self._here.discard(done.id)
            if type(done.reply) is not Ok:
                return begin, self._withdraw(self._behind.pop(done.id, ()))
            self._kept.ended(done)
            if not self._waiting:
                self._unused += 1
                if self._unused >= _LATELY:
                    self.is_used = False
                    self._here.clear()  # nobody tells us of their ends any more
                return begin, lost
            for id in self._behind.pop(done.id, ()):
                job = self._waiting.get(id)
                if job is not None and self._kept.has(job):
                    self._begin(job, begin, lost)
        return begin, lost

    def gone(self, ids: Iterable[JobId]) -> list[JobId]:
        """These are no more and have no value; return the followers that are lost with them."""
        lost: list[JobId] = []
        with self._lock:
            for id in ids:
                self._here.discard(id)
                lost += self._withdraw(self._behind.pop(id, ()))
        return lost

    def recall(self, ids: Iterable[JobId]) -> list[JobId]:
        """Take back those of these that wait, and who waits for them; return all these."""
        with self._lock:
            return self._withdraw(ids)

    def clear(self) -> None:
        """Nobody is here any more."""
        with self._lock:
            self._here.clear()
            self._behind.clear()
            self._waiting.clear()
            self._kept.clear()

    def _begin(self, job: Job, begin: list[Job], lost: list[JobId]) -> None:
        filled = self._kept.fill(job)
        if filled is None:
            lost += self._withdraw([job.id])
        else:
            self._forget(job)
            begin.append(filled)

    def _forget(self, job: Job) -> None:
        """A follower does not wait any more."""
        del self._waiting[job.id]
        for need in job.after:
            behind = self._behind.get(need)
            if behind is not None:
                behind.remove(job.id)
                if not behind:
                    del self._behind[need]

    def _withdraw(self, ids: Sequence[JobId] | Iterable[JobId]) -> list[JobId]:
        """Let these not begin, nor who waits for them; return them in the order of their needs."""
        lost: list[JobId] = []
        todo = list(ids)
        for id in todo:  # grows while we walk it
            job = self._waiting.get(id)
            if job is not None:
                self._forget(job)
                self._kept.forget(job)
                self._here.discard(id)
                lost.append(id)
                todo += self._behind.pop(id, ())
        return lost

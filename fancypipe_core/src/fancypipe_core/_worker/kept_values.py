"""The values that followers find in their inputs: see `Job.after`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from fancypipe_core._codec.assembly import fill_in, own_copy
from fancypipe_core._codec.pickler import PLAIN
from fancypipe_core.backend import Done, Encoded, Job, JobId, Live, Ok
from fancypipe_core.errors import GraphError

__all__ = ["KeptValues"]

_RECENT = 256  # values that are kept although nobody has asked for them yet
_SMALL = 4096  # bytes; a larger one is not


class KeptValues:
    """Keeps the values of jobs that have followers, until these have run or never will.

    A follower may come a moment after what it needs has ended: so once there was one, the last
    small values are kept too, until so many have ended that nobody has followed.

    Attributes:
        is_used: Whether there was one lately; otherwise `ended` need not be called.
    """

    def __init__(self) -> None:
        self._wanted: dict[JobId, int] = {}  # by how many followers that are here
        self._values: dict[JobId, Encoded | Live] = {}
        self._recent: dict[JobId, Encoded | Live] = {}
        self._unused = 0  # jobs that have ended since, with nobody waiting
        self.is_used = False

    def expect(self, jobs: Iterable[Job]) -> None:
        """Followers have come."""
        wanted, values = self._wanted, self._values
        for job in jobs:
            self.is_used, self._unused = True, 0
            for id in job.after:
                wanted[id] = wanted.get(id, 0) + 1
                recent = self._recent.get(id)
                if recent is not None:
                    values[id] = recent

    def has(self, job: Job) -> bool:
        """Whether all that a follower needs is here."""
        return self._values.keys() >= {*job.after}

    def ended(self, done: Done) -> None:
        """A job has run; what it returned may be needed."""
        if not self._wanted:
            self._unused += 1
            if self._unused > _RECENT:
                self.is_used = False
                self._recent.clear()
                return
        reply = done.reply
        if type(reply) is not Ok:
            return
        id, value = done.id, reply.outputs
        if id in self._wanted:
            # What it is of may still be changed.
            self._values[id] = own_copy(value) if type(value) is tuple else value
        if _is_small(value):
            recent = self._recent
            recent[id] = value
            if len(recent) > _RECENT:
                del recent[next(iter(recent))]

    def fill(self, job: Job) -> Job | None:
        """Return a follower with all its inputs; None if one of them is not here.

        It is not expected any more.
        """
        wanted, values = self._wanted, self._values
        try:
            # Its reader may change a value: the last one gets what is kept.
            taken = [own_copy(values[id]) if wanted[id] > 1 else values[id] for id in job.after]
            inputs = fill_in(job.inputs, taken)
        except (KeyError, GraphError):  # the engine sends it again, and says what is wrong
            return None
        finally:
            self.forget(job)
        return Job(job.id, job.call, inputs, job.time_limit, job.alone, job.after)

    def forget(self, job: Job) -> None:
        """A job will not run."""
        wanted = self._wanted
        for id in job.after:
            left = wanted.pop(id, 0) - 1
            if left > 0:
                wanted[id] = left
            else:
                self._values.pop(id, None)

    def clear(self) -> None:
        """No job is here any more."""
        self._wanted.clear()
        self._values.clear()


def _is_small(value: Encoded | Live) -> bool:
    if type(value) is Live:
        inside = value.value
        return type(inside) in PLAIN and sys.getsizeof(inside) <= _SMALL
    if type(value) is not tuple or len(value) != 1:
        return False
    return not value[0].buffers and len(value[0].head) <= _SMALL

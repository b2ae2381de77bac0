"""How long tasks take, learned from those that have run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fancypipe_core._codec.travel_time import travel_time
from fancypipe_core.backend import Call, Done, Job, Ok

__all__ = ["MOST", "Times"]

MOST = 512
"""So many short jobs wait at a worker for each slot, at most."""

_UNKNOWN = 0.01  # seconds that a task is thought to take before one has run: not short
_JUMP = 10.0  # one outlier does not make a task long: by so much a figure grows at most
_WEIGHT = 0.3  # of the newest in the average
_CALLS = 1000  # definitions that are remembered


class Times:
    """How long tasks take: for each definition, and for what came lately of all kinds.

    Attributes:
        mean: Seconds that a job took lately, whatever it was.
    """

    def __init__(self) -> None:
        self._typical: dict[Call, float] = {}
        self.mean = _UNKNOWN

    def expected(self, call: Call) -> float:
        """Return how many seconds a job of this definition is thought to take."""
        return self._typical.get(call, _UNKNOWN)

    def filling(self, jobs: Iterable[Job], least: int, seconds: float) -> tuple[int, float]:
        """Return how many of these jobs fill so many seconds, `least` at least; and how long they.

        They are not looked at any farther than that.
        """
        typical, work, count = self._typical, 0.0, 0
        for job in jobs:
            if count >= least and work >= seconds:
                break
            work += typical.get(job.call, _UNKNOWN)
            count += 1
        return count, work

    def learn(self, ended: Sequence[tuple[Job, Done]]) -> None:
        """These jobs have ended: a call for each would cost more than what it does.

        Large values count as long as they are on the way, there and back.  A job that computes
        for no time but fills the memory is not short: of such ones no hundreds are to wait at
        a worker.
        """
        typical, total = self._typical, 0.0
        for job, done in ended:
            seconds, reply = done.seconds, done.reply
            for value in (job.inputs, reply.outputs if type(reply) is Ok else ()):
                if type(value) is tuple:
                    for payload in value:
                        if payload.buffers:
                            seconds += travel_time(payload.buffers)
            total += seconds
            known = typical.get(job.call)
            if known is None:
                # The first says little: it is believed as the next ones say the same.
                known = _UNKNOWN
                if len(typical) >= _CALLS:
                    typical.clear()
            typical[job.call] = known + _WEIGHT * (min(seconds, _JUMP * known + 1e-6) - known)
        self.record_all(total, len(ended))

    def record_all(self, seconds: float, jobs: int) -> None:
        """So many jobs of any kind took so many seconds in all."""
        weight = 1.0 - 0.9 ** min(jobs, 50)
        self.mean += weight * (seconds / jobs - self.mean)

    def ahead(self, seconds: float) -> int:
        """Return how many jobs of the usual kind fill so many seconds: 1 to `MOST`."""
        return max(1, min(MOST, int(seconds / max(self.mean, 1e-7))))

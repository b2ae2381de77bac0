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
        work, count, usual = 0.0, 0, _UNKNOWN
        call: Call | None = None
        for job in jobs:
            if count >= least and work >= seconds:
                break
            if job.call is not call:
                call = job.call
                usual = self._typical.get(call, _UNKNOWN)
            work += usual
            count += 1
        return count, work

    def learn(self, ended: Sequence[tuple[Job, Done]]) -> None:
        """These jobs have ended: a call for each would cost more than what it does.

        Large values count as long as they are on the way, there and back.  A job that computes
        for no time but fills the memory is not short: of such ones no hundreds are to wait at
        a worker.
        """
        total, known = 0.0, _UNKNOWN
        typical = self._typical
        if len(typical) >= _CALLS:
            typical.clear()
        call: Call | None = None  # to look one up takes a while, and most are alike
        for job, done in ended:
            seconds, reply, inputs = done.seconds, done.reply, job.inputs
            if type(inputs) is tuple:
                for payload in inputs:
                    if payload.buffers:
                        seconds += travel_time(payload.buffers)
            if type(reply) is Ok and type(reply.outputs) is tuple:
                for payload in reply.outputs:
                    if payload.buffers:
                        seconds += travel_time(payload.buffers)
            total += seconds
            if job.call is not call:
                if call is not None:
                    typical[call] = known
                call = job.call
                # The first says little: it is believed as the next ones say the same.
                known = typical.get(call, _UNKNOWN)
            most = _JUMP * known + 1e-6
            known += _WEIGHT * ((seconds if seconds < most else most) - known)  # noqa: FURB136 - a call
        if call is not None:
            typical[call] = known
        self.record_all(total, len(ended))

    def record_all(self, seconds: float, jobs: int) -> None:
        """So many jobs of any kind took so many seconds in all."""
        weight = 1.0 - 0.9 ** min(jobs, 50)
        self.mean += weight * (seconds / jobs - self.mean)

    def ahead(self, seconds: float) -> int:
        """Return how many jobs of the usual kind fill so many seconds: 1 to `MOST`."""
        return max(1, min(MOST, int(seconds / max(self.mean, 1e-7))))

"""The clocks of a pool: time limits, calls for jobs, and who does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from fancypipe_core.backend import Job, JobId
from fancypipe_core.errors import ConnectionLost
from fancypipe_procs._limits import Limits
from fancypipe_procs._worker import Worker

__all__ = ["Seen", "Watch", "call_back"]

_LOOK = 1.0  # seconds between two looks at whether the workers live


class Seen(NamedTuple):
    """What the pool has to do after a look.

    Attributes:
        taken_back: Jobs that workers had and will not begin.
        abandoned: Workers that were killed and do not die.
    """

    taken_back: list[Job]
    abandoned: list[Worker]


class Watch:
    """Looks at all workers when one of the clocks says so.

    Args:
        limits: How long anything may take.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._deadlines: dict[JobId, float] = {}
        self._looked = monotonic()

    def begun(self, worker: Worker) -> None:
        """The first job that a worker has is the one that it runs: its time begins."""
        if not worker.ready:
            return  # its start is not the task's
        first = next(iter(worker.link.outstanding.values()), None)
        if first is not None and first.time_limit is not None:
            self._deadlines.setdefault(first.id, worker.heard + first.time_limit)

    def next_look(self, workers: Sequence[Worker], *, may_call: bool) -> float | None:
        """Return when to look again, on the monotonic clock; None if nothing can happen.

        Args:
            workers: All of them, also those on their way out.
            may_call: Whether a worker is idle, and no job waits for it.
        """
        limits = self._limits
        times = list(self._deadlines.values())
        for worker in workers:
            times += worker.kill_at.values()
            if worker.load:
                times.append(self._looked + _LOOK)
            if worker.killed_at is not None:
                times.append(worker.killed_at + limits.unkillable)
            elif not worker.ready:
                times.append(worker.born + limits.start)
            if worker.called_back is not None:
                if worker.load > 1 or (worker.load and worker.running is None):
                    times.append(worker.called_back + limits.take_back)
            elif may_call and worker.load > worker.ready:
                times.append(worker.heard + limits.call_back)
        return min(times, default=None)

    def look(self, workers: Sequence[Worker], *, may_call: bool) -> Seen:
        """Kill whose time is over, and call back what others could run; as for `next_look`."""
        now = monotonic()
        seen = Seen([], [])
        for worker in workers:
            self._for_jobs(worker, now, may_call, seen)
            self._cancelled(worker, now)
            if worker.killed_at is not None:
                if now >= worker.killed_at + self._limits.unkillable:
                    seen.abandoned.append(worker)
            elif not worker.ready and now >= worker.born + self._limits.start:
                worker.kill(
                    "start",
                    f"it did not start within {self._limits.start:g} s (the setting start_limit)",
                )
        self._overdue(workers, now)
        if now >= self._looked + _LOOK:
            self._alive(workers, min(now - self._looked, _LOOK))
            self._looked = now
        return seen

    def _for_jobs(self, worker: Worker, now: float, may_call: bool, seen: Seen) -> None:
        limits = self._limits
        if not worker.load:
            return
        if worker.called_back is None:
            # Of one that is not up, also the only job is called back.
            if worker.load > worker.ready and may_call and now >= worker.heard + limits.call_back:
                call_back(worker)
        elif now >= worker.called_back + limits.take_back:
            seen.taken_back.extend(worker.not_begun())
            worker.called_back = now

    def _cancelled(self, worker: Worker, now: float) -> None:
        if worker.kill_at:
            mine = worker.link.outstanding
            worker.kill_at = {id: at for id, at in worker.kill_at.items() if id in mine}
            running = worker.running
            if running is not None and now >= worker.kill_at.get(running.id, now + 1):
                worker.kill("cancelled")
                worker.kill_at.clear()

    def _overdue(self, workers: Sequence[Worker], now: float) -> None:
        for id, deadline in list(self._deadlines.items()):
            owner = next((w for w in workers if id in w.link.outstanding), None)
            if owner is None:
                del self._deadlines[id]
            elif now >= deadline:
                running = owner.running
                if running is not None and running.id == id:
                    del self._deadlines[id]
                    owner.kill("timeout")
                else:  # it has not begun: its inputs are on their way
                    self._deadlines[id] = now + (owner.link.outstanding[id].time_limit or 0.0)

    def _alive(self, workers: Sequence[Worker], seconds: float) -> None:
        for worker in workers:
            if not worker.load or worker.killed_at is not None:
                continue
            wrong = worker.look(seconds)
            if wrong and worker.silent >= self._limits.frozen:
                limit = f"{self._limits.frozen:g} s (the setting frozen_limit)"
                worker.kill("frozen", f"{wrong} for {limit}, so it was killed")


def call_back(worker: Worker) -> None:
    """Ask a worker for the jobs that it has not begun."""
    with suppress(ConnectionLost):  # its death is reported by its sentinel
        worker.call_back()

"""Jobs that come back: those that nobody wants, and those that their worker will not begin."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fancypipe_core.backend import NOT_BEGUN, Job, JobId, Lost
from fancypipe_core.backend import Event as Report
from fancypipe_core.toolkit.pool.clocks import Clocks
from fancypipe_core.toolkit.pool.dispatcher import Dispatcher
from fancypipe_core.toolkit.pool.queue import Queue
from fancypipe_core.toolkit.pool.roster import Roster
from fancypipe_core.toolkit.pool.states import LIVING, Action, CancelJobs
from fancypipe_core.toolkit.pool.workers import Clock, Rules, Worker

__all__ = ["Returns"]


class Returns:
    """Takes jobs back.

    Args:
        rules: What the workers can do.
        queue: The jobs that no worker has.
        roster: The workers.
        clocks: What is due when.
        dispatcher: Recalls what a worker has not begun.
        actions: Takes what the shell is to do.
        tell: Takes what the engine is to be told.

    Attributes:
        unwanted: The jobs at workers that nobody wants, and whether each is to be stopped.
    """

    def __init__(
        self,
        rules: Rules,
        queue: Queue,
        roster: Roster,
        clocks: Clocks,
        dispatcher: Dispatcher,
        *,
        actions: list[Action],
        tell: list[Report],
    ) -> None:
        self._rules = rules
        self._queue = queue
        self._roster = roster
        self._clocks = clocks
        self._dispatcher = dispatcher
        self._actions = actions
        self._tell = tell
        self.unwanted: dict[JobId, bool] = {}

    def unwant(self, ids: Collection[JobId], *, stop: bool) -> None:
        """Nobody wants these any more; `stop`: not even if they have begun."""
        unwanted = set(ids)
        for id in self._queue.drop(unwanted):
            self._tell.append(Lost(id, NOT_BEGUN))
        if not self._queue.alone:
            self._roster.retire_nobody()
        for worker in self._roster.workers.values():
            mine = unwanted.intersection(worker.jobs)
            if not mine:
                continue
            for id in mine:
                self.unwanted[id] = stop or self.unwanted.get(id, False)
            if worker.state not in LIVING:
                continue  # they end with it
            if stop and not self._rules.kills:
                self._actions.append(CancelJobs(worker.id, list(mine)))
                continue
            self._dispatcher.recall(worker, list(mine))
            if stop:
                worker.doomed |= mine
                self._clocks.set(worker, Clock.CANCEL, self._rules.cancel)

    def requeue(self, worker: Worker, ids: Sequence[JobId]) -> None:
        """Take jobs from a worker that it has not begun and will not begin."""
        kept: list[Job] = []
        before = len(worker.jobs)
        for id in ids:
            job = worker.drop(id)
            if job is None:
                continue
            if id in self.unwanted:
                del self.unwanted[id]
                self._tell.append(Lost(id, NOT_BEGUN))
            else:
                kept.append(job)
        if before:
            worker.work *= len(worker.jobs) / before
        self._dispatcher.strays += self._queue.requeue(kept)

"""Whose fault a worker's death is: which of its jobs had begun, and which of them is guilty."""

from __future__ import annotations

from collections.abc import Iterable

from fancypipe_core.backend import JobId
from fancypipe_core.toolkit.pool.queue import Queue
from fancypipe_core.toolkit.pool.states import Died
from fancypipe_core.toolkit.pool.workers import Rules, Worker

__all__ = ["Blame"]


class Blame:
    """Judges deaths.

    Args:
        rules: What the workers can do.
        queue: Keeps the suspects, who are tried alone.

    Attributes:
        spared: How many deaths were not held against each task.
    """

    def __init__(self, rules: Rules, queue: Queue) -> None:
        self._rules = rules
        self._queue = queue
        self.spared: dict[int, int] = {}

    def of(self, worker: Worker, event: Died) -> list[tuple[JobId, bool]]:
        """Return what a dead worker had begun, and whether its death counts against each."""
        ids = list(worker.jobs)
        guilty = event.why.guilty and event.why.reason != "left"
        if event.all_begun:
            sure = guilty and (worker.alone or not self._rules.fresh)
            return [(id, sure and self._is_held(id[0])) for id in ids]
        if event.running not in worker.jobs:
            return []
        if not self._rules.in_order:
            return [(event.running, guilty)]
        # Those before it have run; the death took their results, but was not their doing.
        place = ids.index(event.running)
        return [(id, id == event.running and guilty) for id in ids[: place + 1]]

    def suspect(self, ids: Iterable[JobId]) -> None:
        """One of these may have killed a worker: from now on each is tried alone."""
        self._queue.suspects.update(task for task, _ in ids)

    def trust(self, tasks: Iterable[int]) -> None:
        """These tasks have run to their end: they kill nobody."""
        for task in tasks:
            self._queue.suspects.discard(task)
            self.spared.pop(task, None)

    def _is_held(self, task: int) -> bool:
        """Whether one more death of a whole worker is held against a task."""
        if not self._rules.spared:
            return True
        deaths = self.spared[task] = self.spared.get(task, 0) + 1
        return deaths > self._rules.spared

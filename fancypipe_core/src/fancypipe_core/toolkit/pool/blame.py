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
    """

    def __init__(self, rules: Rules, queue: Queue) -> None:
        self._rules = rules
        self._queue = queue
        self._spared: dict[int, int] = {}  # deaths that were not held against a task

    @property
    def doubts(self) -> bool:
        """Whether any task is under suspicion."""
        return bool(self._queue.suspects or self._spared)

    def of(self, worker: Worker, event: Died) -> list[tuple[JobId, bool]]:
        """Return what a dead worker had begun, and whether its death counts against each."""
        ids, guilty = list(worker.jobs), event.why.guilty
        if event.all_begun:
            sure = worker.alone or not self._rules.fresh
            return [(id, guilty and sure and self._is_held(id[0])) for id in ids]
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

    def trust(self, task: int) -> None:
        """A task has run to its end: it kills nobody."""
        self._queue.suspects.discard(task)
        self._spared.pop(task, None)

    def _is_held(self, task: int) -> bool:
        """Whether one more death of a whole worker is held against a task."""
        if not self._rules.spared:
            return True
        deaths = self._spared[task] = self._spared.get(task, 0) + 1
        return deaths > self._rules.spared

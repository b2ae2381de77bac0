"""The pool's time: one clock that stands still while its process does, and what is due by it."""

from __future__ import annotations

from heapq import heappop, heappush

from fancypipe_core.toolkit.clock import SteadyClock
from fancypipe_core.toolkit.pool.workers import Clock, Worker

__all__ = ["Clocks"]

_GRAIN = 1e-6  # seconds; finer than that sums of times are not exact


class Clocks(SteadyClock):
    """What is due when.

    A clock that is set again, or whose worker does not have it any more, leaves an
    entry in the heap that is passed over: nothing is ever searched for.

    Args:
        now: The time, in seconds.

    Attributes:
        due: When the pool's own clocks are over.
    """

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.due: dict[Clock, float] = {}
        self._heap: list[tuple[float, int, Worker | None, Clock]] = []
        self._pushed = 0

    def set(self, worker: Worker | None, clock: Clock, seconds: float) -> None:
        """Set a clock of a worker, or of the pool, to be over in so many seconds."""
        at = self.now + seconds
        due = self.due if worker is None else worker.due
        due[clock] = at
        self._pushed += 1
        heappush(self._heap, (at, self._pushed, worker, clock))

    def forget_absence(self) -> None:
        """Somebody is there, or nobody is needed."""
        self.due.pop(Clock.NOBODY, None)
        self.due.pop(Clock.ABSENCE, None)

    def pop(self) -> tuple[Worker | None, Clock] | None:
        """Take out what is over and was due first; None if nothing is."""
        heap = self._heap
        while heap and heap[0][0] <= self.now + _GRAIN:
            at, _, worker, clock = heappop(heap)
            due = self.due if worker is None else worker.due
            if due.get(clock) == at:
                del due[clock]
                return worker, clock
        return None

    def rest(self) -> None:
        """See in how many seconds the next is over."""
        heap = self._heap
        while heap:
            at, _, worker, clock = heap[0]
            if (self.due if worker is None else worker.due).get(clock) == at:
                # Counted from where we judged last: what we only peeked at is still to be judged.
                self.patience = max(0.0, at - (self._seen - self._paused))
                return
            heappop(heap)
        self.patience = None

    @property
    def next(self) -> float | None:
        """When the next is over, on the shell's clock; None for never."""
        return None if self.patience is None else self._seen + self.patience

    def knows(self, worker: Worker | None, clock: Clock) -> bool:
        """Tell whether a clock that goes will be looked at; for `check`."""
        at = (self.due if worker is None else worker.due)[clock]
        return any(entry[0] == at and entry[2:] == (worker, clock) for entry in self._heap)

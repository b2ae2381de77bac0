"""What is asked for while a run goes on: how much of it is taken, and when.

The scheduler sends last what was ready first, so that a graph is finished part by part.  What
is taken while other work waits goes before that: it begins soon, beside much that was asked for
earlier.  Whoever asks first must begin first all the same, and nobody may be passed for ever.
So there are three limits.  Where there is room for jobs none of them holds: nothing waits then.

1. No more are taken than can be under way, and some.
2. None is taken while one that was taken before waits for room with its first job.
3. As many may pass one that is not over; then one more for several tasks that are done.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fancypipe_core._engine.reactor import Reactor
    from fancypipe_core._engine.roots import Root

__all__ = ["Intake"]

_MORE = 16  # that may be under way, where there is room for few jobs
_PASS = 1000  # that may be taken after one that is not over
_PACE = 8  # tasks; for as many that are done one more may be taken


class Intake:
    """Takes what is asked for.

    Args:
        reactor: Has what is asked for, what is under way, and the scheduler.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._run = 0  # of which the figures below are
        self._taken = 0
        self._last: deque[int] = deque()  # nodes of those taken last, of which some have not begun

    def take(self) -> list[Root]:
        """Return those to be demanded now, the first first; `watch` must follow."""
        asked = self._reactor.asked
        if self._run != self._reactor.run:
            self._run, self._taken = self._reactor.run, 0
            self._last.clear()
        room = self._room() if asked else 0
        batch: list[Root] = []
        while len(batch) < room and asked:
            root = asked.popleft()
            if not root.is_given_up:
                self._taken += 1
                root.place = self._place()
                root.begin()
                batch.append(root)
        return batch

    def watch(self, batch: list[Root]) -> None:
        """These were demanded."""
        self._last.extend([root.number for root in batch])

    def _place(self) -> int:
        return self._taken - self._reactor.done // _PACE

    def _room(self) -> int:
        """Return how many may be taken."""
        slots, watched = self._reactor.slots, self._reactor.watched
        free = self._reactor.scheduler.free
        most = slots.count + slots.ahead + _MORE - len(watched)
        if most <= free or self._some_wait():
            return free
        first: Root | None = next(iter(watched.values()), None)
        if first is not None and self._place() - first.place >= _PASS:
            return free
        return most

    def _some_wait(self) -> bool:
        last, waits = self._last, self._reactor.scheduler.waits_for_room
        while last and not waits(last[0]):
            last.popleft()
        return bool(last)

"""Which tasks are sent to follow what they need, and how many at a time."""

from __future__ import annotations

from collections.abc import Sequence

from fancypipe_core._engine.machine.dependencies import Dependencies
from fancypipe_core._engine.machine.records import waits_for_one
from fancypipe_core._engine.machine.states import Id, State

__all__ = ["Followers"]

# Global names of the members: an attribute of an Enum costs ten times as much.
READY, RUNNING, WAITING = State.READY, State.RUNNING, State.WAITING

_ENOUGH = 256  # jobs in flight; with so many there is no way to hide
_RAN, _CAME_BACK = (
    1 / 256,
    1 / 16,
)  # what one teaches: to come back costs much, to follow saves little
_STALE = 1000  # entries of the stack that are not worth a look


class Followers:
    """The followers on their way.

    Attributes:
        most: How many there may be at a time.
        sent: Their attempts.
    """

    def __init__(self) -> None:
        self.most = 0
        self.sent: set[Id] = set()
        self._useful = 1.0  # the part of `most` that was of use lately
        self._waits: set[int] = set()  # who has come back, and is not sent to follow again
        self._looked = 0

    def ran(self, ids: Sequence[Id]) -> None:
        """These attempts have returned values."""
        before = len(self.sent)
        self.sent.difference_update(ids)
        self._learn(_RAN * (before - len(self.sent)))

    def follows(self, id: Id) -> bool:
        """Tell whether this attempt was sent to follow what it needs, and has not ended."""
        return id in self.sent

    def came_back(self, task: int, final: bool) -> None:
        """A follower has not begun; `final`: not because what it needs came back too."""
        if final:
            self._waits.add(task)
        self._learn(-_CAME_BACK)

    def _learn(self, what: float) -> None:
        self._useful = min(1.0, max(0.0, self._useful + what))

    def take(  # noqa: C901 - no call for each task
        self, needs: Dependencies, room: int, flying: int
    ) -> tuple[list[Id], dict[int, tuple[Id, ...]]]:
        """Take out whom to send: each follower right behind what it needs.

        Returns:
            The attempts, and for followers those that they follow.
        """
        records, ready, followers = needs.records, needs.ready, needs.followers
        most = max(1, int(self.most * self._useful)) if self.most else 0
        few = most - len(self.sent)
        batch: list[Id] = []
        after: dict[int, tuple[Id, ...]] = {}
        while room > 0:
            if followers and few > 0 and flying + len(batch) < _ENOUGH:
                task = followers.pop()
                record = records.get(task)
                # As `waits_for_one`: a call for each would cost as much as all this.
                if (
                    record is None
                    or record.missing != 1
                    or record.unsent
                    or record.state is not WAITING
                    or record.root > 0
                    or record.losses
                    or record.local
                    or record.held <= 0
                    or task in self._waits
                ):
                    continue
                few -= 1
                for need in record.needs:
                    known = records[need]
                    if known.state is RUNNING:
                        after[task] = ((need, known.attempt),)
                self.sent.add((task, record.attempt + 1))
            elif ready:
                task = ready.pop()
                record = records.get(task)
                if record is None or record.state is not READY or not record.held:
                    continue
                if self._waits:
                    self._waits.discard(task)
            else:
                break
            room -= 1
            record.state = RUNNING
            record.attempt = attempt = record.attempt + 1
            batch.append((task, attempt))
            # Who needs it may follow.
            for user in record.users or ():
                waiting = records.get(user)
                if waiting is not None:
                    waiting.unsent = unsent = waiting.unsent - 1
                    if not unsent and waiting.missing == 1:
                        followers.append(user)
        if len(followers) > self._looked + _STALE:
            followers[:] = [task for task in followers if waits_for_one(records.get(task))]
            self._looked = len(followers)
        return batch, after

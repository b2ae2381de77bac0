"""A worker of the pool's world."""

from __future__ import annotations

from collections import deque

from fancypipe_core.backend import Done, Job, JobId, Lost
from fancypipe_core.toolkit.pool.states import Ended, Event

__all__ = ["Process"]


class Process:
    """A worker as it really is.

    Attributes:
        inbox: The jobs that it has and has not begun.
        cell: The job that it began last.
        running: The jobs that it runs.
        made: The jobs whose values are there.
        ended: Jobs that are over and not reported.
        wire: What it has said and nobody has read.
        recalled: What was recalled from it, and it has not obeyed yet; it begins nothing before.
        hangs: Whether what it runs does not end.
    """

    def __init__(self, number: int, slots: int, now: float, in_order: bool) -> None:
        self.number = number
        self.in_order = in_order
        self.slots = slots
        self.share = slots  # how many of them are for us, as far as the machine was told
        self.waits = True  # whether more may wait there
        self.born = now
        self.up = self.dead = self.stopped = self.killed = self.hung_up = False
        self.unkillable = self.deaf = self.hangs = False
        self.told_dead = False
        self.dismissed = False
        self.inbox: deque[Job] = deque()
        self.recalled: set[JobId] = set()
        self.running: dict[JobId, Job] = {}
        self.cell: JobId | None = None
        self.begun = False
        self.made: set[JobId] = set()
        self.unreported: list[JobId] = []
        self.ended: list[Done | Lost] = []
        self.wire: list[Event] = []
        self.woke = 0.0
        self.wrong = ""  # what the looks at it have shown, without a break, since when
        self.wrong_since = 0.0
        self.single = False  # it was started for a suspect
        self.alone: JobId | None = None
        self.reason: tuple[str, str] | None = None
        self._devices: tuple[str, ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of the job that it has, as far as anybody knows."""
        waits = any(id not in self.recalled for id in self.waiting)
        return self._devices if waits or self.unreported else ()

    @devices.setter
    def devices(self, names: tuple[str, ...]) -> None:
        self._devices = names

    @property
    def is_ending(self) -> bool:
        """Whether the machine knows that it is about to end."""
        return self.dismissed or self.killed or self.hung_up

    @property
    def has_suspect(self) -> bool:
        """Whether it has a job that must have no other beside it."""
        waits = self.alone not in self.recalled and self.alone in self.waiting
        return waits or self.alone in self.unreported

    @property
    def waiting(self) -> list[JobId]:
        """The jobs that it has not begun."""
        return [job.id for job in self.inbox]

    @property
    def last(self) -> JobId | None:
        """What a look at the cell tells: the last that began, if nobody has read of its end."""
        return self.cell if self.cell in self.unreported else None

    @property
    def unread(self) -> list[JobId]:
        """The jobs of whose end it has said something that nobody has read."""
        said = [event for event in self.wire if isinstance(event, Ended)]
        return [end.id for event in said for end in event.events if isinstance(end, (Done, Lost))]

    @property
    def next(self) -> Job | None:
        """What it begins next, or gives back; a follower waits for what it needs."""
        if self.in_order:
            return self.inbox[0] if self.inbox else None
        here = {*self.waiting, *self.running}
        return next((job for job in self.inbox if here.isdisjoint(job.after)), None)

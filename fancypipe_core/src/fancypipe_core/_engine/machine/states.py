"""The scheduler's table: its states and transitions, its events and actions.

`TRANSITIONS` is the machine's documentation: the pages about the architecture
are made from it, and `Scheduler.check()` and the tests hold the machine to it.
Events and actions come in batches, since a record for each task would cost more
than the decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

import msgspec

__all__ = [
    "SETTLED",
    "TRANSITIONS",
    "Action",
    "Apart",
    "Aside",
    "CameBack",
    "Cancel",
    "Compute",
    "Demand",
    "Drop",
    "Due",
    "Event",
    "Extended",
    "Failed",
    "Grow",
    "Grown",
    "GrownTask",
    "Halt",
    "Known",
    "Level",
    "Paused",
    "Release",
    "Retried",
    "Returned",
    "Room",
    "Settled",
    "SettledTask",
    "State",
    "Stuck",
    "Submit",
    "Unfolded",
    "WorkerLost",
]


Id = tuple[int, int]
"""(task, attempt)"""


class State(Enum):
    """Where a task is."""

    NEW = "demanded, its inputs not looked at"
    GROWING = "its inputs are being looked at"
    WAITING = "waits for its needs"
    READY = "may run, waits for room"
    DELAYED = "has failed or paused, waits for the time of its next attempt"
    RUNNING = "an attempt is in flight"
    UNFOLDED = "returned references, waits for them"
    DONE = "has its value"
    FAILED = "failed, or needs what failed"
    CANCELLED = "not wanted any more"

    # There is one of each.  The hash of an Enum is a call that costs ten times as much.
    __hash__ = object.__hash__


NEW, GROWING, WAITING, READY, DELAYED, RUNNING, UNFOLDED, DONE, FAILED, CANCELLED = State
SETTLED = frozenset({DONE, FAILED, CANCELLED})

TRANSITIONS: dict[State, dict[State, str]] = {
    NEW: {
        GROWING: "its turn has come",
        READY: "it is known from the start that it needs nothing",
        CANCELLED: "nobody wants it any more",
    },
    GROWING: {
        WAITING: "it needs tasks that are not done",
        READY: "all its needs are done",
        DONE: "its value is known from an earlier run",
        FAILED: "a need has failed, or its inputs cannot be written down",
        CANCELLED: "nobody wants it any more",
    },
    WAITING: {
        READY: "its last need is done",
        RUNNING: "it waits for one need only, and is sent to follow it",
        FAILED: "a need has failed, or waits for this task",
        CANCELLED: "nobody wants it any more",
    },
    READY: {
        RUNNING: "there is room: an attempt is submitted, or computed in the client",
        CANCELLED: "nobody wants it any more",
    },
    DELAYED: {
        READY: "its delay is over",
        WAITING: "its delay is over, and a need that it had followed is lost too",
        FAILED: "a need that it had followed has failed",
        CANCELLED: "nobody wants it any more",
    },
    RUNNING: {
        DONE: "the attempt returned a value",
        UNFOLDED: "the attempt returned references",
        READY: "the attempt failed or was lost, and there is budget left; or it had not begun",
        WAITING: "it was sent to follow its needs, and came back or was lost before they are done",
        DELAYED: "the attempt failed, there is budget left, and its next waits; or it paused",
        FAILED: "the attempt failed or was lost, without budget left; or a need that it follows "
        "has failed; or it waits for itself",
        CANCELLED: "nobody wants it any more",
    },
    UNFOLDED: {
        DONE: "what it returned is done",
        FAILED: "something that it returned has failed, or waits for this task",
        CANCELLED: "nobody wants it any more",
    },
    DONE: {},
    FAILED: {},
    CANCELLED: {},
}


# ---- events ----------------------------------------------------------------


class Demand(msgspec.Struct, frozen=True):
    """These tasks are wanted; they stay until `Drop`.  `level`: see the module's text."""

    tasks: Sequence[int]
    level: int = 0


class Drop(msgspec.Struct, frozen=True):
    """These demanded tasks are not wanted any more."""

    tasks: Sequence[int]


class GrownTask(NamedTuple):
    """A task whose inputs were looked at.

    Attributes:
        task: Its number.
        needs: The tasks whose values it needs, each once.
        local: Whether it is computed in the client and takes no slot.
        retries: How many of its exceptions are forgiven.
        bad: Its inputs cannot be written down: it fails at once.
        delayed: Whether an attempt after an exception waits for its time.
    """

    task: int
    needs: Sequence[int] = ()
    local: bool = False
    retries: int = 0
    bad: bool = False
    delayed: bool = False


class Grown(msgspec.Struct, frozen=True):
    """The answer to `Grow`: who is needed stands before who needs it."""

    tasks: Sequence[tuple[int, Sequence[int], bool, int, bool, bool]]  # of `GrownTask`, as above


class Known(msgspec.Struct, frozen=True):
    """The values of these tasks, which were to be grown, are there without their running.

    Told before the `Grown` of the others.
    """

    tasks: Sequence[int]


class Room(msgspec.Struct, frozen=True):
    """At most `count + ahead` jobs may be in flight from now on."""

    count: int
    ahead: int


class Returned(msgspec.Struct, frozen=True):
    """These attempts returned values."""

    ids: Sequence[Id]


class Unfolded(msgspec.Struct, frozen=True):
    """This attempt returned references; `needs` are the tasks they refer to, each once."""

    id: Id
    needs: Sequence[int]


class Extended(msgspec.Struct, frozen=True):
    """This unfolded task waits for these as well, and lets go of what is over."""

    task: int
    needs: Sequence[int]


class Paused(msgspec.Struct, frozen=True):
    """This module's main goes on later, as its next attempt: when `Due` says so."""

    id: Id


class Failed(msgspec.Struct, frozen=True):
    """This attempt raised an exception.

    `final`: trying again cannot help.  `again`: it is tried again also where no
    exception is forgiven any more.
    """

    id: Id
    final: bool = False
    again: bool = False


class WorkerLost(msgspec.Struct, frozen=True):
    """The worker of this attempt died.

    `guilty`: the death counts against the task.  `begun`: the attempt may have begun.
    """

    id: Id
    guilty: bool
    begun: bool = True


class CameBack(msgspec.Struct, frozen=True):
    """These attempts were sent to follow what they need, and were given back: none has begun."""

    ids: Sequence[Id]


class Due(msgspec.Struct, frozen=True):
    """The delays of these tasks are over."""

    tasks: Sequence[int]


class Level(msgspec.Struct, frozen=True):
    """So many modules are blocked in a wait for a result; told before what they demand."""

    level: int


class Aside(msgspec.Struct, frozen=True):
    """This module's main goes on in a thread of its own, and holds up no other from now on.

    Attributes:
        id: The attempt.
        awaits: What it waits for inside, which was demanded; none while it goes on.
    """

    id: Id
    awaits: Sequence[int] = ()


class Apart(msgspec.Struct, frozen=True):
    """All mains that are under way, blocked or not, go on in a thread of their own: see `Aside`."""


class Halt(msgspec.Struct, frozen=True):
    """Everything is to be cancelled."""


Event = (
    Demand
    | Drop
    | Grown
    | Known
    | Room
    | Returned
    | Unfolded
    | Extended
    | Paused
    | Failed
    | WorkerLost
    | CameBack
    | Due
    | Level
    | Aside
    | Apart
    | Halt
)


# ---- actions ---------------------------------------------------------------


class Grow(msgspec.Struct, frozen=True):
    """Look at the inputs of these tasks and answer `Grown`.

    Attributes:
        tasks: The tasks.
        more: So many may be looked at besides, each of which is needed by the one before, and new.
    """

    tasks: list[int]
    more: int = 0


class Submit(msgspec.Struct, frozen=True):
    """Send these attempts to the backend, the most urgent first.

    Attributes:
        ids: The attempts.
        after: For a task that is sent before all its needs are done, those that are not.
    """

    ids: list[Id]
    after: Mapping[int, tuple[Id, ...]] = MappingProxyType({})


class Compute(msgspec.Struct, frozen=True):
    """Run this module in the client; answer as for an attempt."""

    id: Id


class Cancel(msgspec.Struct, frozen=True):
    """Nobody waits for these attempts any more; their end is still to be reported."""

    ids: list[Id]


class Retried(msgspec.Struct, frozen=True):
    """This attempt ended badly, and another will be made; if `later`, answer `Due` in time."""

    id: Id
    later: bool = False


class SettledTask(NamedTuple):
    """A task's end.  `root`: if it failed, the task that failed first, which may be itself."""

    task: int
    state: State
    root: int


class Settled(msgspec.Struct, frozen=True):
    """These tasks have come to their end."""

    tasks: Sequence[tuple[int, State, int]]  # of `SettledTask`, which takes longer to make


class Release(msgspec.Struct, frozen=True):
    """Nobody will ask for these tasks' values again; their numbers are not used again."""

    tasks: list[int]


class Stuck(msgspec.Struct, frozen=True):
    """These tasks wait for themselves, and can never be done.  They are failed.

    `circle` shows it: a chain of needs that comes back to its first task, or that
    ends at a module whose main waits for what it makes.
    """

    tasks: list[int]
    circle: list[int]


Action = Grow | Submit | Compute | Cancel | Retried | Settled | Release | Stuck

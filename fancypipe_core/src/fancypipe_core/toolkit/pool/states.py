"""The pool's table: a worker's states and transitions, and the pool's events and actions.

`TRANSITIONS` is the machine's documentation: the page about the architecture is
made from it, and `Pool.check()` and the tests hold the machine to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import msgspec

from fancypipe_core.backend import Certificate, Equipment, Job, JobId, Needs
from fancypipe_core.backend import Event as Report

__all__ = [
    "LIVING",
    "TRANSITIONS",
    "UP",
    "Action",
    "Cancel",
    "CancelJobs",
    "Died",
    "Dismiss",
    "Ended",
    "Event",
    "GiveUp",
    "HungUp",
    "Joined",
    "Kill",
    "Look",
    "NotStarted",
    "Order",
    "Recall",
    "RecallJobs",
    "RoundTrip",
    "Seen",
    "Send",
    "Spoilt",
    "Start",
    "State",
    "Submit",
    "Tell",
    "Up",
    "Wish",
]


class State(Enum):
    """Where a worker is."""

    STARTING = "was started, or has joined, and is not up"
    IDLE = "is up, and has no jobs"
    BUSY = "has jobs"
    RECALLED = "jobs of it were recalled; gets no others until it answers"
    RETIRING = "gets no more jobs, and is replaced when it has none"
    LEAVING = "is about to end, in good order or not; its jobs stay its own until it has"
    KILLED = "was killed, and is not dead yet"
    GONE = "is dead, or given up"

    # There is one of each.  The hash of an Enum is a call that costs ten times as much.
    __hash__ = object.__hash__


STARTING, IDLE, BUSY, RECALLED, RETIRING, LEAVING, KILLED, GONE = State

UP = frozenset({IDLE, BUSY, RECALLED, RETIRING})
"""It has answered, and its channel is good."""

LIVING = UP | {STARTING}
"""It takes one of the places that the pool has for workers."""

TRANSITIONS: dict[State, dict[State, str]] = {
    STARTING: {
        IDLE: "it is up",
        BUSY: "it is up, and was sent jobs before",
        RECALLED: "it is up, and its jobs were recalled before",
        RETIRING: "it is up, and its place is wanted for a suspect",
        LEAVING: "its channel has ended",
        KILLED: "it did not come up in time, or a job of it is cancelled",
        GONE: "it died",
    },
    IDLE: {
        BUSY: "it was sent jobs",
        LEAVING: "it was dismissed, or its channel has ended",
        KILLED: "it broke the protocol",
        GONE: "it died",
    },
    BUSY: {
        IDLE: "its last job has ended",
        RECALLED: "another worker is idle, or nobody wants jobs of it any more",
        RETIRING: "its place is wanted for a suspect",
        LEAVING: "its channel has ended",
        KILLED: "a job took too long or is cancelled, or it is frozen",
        GONE: "it died",
    },
    RECALLED: {
        IDLE: "it answered, and has no jobs left",
        BUSY: "it answered",
        RETIRING: "its place is wanted for a suspect",
        LEAVING: "its channel has ended",
        KILLED: "a job took too long or is cancelled, or it is frozen",
        GONE: "it died",
    },
    RETIRING: {
        IDLE: "its place is not wanted any more",
        BUSY: "its place is not wanted any more",
        RECALLED: "its place is not wanted any more, and it has not answered a recall",
        LEAVING: "it has no jobs left and was dismissed, or its channel has ended",
        KILLED: "a job took too long or is cancelled, or it is frozen",
        GONE: "it died",
    },
    LEAVING: {KILLED: "it was not gone in time", GONE: "it has ended"},
    KILLED: {GONE: "it is dead, or hangs in the kernel and was given up"},
    GONE: {},
}


# ---- what the engine wants ----------------------------------------------------


class Submit(msgspec.Struct, frozen=True):
    """The engine wants these jobs run, the most urgent first."""

    jobs: Sequence[Job]


class Cancel(msgspec.Struct, frozen=True):
    """Nobody wants these jobs any more: drop what waits, stop what runs."""

    ids: Sequence[JobId]


class Recall(msgspec.Struct, frozen=True):
    """The engine wants back what of these has not begun; what runs goes on."""

    ids: Sequence[JobId]


Wish = Submit | Cancel | Recall


# ---- events: what the shell tells of workers ----------------------------------


class Joined(msgspec.Struct, frozen=True):
    """A worker has come by itself, or is still on its way; it should be up in so many seconds."""

    worker: int
    limit: float


class Up(msgspec.Struct, frozen=True):
    """A worker has answered, or joined by itself; or what it can do has changed.

    Attributes:
        worker: Who.
        slots: How many jobs it runs for us at the same time; 0 for none at the moment.
        waits: Whether more jobs than these may wait there; if not, the others are recalled.
        manned: Whether anybody is there to run them.  If not, so that what waits may bring
            somebody, that has the limit `Rules.away`.
        equipment: What its machine has for us, of one that came by itself; None for what was
            said before, or one core for each slot.
    """

    worker: int
    slots: int = 1
    waits: bool = True
    equipment: Equipment | None = None
    manned: bool = True


class RoundTrip(msgspec.Struct, frozen=True):
    """The way to a worker and back takes so many seconds, by the shell's own measure."""

    worker: int
    seconds: float


class Ended(msgspec.Struct, frozen=True):
    """A worker has reported, or given another sign of life.

    `events`: what it said of its jobs, in order; the pool passes on what counts.  A job
    that is lost and was not started it will not begin: that is the answer to a recall.
    """

    worker: int
    events: Sequence[Report] = ()


class Seen(msgspec.Struct, frozen=True):
    """The answer to `Look`.

    Attributes:
        worker: Who.
        running: The job that it began last, if it has not been reported; None for none.
        begun: Whether it has ever begun a job.
        works: Whether it is in the middle of a task, or of reading one, so that its silence
            means nothing.
        stopped: Whether a signal has stopped it.
    """

    worker: int
    running: JobId | None
    begun: bool
    works: bool = False
    stopped: bool = False


class HungUp(msgspec.Struct, frozen=True):
    """A worker's channel has ended: it is dying, ends in good order, or was harmed.

    Attributes:
        worker: Who.
        running: As in `Seen`.
        begun: As in `Seen`.
        why: What it is killed for if it is not gone in time, a phrase.
    """

    worker: int
    running: JobId | None
    begun: bool
    why: str = ""


class Spoilt(msgspec.Struct, frozen=True):
    """A worker has sent what is no report; `why` is a phrase."""

    worker: int
    why: str


class Died(msgspec.Struct, frozen=True):
    """A worker is dead, and what it had reported was told before.

    Attributes:
        worker: Who.
        why: What is known of its death.
        running: The job that it had begun; None for none.
        begun: Whether it had ever begun a job.
        all_begun: Whether all of its jobs may have been begun, for workers of which
            nobody can tell.  If there were several, and suspects can be tried alone,
            nobody is guilty yet and all are suspects.
    """

    worker: int
    why: Certificate
    running: JobId | None = None
    begun: bool = True
    all_begun: bool = False


class NotStarted(msgspec.Struct, frozen=True):
    """A worker could not even be started."""

    worker: int
    why: str


Event = Joined | Up | RoundTrip | Ended | Seen | HungUp | Spoilt | Died | NotStarted


# ---- actions: what the shell is to do ---------------------------------------


class Start(msgspec.Struct, frozen=True):
    """Start a worker under this number; answer `Up` when it is, `NotStarted` if it cannot be.

    `slots`: how many jobs it is to run at the same time; 0 for as many as it can.
    """

    worker: int
    slots: int = 1


class Send(msgspec.Struct, frozen=True):
    """Send a worker these jobs.  If its channel has ended, say `HungUp`."""

    worker: int
    jobs: list[Job]


class RecallJobs(msgspec.Struct, frozen=True):
    """Ask a worker for these jobs as far as it has not begun them: each such is `Lost`."""

    worker: int
    ids: list[JobId]


class CancelJobs(msgspec.Struct, frozen=True):
    """Tell a worker that nobody wants these jobs any more; it stops them itself."""

    worker: int
    ids: list[JobId]


class Look(msgspec.Struct, frozen=True):
    """See what a worker does; answer `Seen` at once."""

    worker: int


class Dismiss(msgspec.Struct, frozen=True):
    """Ask a worker without jobs to end."""

    worker: int


class Kill(msgspec.Struct, frozen=True):
    """Kill a worker.

    Attributes:
        worker: Who.
        reason: For the certificate; empty if it is given up: it was killed, and hangs
            in the kernel.  Then say `Died` without waiting.
        why: A phrase; empty for the signal's name.
    """

    worker: int
    reason: str
    why: str = ""


class Tell(msgspec.Struct, frozen=True):
    """Pass these events on to the engine."""

    events: list[Report]


class GiveUp(msgspec.Struct, frozen=True):
    """The run cannot go on: no worker comes up.

    Attributes:
        why: What the last one died of, or how long there was none; a phrase.
        output: The last lines that it printed.
        unmet: What a task needs, and no worker has that is there; `why` names the task.
        away: Whether it is that jobs have waited for `Rules.away`, and nobody was there.
    """

    why: str
    output: tuple[str, ...] = ()
    unmet: Needs | None = None
    away: bool = False


Order = Start | Send | RecallJobs | CancelJobs | Look | Dismiss | Kill | GiveUp
"""What a shell does with its workers."""

Action = Order | Tell

"""The backend contract: what a backend is given, and what it answers.

A backend moves small records.  It never sees the user's objects, the graph, the
scheduler or a logger.  The engine gives it `Job`s; it runs each of them with a
`Runner` wherever it likes, and reports `Event`s to the sink it was started
with.

The rules; the conformance tests have the same numbers:

1.  `start` is called once and first.  A `Slots` event follows within the start
    limit, or `start` raises `BackendStartError`.  One with `count` 0 says that it is up
    and has no worker yet; while work waits, there is a worker within the limit.
2.  `submit` never waits for a job to run and never raises for a job's own fault.
3.  Each submitted id gets exactly one `Done` or `Lost`, and nothing after it;
    at most one `Started` comes before it.
4.  The sink may be called from any thread, even from inside `submit`.  It is given a new
    sequence of these records each time, with sound fields.
5.  `cancel` is a wish.  Unknown ids are ignored, repeats do no harm, rule 3 holds.
    So is `recall`, which leaves alone what runs, and ends what has not begun in
    `Lost`, neither started nor guilty.
6.  A dead worker yields `Lost` for its own job only, with a certificate; then
    `Slots`, if the capacity changed.  Where one was preempted, or its time was up, the
    reason is `left`, and nobody is guilty.
7.  The engine keeps at most `count + ahead` jobs submitted.  `ahead` hides
    latency and may be changed at any time by another `Slots`.
8.  Buffers arrive bit-identical, and nothing is kept after the terminal event.
9.  After `stop` no event comes, and no thread, child, socket, descriptor or
    file is left.
10. `time_limit` is enforced by killing where the backend can kill.  Where it
    cannot, it says so once, by a `Note` on the stream "warning"; or it abandons
    the job, reports it as lost by `timeout`, and names what runs on in a note.
11. A follower, a job with `Job.after`, is sent to who is `Following` and nobody else.
    It begins only after all these have returned values, whose ends are reported
    before its own, and finds the values in its inputs.  If one of them ends in any
    other way, or ran elsewhere, or is not known, or there is no room for it, then it
    ends in `Lost` by `NOT_BEGUN`.  The engine may submit the same id again.
12. A job that comes with `Job.devices` has been given them, and keeps these: who hands
    out devices hands it no others, and does not count them.

What a backend may have besides: `Driven`, `Selectable`, `Patient`, `Scaling`, `Equipped`,
`Watched`, `Forked`, `Adapting`, `Following`, `Handing`.

Version of this contract: `API_VERSION`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from fancypipe_core.backend.records import (
    Done,
    Job,
    JobId,
    Needs,
    Note,
    Sink,
)

__all__ = [
    "API_VERSION",
    "Adapting",
    "Backend",
    "Driven",
    "Environment",
    "Equipped",
    "Following",
    "Forked",
    "Handing",
    "JobRunner",
    "Patient",
    "Scaling",
    "Selectable",
    "Watched",
]

API_VERSION = 1


class Backend(Protocol):
    """The five things that a backend does.  See the rules in this module's text."""

    def start(self, sink: Sink) -> None:
        """Come up, then report `Slots` to the sink.

        Raises:
            BackendStartError: It cannot come up; the message says what to do.
        """

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take these jobs.  The order is the order of urgency."""

    def cancel(self, ids: Sequence[JobId]) -> None:
        """Drop these jobs where they wait and kill them where they run, if you can."""

    def recall(self, ids: Sequence[JobId]) -> None:
        """Drop what of these has not begun, and report it as lost by `NOT_BEGUN`.

        What runs goes on.  It is for an end in good order, so that what waits does not
        run before it, and for work that an idle worker could do sooner.  Where `cancel`
        stops nothing that runs, the two are the same.
        """

    def stop(self, grace: float) -> None:
        """End.  Running jobs have `grace` seconds to finish; then they are killed."""


# What a backend may have besides.  The engine finds it by `isinstance`, in its own process.


@runtime_checkable
class Driven(Backend, Protocol):
    """A backend that lives in the engine's thread and is driven from there.

    When the engine has nothing to do it calls `drive`, in the thread that
    called `run()`.  That saves the hand-over between threads, which costs more
    than a small task; and it is how serial keeps tasks where a debugger works.

    `start` must not wait, for Ctrl-C is not heeded in it; what takes its time, such as
    workers that have to come from somewhere, comes in `drive`.
    """

    def drive(self, timeout: float | None) -> None:
        """Do your own work until there was an event or `timeout` seconds are over.

        Args:
            timeout: Seconds; None for no limit, 0 to look and come back.
        """

    def wake(self) -> None:
        """Make a `drive` that waits return soon.  Called from any thread."""


@runtime_checkable
class Selectable(Driven, Protocol):
    """A driven backend whose driver may wait for other things as well, in the same thread."""

    def fileno(self) -> int:
        """Return a descriptor that is readable while `drive` has something to take."""

    @property
    def due(self) -> float | None:
        """When `drive` must be called if nothing comes, on the monotonic clock; None for never."""


@runtime_checkable
class Patient(Backend, Protocol):
    """A backend that may need longer to come up than the setting `backend_start_limit`."""

    @property
    def start_limit(self) -> float:
        """Seconds in which the first `Slots` come, or it says why not.

        Also those in which it may be without any worker while work waits; `inf` for no limit.
        """


@runtime_checkable
class Scaling(Backend, Protocol):
    """A backend that gets workers as there is work, and lets go of them."""

    def backlog(self, tasks: int) -> None:
        """Take how many tasks wait for slots, besides the jobs that were submitted.

        Called in the engine's thread when that has changed, so it must not wait.  Tasks of
        which nobody knows yet whether they can run are counted too: it is what could be
        run at the same time at most.
        """


@runtime_checkable
class Equipped(Backend, Protocol):
    """A backend that knows what its workers can have at most."""

    def lacks(self, needs: Needs) -> str:
        """Say why no worker, also none that may still come, can ever meet these needs.

        Returns:
            A phrase, such as `there are 2 cpus`: the task fails with it; empty if one may.
        """


@runtime_checkable
class Watched(Backend, Protocol):
    """A backend with threads of its own, which the engine looks after."""

    def check(self) -> str:
        """Say whether each of your own threads is where it should be.

        Called in the engine's thread about once in a second while nothing is
        reported, so it must be cheap and must not wait.  A job that takes long
        is nothing to speak of.

        Returns:
            A sentence on what stands still where it should not, with the stack;
            empty if all is well.  If it stays the same for the setting
            `freeze_limit`, the run ends with it.

        Raises:
            InternalError: One of your threads has died, and will be waited for in vain.
            BackendClosed: You cannot go on, by no fault of the engine.
        """


@runtime_checkable
class Forked(Backend, Protocol):
    """A backend with descriptors that a fork of the client must not hold.

    As long as the fork has a copy of its end, a socket or a pipe seems open to whoever
    is at the other, also when the client is gone.
    """

    def forget(self) -> None:
        """Close your descriptors, and let nobody notice who is at their other ends.

        Called in a fork of the client, right after it was made: none of your threads
        is there.  Nothing else is called afterwards.
        """


class Environment(NamedTuple):
    """What the caller's process has around it when a run begins.

    Attributes:
        variables: The environment variables.
        own: Those of them that the pipeline itself has set, or unset (None), since its
            process was started: the ones that mean something on another machine too.
        folder: The current folder; empty if it was removed.
    """

    variables: Mapping[str, str]
    own: Mapping[str, str | None]
    folder: str


@runtime_checkable
class Adapting(Backend, Protocol):
    """A backend whose workers find the caller's environment, as it is when a run begins."""

    def adapt(self, environment: Environment) -> None:
        """Let the jobs that are submitted from now on find this.

        Called before the first job of a run, at the first run and when something has
        changed since the last.
        """


@runtime_checkable
class Following(Backend, Protocol):
    """A backend that takes jobs whose inputs are still being made: see rule 11.

    So a chain of tasks costs no way there and back for each link, and values stay where
    they were made.
    """

    @property
    def follows(self) -> bool:
        """Whether it does."""


@runtime_checkable
class Handing(Backend, Protocol):
    """A backend of which some workers can be given memory of the client's, and some cannot.

    Whoever cannot is sent the bytes.  One whose workers all can is not asked: see
    `BackendPlugin.handles`.
    """

    @property
    def hands_on(self) -> bool:
        """Whether there may be one that can: asked for each input that is large."""


class JobRunner(Protocol):
    """Runs jobs, one after the other, in the thread that calls it, between `enter` and `leave`."""

    out_of_memory: bool
    """Whether a task ever was: its process is better replaced."""

    def connect(self, sink: Sink) -> None:
        """Say where the notes of tasks go."""

    def run(self, job: Job) -> Done:
        """Run a job.  Whatever the task does, an answer comes back.

        Raises:
            KeyboardInterrupt: The user pressed Ctrl-C.
        """

    def enter(self) -> Any:
        """From now on this thread runs tasks; the answer is for `leave`."""

    def leave(self, token: Any) -> None:
        """This thread goes back to what it did before `enter`."""

    def between(self) -> None:
        """What runs next here must find nothing of what ran, as after `leave` and `enter`."""

    def tell(self, notes: Sequence[Note]) -> None:
        """Send notes where those of tasks go."""

"""The backend contract: what a backend is given, and what it answers.

A backend moves small records.  It never sees the user's objects, the graph, the
scheduler or a logger.  The engine gives it `Job`s; it runs each of them with a
`Runner` wherever it likes, and reports `Event`s to the sink it was started
with.

The rules; the conformance tests have the same numbers:

1.  `start` is called once and first.  A `Slots` event follows within the start
    limit, or `start` raises `BackendStartError`.
2.  `submit` never waits for a job to run and never raises for a job's own fault.
3.  Each submitted id gets exactly one `Done` or `Lost`, and nothing after it;
    at most one `Started` comes before it.
4.  The sink may be called from any thread, even from inside `submit`.
5.  `cancel` is a wish.  Unknown ids are ignored, repeats do no harm, rule 3 holds.
    So is `recall`, which leaves alone what runs, and ends what has not begun in
    `Lost`, neither started nor guilty.
6.  A dead worker yields `Lost` for its own job only, with a certificate; then
    `Slots`, if the capacity changed.
7.  The engine keeps at most `count + ahead` jobs submitted.  `ahead` hides
    latency and may be changed at any time by another `Slots`.
8.  Buffers arrive bit-identical, and nothing is kept after the terminal event.
9.  After `stop` no event comes, and no thread, child, socket, descriptor or
    file is left.
10. `time_limit` is enforced by killing where the backend can kill.  Where it
    cannot, it says so once, by a `Note` on the stream "warning"; or it abandons
    of the job, reports it as lost by `timeout`, and names what runs on in a note.

What a backend may have besides: `Driven`, `Patient`, `Watched`, `Forked`, `Adapting`.

Version of this contract: `API_VERSION`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from fancypipe_core._base.backoff import Backoff
from fancypipe_core._base.declarations import Command, setting

__all__ = [
    "API_VERSION",
    "NOT_BEGUN",
    "Adapting",
    "Backend",
    "BackendOptions",
    "BackendPlugin",
    "Call",
    "Certificate",
    "Command",
    "Done",
    "Driven",
    "Encoded",
    "Environment",
    "Err",
    "Event",
    "Forked",
    "Hole",
    "Job",
    "JobId",
    "JobRunner",
    "Live",
    "Lost",
    "More",
    "Natural",
    "NewTask",
    "Note",
    "Ok",
    "Patient",
    "Payload",
    "Reply",
    "Sink",
    "Slots",
    "Started",
    "Watched",
    "setting",
]

API_VERSION = 1

JobId = tuple[int, int]
"""(task, attempt): the task's number in the session, and which try this is, from 1."""

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**62)]

Hole = tuple[int, str | None]
"""Where a payload takes another value in: (index, name of an output or None)."""


# Of these records only `Payload` is none of the garbage collector's business: the others may hold
# the user's objects.  A task's exception knows its frames, and these know the frames of the engine
# that called them, where the records are: a circle, which would never be collected.


class Payload(msgspec.Struct, frozen=True, gc=False):
    """A value as bytes, with holes where other values go.

    Attributes:
        head: A pickle, protocol 5.  The client reads it as plain data and arrays, in which
            nothing can run code, unless there is a `!` behind its end.
        buffers: Its out-of-band buffers, in order.
        holes: For each reference in the pickle, which value fills it: an index
            into the payloads that come before this one.
        names: For a value that is an `Outputs`: the name of each hole, so that
            one output can be had without the others.
    """

    head: bytes
    buffers: tuple[Any, ...] = ()
    holes: tuple[Hole, ...] = ()
    names: tuple[str, ...] | None = None


Encoded = tuple[Payload, ...]
"""A value and the values in its holes.  The last payload is the value itself."""


class Live(msgspec.Struct, frozen=True):
    """A value as it is, for backends that share memory with the engine."""

    value: Any


class Call(msgspec.Struct, frozen=True, eq=False, weakref=True):
    """What to call: one for all jobs of the same task definition in a session.

    A channel sends it once; so they are compared by identity, never by content.

    Attributes:
        label: The task's name.
        body: The callable, encoded or live.
    """

    label: str
    body: Encoded | Live


class Job(msgspec.Struct, frozen=True):
    """One attempt at one task.

    Attributes:
        id: (task, attempt).
        call: What to call.
        inputs: `(args, kwargs, state)`: the arguments, and for a `Task` object
            its own attributes or None.
        time_limit: Seconds that it may take; None for no limit.
        alone: Run it in a fresh worker with no other job beside it there, where
            you can: it is suspected of killing its workers.
    """

    id: JobId
    call: Call
    inputs: Encoded | Live
    time_limit: float | None = None
    alone: bool = False


class NewTask(msgspec.Struct, frozen=True):
    """A task that a running task has made and returned a reference to.

    Attributes:
        call: Which of `More.calls` it calls.
        retries: How often it is tried again after an exception.
        timeout: Seconds that one attempt may take; None for no limit.
        is_module: Whether it only composes, so that the client runs it.
        inputs: Its inputs.  A hole's index is a position in `More.tasks`.
        where: `file:line` that made it.
        retry_delay: How long its further attempts wait; None if they do not.
    """

    call: int
    retries: int
    timeout: float | None
    is_module: bool
    inputs: Payload
    where: str
    retry_delay: Backoff | None = None


class Ok(msgspec.Struct, frozen=True):
    """The task returned a value.

    Attributes:
        outputs: The value.
        files: Temporary files named in the value, which live as long as it does.
    """

    outputs: Encoded | Live
    files: tuple[str, ...] = ()


class More(msgspec.Struct, frozen=True):
    """The task returned references: it is settled by the tasks that it made.

    Attributes:
        calls: What the new tasks call.
        tasks: The new tasks; empty if `outputs` is live.
        outputs: What was returned.  Its holes point into `tasks` and, past
            their end, into the payloads of `outputs` itself.
        files: As in `Ok`.
        passed: Temporary files that are inputs of the tasks that it made.
    """

    calls: tuple[Call, ...]
    tasks: tuple[NewTask, ...]
    outputs: Encoded | Live
    files: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()


class Err(msgspec.Struct, frozen=True):
    """The task raised an exception.

    Attributes:
        type_name: The exception's class.
        message: Its text, at most 64 KiB.
        text: The formatted traceback, at most 64 KiB.
        where: `file:line` of the innermost frame that is the user's.
        error: The exception itself with its traceback and chain, or None if it
            cannot travel.
        final: Whether trying again cannot help, as when the result cannot travel.
        host: The machine's name.
        pid: The process.
        inputs: The task's inputs in a few words; empty if it has none.
    """

    type_name: str
    message: str
    text: str
    where: str
    error: Encoded | Live | None
    host: str
    pid: int
    final: bool = False
    inputs: str = ""


Reply = Ok | More | Err


class Certificate(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a worker's death.

    Attributes:
        reason: `signal`, `exit`, `timeout`, `cancelled`, `start`, `protocol` (its
            channel was closed or spoilt) or `frozen` (it did nothing).
        detail: Such as `SIGSEGV` or `exit code 3`.
        host: The machine's name.
        pid: The dead process.
        started: Whether the job had been begun.
        guilty: Whether the death counts against the job.  False for one that
            only waited in the worker, and for one that was cancelled.
        output: The last lines that its tasks printed, and the interpreter's own
            on a crash: the stack.
        peak_memory: The most memory that it had resident, in bytes; 0 if unknown.
    """

    reason: str
    detail: str
    host: str
    pid: Natural
    started: bool = True
    guilty: bool = True
    output: tuple[str, ...] = ()
    peak_memory: Natural = 0

    def __str__(self) -> str:
        memory = f", peak memory {self.peak_memory / 1e6:.0f} MB" if self.peak_memory else ""
        return f"{self.detail} (host {self.host}, pid {self.pid}{memory})"


NOT_BEGUN = Certificate(
    "cancelled", "cancelled before it began", "", 0, started=False, guilty=False
)
"""Why a job is lost that was cancelled or recalled before it began: the answer to `recall`."""


class Slots(msgspec.Struct, frozen=True):
    """How much the backend can do now.

    Attributes:
        count: How many jobs run at the same time.
        ahead: How many more it wants to have waiting, so that no worker idles.
    """

    count: int
    ahead: int = 0


class Started(msgspec.Struct, frozen=True):
    """A job has begun.

    Attributes:
        id: The job.
        where: Host and process, for a human.
    """

    id: JobId
    where: str


class Note(msgspec.Struct, frozen=True):
    """Something to show to the user.

    Attributes:
        id: The job that it is about, or None.
        stream: `stdout`, `stderr`, `log`, `progress` or `warning`.
        text: What to show.
        name: The task's name; empty if the engine is to find it by the id.
    """

    id: JobId | None
    stream: str
    text: str
    name: str = ""


class Done(msgspec.Struct, frozen=True):
    """A job has ended by itself.

    Attributes:
        id: The job.
        reply: How.
        seconds: How long it ran on its worker.
        folder: The folder for temporary files that it made; empty if none.
    """

    id: JobId
    reply: Reply
    seconds: float
    folder: str = ""


class Lost(msgspec.Struct, frozen=True):
    """A job's worker is gone, or the job was cancelled.

    Attributes:
        id: The job.
        why: The certificate.
    """

    id: JobId
    why: Certificate


Event = Slots | Started | Note | Done | Lost

Sink = Callable[[Sequence[Event]], None]
"""Takes events in order; may be called from any thread; never blocks, never raises."""


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
class Patient(Backend, Protocol):
    """A backend that may need longer to come up than the setting `backend_start_limit`."""

    @property
    def start_limit(self) -> float:
        """Seconds in which the first `Slots` come, or it says why not."""


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

    def tell(self, notes: Sequence[Note]) -> None:
        """Send notes where those of tasks go."""


class BackendOptions(NamedTuple):
    """What the engine tells a backend when it makes one.

    Attributes:
        workers: How many jobs may run at the same time; at least 1.
        directory: The session's folder for temporary files.  It may not exist.
        runner: Makes a worker-side `JobRunner` for backends that run jobs in this
            process; one for each thread.
        settings: The record of `BackendPlugin.settings` with the values in force;
            None for a plugin that has none.
    """

    workers: int
    directory: str
    runner: Callable[[], JobRunner]
    settings: Any = None


class BackendPlugin(NamedTuple):
    """What an entry point of the group `fancypipe.backends` names.

    Attributes:
        name: The backend's name, the entry point's own.
        aliases: Short names, such as `T`.
        help: One line for `fancypipe backends`.
        make: Makes the backend; import what is heavy in here.
        shares_memory: Whether values may be passed as they are.
        api: The `API_VERSION` that it was written for.
        kills: Whether it can stop a job that runs, and so holds it to its time limit.
        settings: The record of its own settings, a dataclass with fields that
            `setting` makes.  Each is an option, an environment variable, a key in
            the table of the plugin's name in a file, and an argument of `run()`.
        commands: What it adds to the command `fancypipe`, by name.  If it has
            `status`, then `fancypipe -workertype=NAME` without a pipeline calls it.
        unit: What it counts in `Slots`, for messages: `worker`, or `slot` where one
            worker may have several.
    """

    name: str
    aliases: tuple[str, ...]
    help: str
    make: Callable[[BackendOptions], Backend]
    shares_memory: bool = False
    api: int = API_VERSION
    kills: bool = False
    settings: type[Any] | None = None
    commands: Mapping[str, Command] = MappingProxyType({})
    unit: str = "worker"

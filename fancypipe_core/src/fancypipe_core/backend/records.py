"""The records of the contract: jobs and payloads go to a backend, events come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec

from fancypipe_core._base.backoff import Backoff
from fancypipe_core._base.needs import Equipment, Needs
from fancypipe_core._base.shared_memory import Handle

__all__ = [
    "NOT_BEGUN",
    "Call",
    "Certificate",
    "Cut",
    "Done",
    "Encoded",
    "Equipment",
    "Err",
    "Event",
    "Handle",
    "Hole",
    "Job",
    "JobId",
    "Live",
    "Lost",
    "More",
    "Natural",
    "Needs",
    "NewTask",
    "Note",
    "Ok",
    "Payload",
    "Reply",
    "Sink",
    "Slots",
    "Started",
    "Usage",
]

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
            nothing can run code, unless there is a `!` behind its end.  A large one may be
            a `Handle`.
        buffers: Its out-of-band buffers, in order; some may be `Handle`s.
        holes: For each reference in the pickle, which value fills it: an index
            into the payloads that come before this one.
        names: For a value that is an `Outputs`: the name of each hole, so that
            one output can be had without the others.
    """

    head: bytes | Handle
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
        after: Jobs whose values it needs and that have not ended, each submitted before
            it: a *follower*.  The first holes of `inputs`, as many as these are, point
            to them, the others behind them into `inputs` itself.  Only for `Following`.
        needs: What it needs while it runs; None for one core and nothing else.
        devices: Names of the devices that it has to itself, as many as `needs.gpu`: set by
            who hands them out, a backend or a part of it.
    """

    id: JobId
    call: Call
    inputs: Encoded | Live
    time_limit: float | None = None
    alone: bool = False
    after: tuple[JobId, ...] = ()
    needs: Needs | None = None
    devices: tuple[str, ...] = ()

    def with_inputs(self, inputs: Encoded) -> Job:
        """Return the same job, with its inputs written down in another way."""
        return msgspec.structs.replace(self, inputs=inputs)

    def with_devices(self, names: tuple[str, ...]) -> Job:
        """Return the same job, with these devices to itself."""
        return msgspec.structs.replace(self, devices=names)


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
        needs: What it needs while it runs; None for one core and nothing else.
        priority: Among tasks that are ready, the higher goes first.
        cache: Whether results of it may be kept for later runs.
    """

    call: int
    retries: int
    timeout: float | None
    is_module: bool
    inputs: Payload
    where: str
    retry_delay: Backoff | None = None
    needs: Needs | None = None
    priority: int = 0
    cache: bool = True


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


class Cut(msgspec.Struct, frozen=True):
    """A span of a map's elements was not run to its end.

    Attributes:
        at: How many elements have values.
        done: Their values; None if there are none.
        why: How the next one failed; None if it was not begun, since the others took long.
    """

    at: int
    done: Ok | More | None
    why: Err | None


Reply = Ok | More | Err | Cut


class Certificate(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a worker's death.

    Attributes:
        reason: `signal`, `exit`, `timeout`, `cancelled`, `start`, `protocol` (its
            channel was closed or spoilt), `frozen` (it did nothing), `left` (it was
            preempted, or its time was up: nobody is guilty, and no loss is counted) or
            `gone` (nobody died: what it was given, or its result, could not be read).
        detail: Such as `SIGSEGV` or `exit code 3`.
        host: The machine's name; empty if nobody knows.
        pid: The dead process; 0 if nobody knows.
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
        return f"{self.detail} ({self.where}{memory})"

    @property
    def where(self) -> str:
        """Host and process, in words."""
        return f"host {self.host}, pid {self.pid}" if self.host else "nobody knows where"


NOT_BEGUN = Certificate(
    "cancelled", "cancelled before it began", "", 0, started=False, guilty=False
)
"""Why a job is lost that was cancelled or recalled before it began: the answer to `recall`.

It is also the answer for a follower that cannot run where its needs are made.
"""


class Slots(msgspec.Struct, frozen=True):
    """How much the backend can do now.

    Attributes:
        count: How many jobs run at the same time; 0 where no worker is there yet, or none any
            more: then no jobs are sent.
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


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a job has used; measured only if `BackendOptions.measures`.

    Attributes:
        cpu: Seconds of processor time: of all threads of a worker process, or of the one thread
            that ran the job where others run beside it.  None if unknown, as for a job of less
            than a millisecond.
        memory: The most bytes that its process had resident until the job ended, which may have
            been before it began; 0 if unknown, as for a job of less than a millisecond.
        where: Who ran it, host and process, for a human.
    """

    cpu: Annotated[float, msgspec.Meta(ge=0, le=1e10)] | None
    memory: Natural
    where: str


class Done(msgspec.Struct, frozen=True):
    """A job has ended by itself.

    Attributes:
        id: The job.
        reply: How.
        seconds: How long it ran on its worker.
        folder: The folder for temporary files that it made; empty if none.
        usage: What it has used; None if nobody has measured it.
        cache: Whether its result may be kept for later runs; not if it has waited for a task that
            runs each time.
    """

    id: JobId
    reply: Reply
    seconds: float
    folder: str = ""
    usage: Usage | None = None
    cache: bool = True


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

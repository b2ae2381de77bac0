"""Hooks for plugins: what one may implement, and what it is given.

A plugin is any object or module with functions marked `@hookimpl`.  Installed
plugins are found by the entry-point group `fancypipe.plugins`; further objects
are passed as `observers=[...]` to `run()` or `Session`.

Most hooks observe.  Observers cannot break a run: an exception in one is
reported once, and that observer is not called again in the session.  A few
hooks decide (`fancypipe_configure`, `fancypipe_retry`): what they raise ends the
run with a `PluginError`, since nobody knows what they would have decided.  All
are called in the thread that drives the run, so a slow one slows it: that is the one
that called `run()`, or the session's own where something was submitted.

A class that an entry point names may bring settings: an attribute `settings`,
the record that `setting` describes.  It is then called with one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import pluggy

from fancypipe_core._base.declarations import Command, setting

__all__ = [
    "ENDS",
    "KINDS",
    "CacheEvent",
    "CacheKey",
    "Command",
    "EventField",
    "EventKind",
    "Outcome",
    "RunInfo",
    "TaskEvent",
    "TaskFailure",
    "TaskJob",
    "TaskNote",
    "Wants",
    "hookimpl",
    "hookspec",
    "setting",
]

hookspec = pluggy.HookspecMarker("fancypipe")
hookimpl = pluggy.HookimplMarker("fancypipe")

EventKind = Literal[
    "added", "submitted", "started", "progress", "unfolded", "retried", "lost",
    "done", "failed", "skipped", "cancelled",
]  # fmt: skip
KINDS: tuple[EventKind, ...] = EventKind.__args__  # type: ignore[attr-defined]
"""All the kinds that there are."""
ENDS: tuple[EventKind, ...] = ("done", "failed", "skipped", "cancelled")
"""The kinds of which each task has exactly one, and that last."""

EventField = Literal["path", "inputs", "where", "needs", "usage", "bytes", "traceback", "value"]
_CHEAP: tuple[EventField, ...] = ("inputs",)
_FIELDS: tuple[EventField, ...] = EventField.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Wants:
    """What an observer wants to be told of tasks; what nobody wants is not made.

    Attributes:
        kinds: It is given events of these kinds and no others.
        fields: Those fields of events that cost something.  They may be filled in as well
            because somebody else wants them.  `path` is the path, in all kinds, where it is
            left out of the most frequent ones otherwise; `inputs` are the inputs in a few words;
            `where` is `where` and `parent`; `needs` are the tasks that one waits for; `usage` is
            `cpu`, `memory` and, where the backend does not tell it by itself, `worker`; `bytes`
            is `bytes_in` and `bytes_out`; `traceback` and `value` are the fields of that name.
        together: It takes one event for many tasks to which the same happens, as
            `TaskEvent.tasks` tells; tasks of less than a millisecond, if there are many, are
            then told with fewer fields.  So it is only if all observers take that.
        pictures: It is told small pictures that tasks return, as notes of the stream `picture`.
        jobs: Of which tasks it is given the jobs, if it has `fancypipe_task_job`: of those that
            `failed`, or of `all` that are sent.
    """

    kinds: Collection[EventKind] = KINDS
    fields: Collection[EventField] = _CHEAP
    together: bool = False
    jobs: Literal["failed", "all"] = "failed"
    pictures: bool = False

    def __post_init__(self) -> None:
        for given, known, what in (
            (self.kinds, KINDS, "kinds of events"),
            (self.fields, _FIELDS, "fields that can be wanted"),
        ):
            odd = [one for one in given if one not in known]
            if odd:
                raise ValueError(f"{odd[0]!r} is none of the {what}: {', '.join(known)}")


@dataclass(frozen=True)
class RunInfo:
    """One run: all that a session was asked for until nothing was left.

    Attributes:
        id: Unique, short, fit for a file name.
        backend: The backend's name.
        workers: How many tasks run at the same time.
        unit: What `workers` counts: `worker`, or `slot` where one worker may have several.
        directory: The session's folder for temporary files, or None while it has none.  It is
            removed at the session's end.
        session: The id of the session; it may have several runs.
        target: The name of what was asked for first: the task's, or how many there are.
        began: When it began, in seconds since 1970.
        host: The machine's name.
        pid: The process that drives the run.
        pid_began: When that process began, in the system's own words: with `host` and `pid`
            it tells whether the process is still there.  Empty where the system does not say.
        folder: The current folder.
        argv: The command line.
        settings: All settings in force, in words, a plugin's with the plugin's name before it.
            Secrets are stars.
        versions: Of `fancypipe` and `python`.
        tempdir: Where the user wants temporary files; None if nobody has said it.
    """

    id: str
    backend: str
    workers: int
    directory: str | None = None
    unit: str = "worker"
    session: str = ""
    target: str = ""
    began: float = 0.0
    host: str = ""
    pid: int = 0
    pid_began: str = ""
    folder: str = ""
    argv: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    tempdir: str | None = None


class TaskEvent(
    msgspec.Struct,
    frozen=True,
    gc=False,
    # As JSON, its times are called what they are to who reads them later.
    omit_defaults=True,
    rename={"at": "monotonic", "clock": "at"},
):
    """Something happened to a task.

    Attributes:
        kind: `added` when the graph meets the task, `submitted` when an attempt
            goes to the backend (a module runs in the client and goes nowhere),
            `started` when it has begun, from backends that say so, `progress` when a
            running task says how far it is, `unfolded` when an attempt returned
            references and the task waits for them, `retried` when an attempt failed
            and another will be made, `lost` when the worker of an attempt died; and
            once at the end `done`, `failed`, `skipped` (it needs a task that failed, so
            it did not run) or `cancelled` (nobody wants it any more).  Further kinds may be added:
            ignore those that you do not know.  A map is one task: it is `submitted`
            when it begins, and its `progress` counts elements; of these only such
            as failed, or were tried again, are tasks of their own.
        name: The task's name: what kind of task it is.  Empty for `submitted` and `done` of
            many tasks: it was told when they were `added`.
        task: Its number, unique in the session; 0 if it is about many.
        path: Its path in the graph; empty for `added`, `submitted`, `started`,
            `unfolded` and `done`, where hardly anybody wants the price of making it, unless
            somebody has named it (`Wants`).
        attempt: Which attempt it is about, at the end the last one; counted from
            1, 0 before the first.
        at: When the client learned of it, in seconds of `time.monotonic()`.
        seconds: How long the attempt ran on its worker, for events that tell of
            its end; without the time in which the task waited for references
            that it returned.  None if unknown.
        message: One line for a human; empty for events that explain themselves.
        done: For `progress`: what is done, in the task's own unit.
        total: For `progress`: all there is to do; None if the task does not know.
        inputs: The task's inputs in a few words, such as `i=17`, where its path is
            told; empty if it has none, or if a worker made the task.
        worker: Who runs the attempt, or ran it last, as the backend calls its worker,
            such as host and process; empty from a backend that does not say.
        clock: As `at`, in seconds since 1970.
        parent: For `added`: the number of the task that made it; 0 for what the caller of
            `run` made.
        where: For `added`: where it was made, as `file:line`.
        needs: Numbers of tasks.  For `submitted` those whose values it takes, for `unfolded`
            those that it waits for.
        waited: For events that tell of an attempt's end: the seconds from its submission to
            its beginning on the worker, with the ways there and back.  None if unknown.
        cpu: Its seconds of processor time.  In processes that is what all its threads took, and
            not what programs did that it has started.  On serial and threads it is that of its
            own thread only.  None if unknown, as for less than a millisecond.
        memory: The most bytes that its process had resident until then: on serial and threads
            that is this program, and in a worker process an earlier task may have been the
            larger one.  0 if unknown, as for attempts of less than a millisecond.
        bytes_in: Of its inputs, as they were sent; None on serial and threads, which send none.
        bytes_out: Of its value, likewise.
        error: For `failed`, `retried` and `lost`: the exception's class, or `WorkerDied`.
        traceback: Its traceback, for the same.
        certificate: What is known of the death, if the worker has died: in the first line how and
            where, below it the last lines that it printed.
        value: What a task that is `done` returned, in a few words; empty if that is large, or no
            plain data.
        tasks: The numbers of the tasks that it is about, if these are many; only told to who
            asks for it by `Wants.together`.  All else is true of each of them.
        took: For `done` of many tasks: how long each ran, in microseconds, rounded up, in the
            order of `tasks`, which is that in which they ended.  If `worker` is told, that ran them
            one after the other, and the last had just ended then.
        cached: For `done`: the task did not run, since its result was there from before. Its
            `attempt` is 0.
    """

    kind: EventKind
    name: str = ""
    task: int = 0
    path: str = ""
    attempt: int = 0
    at: float = 0.0
    seconds: float | None = None
    message: str = ""
    done: float | None = None
    total: float | None = None
    inputs: str = ""
    worker: str = ""
    clock: float = 0.0
    parent: int = 0
    where: str = ""
    needs: tuple[int, ...] = ()
    waited: float | None = None
    cpu: float | None = None
    memory: int = 0
    bytes_in: int | None = None
    bytes_out: int | None = None
    error: str = ""
    traceback: str = ""
    certificate: str = ""
    value: str = ""
    tasks: Sequence[int] = ()
    took: Sequence[int] = ()
    cached: bool = False


class TaskNote(NamedTuple):
    """Something that was said to the user while the run went on.

    Attributes:
        stream: `stdout` or `stderr` for what a task printed in a worker process (on serial and
            threads a task prints where the program does, and nobody notes it), `log` for what
            it logged there, `warning` for a sentence of the engine or of a backend, `command` for
            the command line of a program that it has started, `folder`, `exit`, `program-stdout`
            and `program-stderr` for where that ran, how it ended and the last that it wrote, and
            `picture` for a picture in what it returned.  All from `command` on are not shown.
        text: What was said.  Of a picture its name, a line's end, and the picture as a `data:`
            address, or why it cannot be shown.
        name: The task's name; empty if it is about none.
        task: Its number; 0 if it is about none.
        attempt: Which attempt; 0 if unknown.
        at: As in `TaskEvent`.
        clock: As in `TaskEvent`.
    """

    stream: str
    text: str
    name: str
    task: int
    attempt: int
    at: float
    clock: float


class TaskJob(NamedTuple):
    """A task with all that it takes to run it once more, in any process and on any machine.

    Attributes:
        name: The task's name.
        task: Its number.
        path: Its path in the graph.
        attempt: Which attempt it is, from 1.
        inputs: Its inputs in a few words.
        size: The bytes of its inputs; None where they were not written down yet, as on serial
            and threads.
        folders: Temporary folders that its inputs may name; they go when nobody needs them.
        encode: Returns the job as bytes, which `fancypipe replay` reads.  It may be called as long
            as the hook runs that is given this, and raises an `EncodeError` if that cannot be.
    """

    name: str
    task: int
    path: str
    attempt: int
    inputs: str
    size: int | None
    folders: tuple[str, ...]
    encode: Callable[[], bytes]


class TaskFailure(NamedTuple):
    """An attempt at a task has raised an exception.

    Attributes:
        name: The task's name.
        path: Its path in the graph.
        attempt: Which attempt it was, from 1.
        retries: How many exceptions the task itself asks to be forgiven.
        type_name: The exception's class.
        message: The exception's text.
    """

    name: str
    path: str
    attempt: int
    retries: int
    type_name: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        ok: Whether all outputs that were asked for are there.
        seconds: Wall time of the run.
        counts: Number of tasks by how they ended: `done`, `failed`, `skipped` and
            `cancelled`, as in `TaskEvent.kind`.  All four keys are always there.
        message: Why it ended, if not ok; one line.
        cached: How many of those that are done did not run, since their results were there.
    """

    ok: bool
    seconds: float
    counts: dict[str, int]
    message: str = ""
    cached: int = 0


class CacheKey(Protocol):
    """What a key is made of: two tasks that have all of this in common have the same result.

    Attributes:
        task: The task's name.
        code: What it calls, by name, with a digest and the place of each.
        inputs: Its inputs by name: a digest, or the key of the task that makes it.
        versions: Those of what it depends on.
        version: What its author has set.
        lines: Where the code stands, and digests of its lines; no part of the key.
    """

    @property
    def task(self) -> str:
        """The task."""

    @property
    def code(self) -> dict[str, str]:
        """What it calls."""

    @property
    def inputs(self) -> dict[str, str]:
        """What it is given."""

    @property
    def versions(self) -> dict[str, str]:
        """What it depends on."""

    @property
    def version(self) -> str:
        """What its author has set."""

    @property
    def lines(self) -> dict[str, str]:
        """Where the code stands."""


class CacheEvent(NamedTuple):
    """What became of a task's result in a run that takes results from before.

    Attributes:
        kind: `hit`: it was there, and the task does not run. `miss`: it was not. `no-key`: it
            cannot be told when it is the same, so the task runs. `not-kept`: the task has run, and
            its result cannot be kept. `elements`: of a map of a task, which of its elements were
            there; once it has ended, well or not.
        task: The task's number.
        path: Its path in the graph.
        key: Its key; empty if it has none.
        about: What the key is made of; None if it has none, and for `not-kept` and `elements`.
        why: For `no-key` and `not-kept`, why; for `elements`, why not all that ran are kept.
        composes: Whether it is a module.
        there: For `elements`, how many were there.
        ran: For `elements`, the others: for each group the index of the first, and how many.
    """

    kind: Literal["hit", "miss", "no-key", "not-kept", "elements"]
    task: int
    path: str
    key: str
    about: CacheKey | None
    why: str = ""
    composes: bool = False
    there: int = 0
    ran: Sequence[tuple[int, int]] = ()


@hookspec(firstresult=True)
def fancypipe_configure(settings: Mapping[str, object]) -> Mapping[str, object] | None:
    """Decides: a session is opened with these settings; return those to be changed.

    They are the engine's, by name, as `fancypipe config` shows them.  What is
    returned counts more than anything else, and is checked as any other value.
    """


@hookspec(firstresult=True)
def fancypipe_retry(failure: TaskFailure) -> bool | None:
    """Decides: whether an attempt that raised an exception is followed by another.

    True for another, also where the task's `retries` are used up, though never
    for more than a thousand; False for none; None to leave it to others, and at
    last to `retries`.  It is not asked where trying again cannot help, and not
    about workers that died.
    """


@hookspec(firstresult=True)
def fancypipe_wants() -> Wants | None:
    """Say what of the events of tasks is wanted; asked once, when the session is opened.

    An observer without this hook gets all kinds, and the fields that cost little.
    """


@hookspec
def fancypipe_run_started(run: RunInfo) -> None:
    """A run begins.  The backend is up.

    A run lasts from the first thing that a session is asked for until nothing is left: a call of
    `run()`, or many of `Session.submit()` and `run()` that overlap.
    """


@hookspec
def fancypipe_task_events(events: Sequence[TaskEvent]) -> None:
    """Things happened to tasks, in this order.  A call brings up to thousands."""


@hookspec
def fancypipe_task_job(job: TaskJob) -> None:
    """A task has failed for good, or is sent (`Wants.jobs`): this is what it was given.

    Not called for what was never sent, since its inputs could not be written down, nor for a map
    as a whole: of its elements it is called for those that failed.  Of modules it is called for
    those that failed.  Where somebody wants all jobs, none is sent before its inputs are there.
    """


@hookspec
def fancypipe_notes(notes: Sequence[TaskNote]) -> None:
    """Things were said to the user, in this order: what tasks print and log, and warnings.

    They are shown as ever.  Called after `fancypipe_task_events` with what has happened
    meanwhile.
    """


@hookspec
def fancypipe_run_over(run: RunInfo, outcome: Outcome) -> None:
    """A run has ended, well or not.  Called once for each `fancypipe_run_started`."""


@hookspec(firstresult=True)
def fancypipe_cache_get(key: str) -> bytes | memoryview | None:
    """Return the result that is kept under a key; None if there is none.

    Only called in a run that takes results from before (the setting `resume`). The first store
    that has it is asked no further; the engine's own is the last. What a store raises is warned of
    once, and the task runs. A `memoryview` may be of a mapped file: best one that may be written
    to and is private, since a task may change what it is given. It must be whole: an answer is
    believed.
    """


@hookspec(firstresult=True)
def fancypipe_cache_put(key: str, value: Sequence[Any], about: CacheKey) -> bool | None:
    """Keep a result under a key; called before anybody is told that the task is done.

    Elements of maps come many in one value, and an index of them beside it. That is put again under
    its key as it grows: the last one is to stay.

    Args:
        key: 32 hexadecimal digits.
        value: Buffers of bytes: one behind the other they are what `fancypipe_cache_get` is to
            return. They are another's: copy what is to stay.
        about: What the key is made of.

    Returns:
        True if it is kept; then no other store is asked to. Else the next one is, the engine's own
        at last.
    """


@hookspec
def fancypipe_cache_events(events: Sequence[CacheEvent]) -> None:
    """Results were looked for; in a run that takes results from before."""

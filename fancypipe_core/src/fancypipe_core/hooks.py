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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pluggy

from fancypipe_core._base.declarations import Command, setting

__all__ = [
    "ENDS",
    "Command",
    "EventKind",
    "Outcome",
    "RunInfo",
    "TaskEvent",
    "TaskFailure",
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
ENDS: tuple[EventKind, ...] = ("done", "failed", "skipped", "cancelled")
"""The kinds of which each task has exactly one, and that last."""


@dataclass(frozen=True)
class RunInfo:
    """One run: all that a session was asked for until nothing was left.

    Attributes:
        id: Unique, short, fit for a file name.
        backend: The backend's name.
        workers: How many tasks run at the same time.
        unit: What `workers` counts: `worker`, or `slot` where one worker may have several.
        directory: The run's own folder, or None while it has none.
    """

    id: str
    backend: str
    workers: int
    directory: str | None = None
    unit: str = "worker"


class TaskEvent(NamedTuple):
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
        name: The task's name: what kind of task it is.
        task: Its number, unique in the session.
        path: Its path in the graph; empty for `added`, `submitted`, `started`,
            `unfolded` and `done`, where hardly anybody wants the price of making it.
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
    """

    kind: EventKind
    name: str
    task: int
    path: str
    attempt: int
    at: float
    seconds: float | None
    message: str
    done: float | None = None
    total: float | None = None
    inputs: str = ""
    worker: str = ""


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
    """

    ok: bool
    seconds: float
    counts: dict[str, int]
    message: str = ""


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
def fancypipe_run_over(run: RunInfo, outcome: Outcome) -> None:
    """A run has ended, well or not.  Called once for each `fancypipe_run_started`."""

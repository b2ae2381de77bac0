"""Hooks for observers of runs: what a plugin may implement, and what it is given.

A plugin is any object or module with functions marked `@hookimpl`.  Installed
plugins are found by the entry-point group `fancypipe.plugins`; further objects
are passed as `observers=[...]` to `run()` or `Session`.

Observers cannot break a run: an exception in one is reported once, and that
observer is not called again in the run.  All hooks are called in the thread
that called `run()`, so an observer that is slow slows the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pluggy

__all__ = ["EventKind", "Outcome", "RunInfo", "TaskEvent", "hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("fancypipe")
hookimpl = pluggy.HookimplMarker("fancypipe")

EventKind = Literal["added", "submitted", "done", "failed", "retried", "lost", "cancelled"]


@dataclass(frozen=True)
class RunInfo:
    """One run: what `run()` or `Session.run()` was asked to do.

    Attributes:
        id: Unique, short, fit for a file name.
        backend: The backend's name.
        workers: How many tasks run at the same time.
        directory: The run's own folder, or None while it has none.
    """

    id: str
    backend: str
    workers: int
    directory: str | None = None


class TaskEvent(NamedTuple):
    """Something happened to a task.

    Attributes:
        kind: `added` when the graph meets the task, `submitted` when an attempt
            goes to the backend, `done` or `failed` or `cancelled` once at its
            end, `retried` when an attempt failed and another will be made,
            `lost` when the worker of an attempt died.
        name: The task's name: what kind of task it is.
        task: Its number, unique in the session.
        path: Its path in the graph; empty for `added`, `submitted` and `done`,
            where hardly anybody wants the price of making it.
        attempt: Counted from 1; 0 before the first.
        at: When, in seconds of `time.monotonic()`.
        seconds: How long the attempt ran on its worker; None if unknown.
        message: One line for a human; empty for events that explain themselves.
    """

    kind: EventKind
    name: str
    task: int
    path: str
    attempt: int
    at: float
    seconds: float | None
    message: str


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        ok: Whether all requested outputs are there.
        seconds: Wall time of the run.
        counts: Number of tasks by how they ended: done, failed, cancelled.
        message: Why it ended, if not ok; one line.
    """

    ok: bool
    seconds: float
    counts: dict[str, int]
    message: str = ""


@hookspec
def fancypipe_run_started(run: RunInfo) -> None:
    """A run begins.  The backend is up."""


@hookspec
def fancypipe_task_events(events: Sequence[TaskEvent]) -> None:
    """Things happened to tasks, in this order.  A call brings up to thousands."""


@hookspec
def fancypipe_run_over(run: RunInfo, outcome: Outcome) -> None:
    """A run has ended, well or not.  Called once for each `fancypipe_run_started`."""

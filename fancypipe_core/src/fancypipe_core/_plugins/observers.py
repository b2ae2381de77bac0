"""Passes events on to plugins, in batches, and lets none of them break a run."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, Protocol

import pluggy

from fancypipe_core import errors, hooks
from fancypipe_core._plugins import discovery
from fancypipe_core.backend import Job, JobId
from fancypipe_core.hooks import ENDS, EventKind, Outcome, RunInfo, TaskEvent, TaskFailure

__all__ = ["Observers"]

_BATCH = 2000
_PAUSE = 0.1  # seconds that an event waits for company
_NONE: tuple[int, float | None] = (0, None)
_WITHOUT_PATH = frozenset(("added", "unfolded", "done"))
_ENDS = frozenset(ENDS)


class TaskNode(Protocol):
    """What an observer reads of a task: a node of the engine's graph."""

    @property
    def id(self) -> int:
        """Its number in the session."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def path(self) -> str:
        """The names of the modules that it stands in, and its own."""

    @property
    def brief(self) -> str:
        """Its inputs in a few words."""


class Observers:
    """The plugins that look on.

    Args:
        plugins: Objects with `@hookimpl` functions, that the caller gave.  What is
            wrong with one of them is raised.
        installed: The same, by name, that entry points brought.  A broken one is
            named once and left out.
    """

    def __init__(
        self, plugins: Sequence[object], installed: Sequence[tuple[str, object]] = ()
    ) -> None:
        self._plugins: list[tuple[str, pluggy.PluginManager]] = []
        for name, plugin in installed:
            try:
                self._plugins.append((name, _manager_for(plugin)))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - not what the user asked for
                discovery.complain(name, f"is left out: {discovery.one_line(error)}")
        for plugin in plugins:
            self.add(plugin)
        self._events: list[TaskEvent] = []
        # By task: its latest attempt, and how long that ran if it has ended.
        self._attempts: dict[int, tuple[int, float | None]] = {}
        # By task: who runs it, where backends say so.
        self._workers: dict[int, str] = {}
        # By task: that it was sent to follow another, which is told when it has run.
        self._followers: dict[int, TaskEvent] = {}
        self._flushed = monotonic()

    def add(self, plugin: object) -> None:
        """Have one more look on."""
        self._plugins.append((type(plugin).__name__, _manager_for(plugin)))

    def configure(self, settings: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield what each plugin wants to have changed in the settings, with its name.

        Args:
            settings: Those in force; the caller may change it between two answers.
        """
        for name, manager in self._plugins:
            answer = _asked(name, manager, "fancypipe_configure", settings=dict(settings))
            if answer:
                yield name, answer

    @property
    def decides_retries(self) -> bool:
        """Whether somebody wants to be asked if a task is tried again."""
        return any(manager.hook.fancypipe_retry.get_hookimpls() for _, manager in self._plugins)

    def retry(self, failure: TaskFailure) -> bool | None:
        """Return what the first that has an opinion says of a failed attempt."""
        for name, manager in self._plugins:
            answer = _asked(name, manager, "fancypipe_retry", failure=failure)
            if answer is not None:
                return bool(answer)
        return None

    def run_started(self, run: RunInfo) -> None:
        """Tell that a run begins."""
        self._call("fancypipe_run_started", run=run)

    def run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """Tell that a run has ended."""
        self.flush()
        self._attempts.clear()
        self._workers.clear()
        self._followers.clear()
        self._call("fancypipe_run_over", run=run, outcome=outcome)

    def event(self, kind: EventKind, node: TaskNode, message: str = "") -> None:
        """Something happened to a task."""
        attempts = self._attempts
        if kind == "lost":
            self._has_followed(node.id)
        attempt, seconds = attempts.get(node.id, _NONE) if attempts else _NONE
        if kind in _WITHOUT_PATH:
            path = inputs = ""
        else:
            path, inputs = node.path, node.brief
        now = monotonic()
        name, task = node.name, node.id
        worker = self._workers.get(task, "") if self._workers else ""
        self._events.append(
            TaskEvent(
                kind, name, task, path, attempt, now, seconds, message, None, None, inputs, worker
            )
        )
        if kind in _ENDS:
            attempts.pop(node.id, None)
            self._workers.pop(node.id, None)
            self._followers.pop(node.id, None)
        self._flush_if_due(now)

    def progress(self, node: TaskNode, attempt: int, done: float, total: float | None) -> None:
        """A running task says how far it is."""
        self._has_followed(node.id)
        now, inputs = monotonic(), node.brief
        path = node.path
        self._events.append(
            TaskEvent(
                "progress", node.name, node.id, path, attempt, now, None, "", done, total, inputs,
                self._workers.get(node.id, ""),
            )
        )  # fmt: skip
        self._flush_if_due(now)

    def started(self, node: TaskNode, attempt: int, worker: str) -> None:
        """An attempt has begun in a worker."""
        self._has_followed(node.id)
        self._workers[node.id] = worker
        now = monotonic()
        self._events.append(
            TaskEvent(
                "started", node.name, node.id, "", attempt, now, None, "", None, None, "", worker
            )
        )
        self._flush_if_due(now)

    def submitted(self, jobs: Sequence[Job]) -> None:
        """Attempts went to the backend.

        What was sent to follow another may come back unseen, and go again: it is told
        as submitted at the time at which it was, but not before it has run.
        """
        now, workers = monotonic(), self._workers
        for job in jobs:
            task, attempt = job.id
            if workers:
                workers.pop(task, None)  # that was another attempt
            event = TaskEvent("submitted", job.call.label, task, "", attempt, now, None, "")
            if job.after:
                self._followers[task] = event
                continue
            self._followers.pop(task, None)
            self._attempts[task] = attempt, None
            self._events.append(event)
        self._flush_if_due(now)

    def _has_followed(self, task: int) -> None:
        if (event := self._followers.pop(task, None)) is not None:
            self._attempts[task] = event.attempt, None
            self._events.append(event)

    def began(self, id: JobId) -> None:
        """An attempt began that does not go to the backend."""
        self._attempts[id[0]] = id[1], None

    def ran(self, node: TaskNode, attempt: int, seconds: float | None) -> None:
        """An attempt took so long; the event that tells of its end will say it."""
        self._has_followed(node.id)
        if seconds is not None:
            self._attempts[node.id] = attempt, seconds

    def _flush_if_due(self, now: float) -> None:
        if len(self._events) >= _BATCH or now - self._flushed > _PAUSE:
            self.flush()

    def flush(self) -> None:
        """Pass on what has come together."""
        self._flushed = monotonic()
        if self._events:
            events, self._events = self._events, []
            self._call("fancypipe_task_events", events=events)

    def _call(self, hook: str, **arguments: Any) -> None:
        for entry in list(self._plugins):
            name, manager = entry
            try:
                getattr(manager.hook, hook)(**arguments)
            except (Exception, SystemExit):  # noqa: BLE001 - an observer must not break the run
                self._plugins.remove(entry)
                of = discovery.distribution_of("observer", name)
                discovery.say(
                    f"fancypipe: observer {name}{of} failed in {hook} and is not called again in "
                    f"this session:\n{traceback.format_exc()}"
                )


def _asked(name: str, manager: pluggy.PluginManager, hook: str, **arguments: Any) -> Any:
    # What nobody implements is not called.
    caller = getattr(manager.hook, hook)
    if not caller.get_hookimpls():
        return None
    try:
        return caller(**arguments)
    except (Exception, SystemExit) as error:
        raise errors.PluginError(
            f"plugin {name!r}{discovery.distribution_of('observer', name)} failed in {hook}: "
            f"{discovery.one_line(error)}; without the installed "
            "plugins: -no-plugins",
            plugin=name,
        ) from error


def _manager_for(plugin: object) -> pluggy.PluginManager:
    # A manager for each: an exception in one hook must not stop the others.
    manager = pluggy.PluginManager("fancypipe")
    manager.add_hookspecs(hooks)
    manager.register(plugin)
    manager.check_pending()
    return manager

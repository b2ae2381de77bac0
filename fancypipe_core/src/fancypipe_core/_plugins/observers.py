"""Passes events on to plugins, in batches, and lets none of them break a run."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from fancypipe_core import errors, hooks
from fancypipe_core._plugins import discovery
from fancypipe_core._plugins.event_stream import EventStream
from fancypipe_core.hooks import (
    KINDS,
    CacheEvent,
    Outcome,
    RunInfo,
    TaskEvent,
    TaskFailure,
    TaskJob,
    TaskNote,
    Wants,
)

if TYPE_CHECKING:
    from fancypipe_core._plugins.stores import Stores

__all__ = ["Observers"]

_NOTHING = Wants((), ())


class _Plugin:
    """One that looks on.

    Args:
        name: Its name.
        plugin: The object with the hooks.

    Attributes:
        wants: What of the events of tasks.
        jobs: Of which tasks it wants the jobs.
    """

    def __init__(self, name: str, plugin: object) -> None:
        self.name = name
        # A manager for each: an exception in one hook must not stop the others.
        self.manager = manager = pluggy.PluginManager("fancypipe")
        manager.add_hookspecs(hooks)
        manager.register(plugin)
        manager.check_pending()
        told = self.implements("fancypipe_task_events")
        self.jobs: Literal["", "failed", "all"] = ""
        if self.implements("fancypipe_task_job"):
            self.jobs = "failed"
        self.wants = Wants() if told else _NOTHING

    def implements(self, hook: str) -> bool:
        """Whether it has a hook."""
        return bool(getattr(self.manager.hook, hook).get_hookimpls())

    def call(self, hook: str, **arguments: Any) -> Any:
        """Call a hook; what nobody implements is not called."""
        return getattr(self.manager.hook, hook)(**arguments)

    def ask(self, hook: str, **arguments: Any) -> Any:
        """Call a hook that decides.

        Raises:
            PluginError: It failed.
        """
        if not self.implements(hook):
            return None
        try:
            return self.call(hook, **arguments)
        except (Exception, SystemExit) as error:
            raise errors.PluginError(
                f"plugin {self.name!r}{discovery.distribution_of('observer', self.name)} failed in "
                f"{hook}: {discovery.one_line(error)}; without the installed plugins: -no-plugins",
                plugin=self.name,
            ) from error


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
        self._plugins: list[_Plugin] = []
        self._stream: EventStream | None = None
        for name, plugin in installed:
            try:
                self._take(_Plugin(name, plugin))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - not what the user asked for
                discovery.complain(name, f"is left out: {discovery.one_line(error)}")
        for plugin in plugins:
            self.add(plugin)

    def add(self, plugin: object) -> None:
        """Have one more look on."""
        self._take(_Plugin(type(plugin).__name__, plugin))

    def _take(self, one: _Plugin) -> None:
        self._plugins.append(one)
        asked = one.wants is not _NOTHING or one.jobs
        if asked and one.implements("fancypipe_wants"):
            said = self._call_one(one, "fancypipe_wants")
            if isinstance(said, Wants):
                one.wants = one.wants if one.wants is _NOTHING else said
                one.jobs = one.jobs and said.jobs
            elif said is not None:
                self._leave_out(one, "fancypipe_wants", f"it returned {said!r}, which is no Wants")

    def configure(self, settings: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield what each plugin wants to have changed in the settings, with its name.

        Args:
            settings: Those in force; the caller may change it between two answers.
        """
        for one in self._plugins:
            answer = one.ask("fancypipe_configure", settings=dict(settings))
            if answer:
                yield one.name, answer

    @property
    def decides_retries(self) -> bool:
        """Whether somebody wants to be asked if a task is tried again."""
        return any(one.implements("fancypipe_retry") for one in self._plugins)

    def retry(self, failure: TaskFailure) -> bool | None:
        """Return what the first that has an opinion says of a failed attempt."""
        for one in self._plugins:
            answer = one.ask("fancypipe_retry", failure=failure)
            if answer is not None:
                return bool(answer)
        return None

    def only_stores(self) -> Observers:
        """Return the same without those that keep no results."""
        made = Observers(())
        made._plugins = [one for one in self._plugins if one.implements("fancypipe_cache_get")]
        return made

    def stores(self, warn: Callable[[str], None]) -> Stores:
        """Return those of them that keep results."""
        from fancypipe_core._plugins.stores import Stores  # few sessions have any

        return Stores(self._plugins, warn)

    def cache_events(self, events: Sequence[CacheEvent]) -> None:
        """Tell what was looked for."""
        self._call("fancypipe_cache_events", events=events)

    def run_started(self, run: RunInfo) -> None:
        """Tell that a run begins."""
        self._call("fancypipe_run_started", run=run)

    def run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """Tell that a run has ended."""
        if self._stream is not None:
            self._stream.run_over()
        self._call("fancypipe_run_over", run=run, outcome=outcome)

    # ---- what is wanted ----

    def wanted(self) -> Wants:
        """Return what they want together."""
        wants = [one.wants for one in self._plugins if one.wants.kinds]
        return Wants(
            frozenset(kind for one in wants for kind in one.kinds),
            frozenset(field for one in wants for field in one.fields),
            all(one.together for one in wants),
            pictures=any(one.pictures for one in wants),
        )

    @property
    def want_usage(self) -> bool:
        """Whether somebody wants to know what tasks use."""
        return "usage" in self.wanted().fields

    @property
    def want_notes(self) -> bool:
        """Whether somebody wants to hear what is said to the user."""
        return any(one.implements("fancypipe_notes") for one in self._plugins)

    @property
    def want_jobs(self) -> Literal["", "failed", "all"]:
        """Of which tasks somebody wants the jobs."""
        wanted = {one.jobs for one in self._plugins}
        return "all" if "all" in wanted else "failed" if "failed" in wanted else ""

    def stream(self, live: bool) -> EventStream | None:
        """Return what makes the events for them; None if they want none and no notes.

        Args:
            live: Whether values are as they are; else they are encoded.
        """
        stream = EventStream(self, live)
        self._stream = stream if stream.kinds or stream.notes else None
        return self._stream

    def task_events(self, events: Sequence[TaskEvent]) -> None:
        """Pass on what has happened to tasks."""
        for one in list(self._plugins):
            kinds = one.wants.kinds
            told = events
            if kinds is not KINDS:
                told = [event for event in events if event.kind in kinds]
            if told:
                self._call_one(one, "fancypipe_task_events", events=told)

    def task_job(self, job: TaskJob) -> None:
        """Pass on what a task was given."""
        if self._stream is not None:
            self._stream.flush()  # first what happened to it before
        self._call("fancypipe_task_job", job=job)

    def notes(self, notes: Sequence[TaskNote]) -> None:
        """Pass on what was said."""
        self._call("fancypipe_notes", notes=notes)

    # ---- calling them ----

    def _call(self, hook: str, **arguments: Any) -> None:
        for one in list(self._plugins):
            self._call_one(one, hook, **arguments)

    def _call_one(self, one: _Plugin, hook: str, **arguments: Any) -> Any:
        try:
            return one.call(hook, **arguments)
        except (Exception, SystemExit):  # noqa: BLE001 - an observer must not break the run
            self._leave_out(one, hook, traceback.format_exc())

    def _leave_out(self, one: _Plugin, hook: str, why: str) -> None:
        self._plugins.remove(one)
        of = discovery.distribution_of("observer", one.name)
        discovery.say(
            f"fancypipe: observer {one.name}{of} failed in {hook} and is not called again in "
            f"this session:\n{why}"
        )

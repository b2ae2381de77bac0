"""What a session works with, made of its settings.

The backend is made first: it may come up while the engine is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from fancypipe_core._base import resources
from fancypipe_core._base.isolation import ambient
from fancypipe_core._base.signals import Interrupts
from fancypipe_core._codec.sharing import sharer_of
from fancypipe_core._codec.values import EncodedValues, LiveValues
from fancypipe_core._engine.orphans import owned_prefix, sweep_orphans
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core._plugins.blame import Owner, make_backend
from fancypipe_core._worker.environment import Caller
from fancypipe_core._worker.runner import Runner
from fancypipe_core.backend import Adapting, Backend, BackendOptions, Note

if TYPE_CHECKING:
    from pathlib import Path

    from fancypipe_core._engine.activity import Activity
    from fancypipe_core._engine.driver import Driver
    from fancypipe_core._engine.node import Node
    from fancypipe_core._engine.out_folder import OutFolder
    from fancypipe_core._engine.report import Report
    from fancypipe_core._engine.resume import Resume
    from fancypipe_core._plugins.observers import Observers
    from fancypipe_core._settings.session import Configured
    from fancypipe_core._settings.table import Settings
    from fancypipe_core._wire.kept_job import Surroundings
    from fancypipe_core._worker.pictures import Pictures
    from fancypipe_core.hooks import RunInfo
    from fancypipe_core.plugins.jobs import Jobs

__all__ = ["Equipment"]


class Equipment:
    """What a session works with.

    Args:
        configured: What is in force.
        interrupts: What the user has asked for by signals.

    Attributes:
        id: The session's, 12 hex digits.
        directory: Its folder for temporary files.
        shares: Whether tasks run in this process.
        files: Keeps temporary files as long as their values.
        driver: The loop, with the backend.
        activity: Who drives it.
        report: Takes the events of runs.
        out: Where files of results go; None if they stay where they are.
        kept_jobs: Keeps jobs of tasks that failed; None if none are kept.

    Raises:
        ConfigError: The backend cannot have its settings.
        PluginError: It could not be made.
    """

    def __init__(self, configured: Configured, interrupts: Interrupts) -> None:
        self._configured = configured
        self._settings = settings = configured.core.settings
        self.id = os.urandom(6).hex()
        tempdir = settings.tempdir
        base = os.path.abspath(tempdir) if tempdir else resources.temporary_folder()
        self.directory = os.path.join(base, owned_prefix() + self.id)
        self.shares = configured.plugin.shares_memory
        self._interrupts = interrupts
        self.files = Keeper(self.directory)
        self._caller = Caller()
        backend = make_backend(configured.plugin, self._options())
        try:
            self._equip(backend)
        except BaseException:
            with suppress(Exception):
                backend.stop(0.0)  # it may have begun to come up
            raise

    @property
    def _shows_pictures(self) -> bool:
        watching = self._configured.observers
        if watching is not None and watching.wanted().pictures:
            return True
        return self._settings.journal

    def _options(self) -> BackendOptions:
        configured, settings = self._configured, self._settings
        watching = configured.observers
        # The journal wants it; it is made later, when the first worker is coming up.
        measures = settings.journal or (watching is not None and watching.want_usage)
        pictures = self._shows_pictures
        make_runner = partial(
            Runner,
            self.directory,
            live=self.shares,
            interrupted=self._interrupts.in_this_task,
            presets=configured.parameters,
            measures=measures,
            pictures=pictures,
        )
        return BackendOptions(
            settings.workers,
            self.directory,
            make_runner,
            configured.own,
            workers_given=configured.core.origins["workers"].kind != "default",
            name=configured.plugin.name,
            session=self.id,
            value_disk=settings.value_disk,
            measures=measures,
            pictures=pictures,
            start_limit=settings.backend_start_limit,
            grace=settings.grace,
        )

    def _equip(self, backend: Backend) -> None:
        # A backend may have begun to come up: this is imported meanwhile.
        from fancypipe_core._engine.activity import Activity
        from fancypipe_core._engine.driver import Driver
        from fancypipe_core._engine.machine.scheduler import Scheduler
        from fancypipe_core._engine.needs import NeedsCheck
        from fancypipe_core._engine.observed_runs import ObservedRuns
        from fancypipe_core._engine.report import Report
        from fancypipe_core._engine.wheel import Wheel

        plugin, settings = self._configured.plugin, self._settings
        sharer = sharer_of(plugin, backend)
        self._values = LiveValues(sharer) if self.shares else EncodedValues(sharer)
        self._values.presets = self._configured.parameters
        self.kept_jobs: Jobs | None = None
        observers = self._observers()
        self.report: Report = Report(observers, self._values.open, self.shares)
        make_scheduler = partial(
            Scheduler, max_losses=settings.max_losses, keep_going=settings.keep_going
        )
        self.driver: Driver = Driver(
            backend,
            self._values,
            make_scheduler,
            self.report,
            self.files,
            self._interrupts,
            settings.debug,
            owner=Owner("backend", plugin.name),
            resume=self._resume(observers),
        )
        self.out: OutFolder | None = None
        if settings.outdir:
            from fancypipe_core._engine.out_folder import OutFolder

            self.out = OutFolder(settings.outdir, self.files, self.report.warn)
        self._copy_jobs(observers)
        self.driver.check_needs(NeedsCheck(backend, plugin, self.report.warn))
        self._adapting = backend if isinstance(backend, Adapting) else None
        wheel = Wheel(
            self.driver,
            self._interrupts,
            ObservedRuns(observers, self.report, self._prepare, self._describe),
            lambda: ambient.lent(self.shares and self.driver.slots > 1),
            settings.grace,
        )
        self.activity: Activity = Activity(self.driver, self._interrupts, wheel)

    def _observers(self) -> Observers | None:
        """Return who looks on: whom the caller gave, and whom the settings ask for."""
        settings, observers = self._settings, self._configured.observers
        asks = settings.on_end or settings.otel or settings.metrics_file
        if not (settings.progress or settings.journal or settings.resume or asks):
            return observers
        from fancypipe_core._plugins.observers import Observers

        observers = observers or Observers(())
        run: Callable[[], Path | None] = lambda: None  # noqa: E731 - as short as what follows
        page: Callable[[], Path | None] = run
        if settings.journal:
            from fancypipe_core.plugins.journal import Journal

            journal = Journal()
            run = lambda: journal.folder  # noqa: E731
            observers.add(journal)
            if settings.page:
                from fancypipe_core.plugins.page import Page

                kept = Page(run)
                page = lambda: kept.page  # noqa: E731
                observers.add(kept)  # behind it: it reads what that wrote
            if settings.keep_jobs != "none":
                from fancypipe_core.plugins.jobs import Jobs

                self.kept_jobs = Jobs(run, every=settings.keep_jobs == "all")
                observers.add(self.kept_jobs)
        if settings.resume:
            from fancypipe_core.plugins.cache import Cache

            # The last store that is asked.
            observers.add(Cache(_cache_folder(settings), settings.cache_budget, run))
        if settings.progress:
            from fancypipe_core.plugins.console import Console

            observers.add(Console(page=page, folder=run))
        if asks:
            from fancypipe_core.session._asked_for import asked_for

            for one in asked_for(settings, run):
                observers.add(one)
        return observers

    def _copy_jobs(self, observers: Observers | None) -> None:
        """Have observers told of jobs, if one wants that."""
        wanted = observers.want_jobs if observers is not None else ""
        if observers is None or not wanted:
            return
        from fancypipe_core._engine.job_copies import JobCopies

        self.driver.copy_jobs(
            JobCopies(
                self.driver.graph,
                self._values,
                self.files,
                observers.task_job,
                self._around,
                every=wanted == "all",
            )
        )

    def _around(self, files: Sequence[str]) -> Surroundings:
        from fancypipe_core.toolkit.shipping.surroundings import look

        return look(files, Caller(), self.directory, argv=self._in_force[1], live=self.shares)

    def _resume(self, observers: Observers | None) -> Resume | None:
        """Return what takes results from before, if anything is to."""
        settings, parameters = self._settings, self._configured.parameters
        if not settings.resume or observers is None:
            return None
        from fancypipe_core._base.file_digests import FileDigests
        from fancypipe_core._cache.keys import Keys
        from fancypipe_core._engine.resume import Resume

        files = FileDigests(_cache_folder(settings) / "files")
        return Resume(
            Keys(files, presets=parameters, packages=settings.cache_packages),
            observers.stores(self.report.warn),
            self._values,
            live=self.shares,
            files=self.files,
            tell=observers.cache_events,
            warn=self.report.warn,
            given=parameters.tasks if parameters is not None else {},
            show=self._show if self._shows_pictures else None,
        )

    @cached_property
    def _pictures(self) -> Pictures:
        from fancypipe_core._worker.pictures import Pictures

        return Pictures(draws=False)  # whoever drives has no time for that

    def _show(self, node: Node, value: Any) -> None:
        """Tell the pictures in what a task has returned in an earlier run, as its worker did."""
        for text in self._pictures.of(value):
            self.report.note(node, Note((node.id, 0), "picture", text))

    # ---- coming up ----

    def start(self) -> None:
        """Start the backend.

        Raises:
            BackendStartError: It did not come up.
        """
        settings = self._settings
        try:
            self.driver.start(settings.backend_start_limit, settings.freeze_limit)
        except BaseException:
            self.driver.stop(0.0)
            raise
        folder = os.path.dirname(self.directory)
        sweep_orphans(folder)
        if isinstance(self._values, EncodedValues):
            # While the workers come up.
            for warning in resources.forewarnings(folder, settings.workers):
                self.report.warn(warning)
            self._limit_values()
        if settings.max_temp is not None:
            self._limit_files(settings.max_temp)

    def _limit_values(self) -> None:
        from fancypipe_core._engine.value_budget import ValueBudget

        memory, disk = resources.free_memory(), resources.free_space(self.directory)
        self.driver.keep_to(
            ValueBudget(
                None if memory is None else memory * self._settings.value_memory,
                None if disk is None else disk * self._settings.value_disk,
                self.report.warn,
            )
        )

    def _limit_files(self, most: int) -> None:
        from fancypipe_core._engine.temp_budget import TempBudget

        warn, kept = self.report.warn, self.files.kept
        self.driver.keep_to(TempBudget(self.directory, most, kept, warn))

    # ---- around a run ----

    def _prepare(self) -> None:
        self._values.forget()
        if self._adapting is not None:
            environment = self._caller.changed()
            if environment is not None:
                self._adapting.adapt(environment)

    def adaptation(self) -> Callable[[], None]:
        """Return what is to be done right before something runs that is asked for now."""
        environment = self._caller.changed() if self._adapting is not None else None

        def adapt() -> None:
            self._values.forget()
            if environment is not None and self._adapting is not None:
                self._adapting.adapt(environment)

        return adapt

    def _describe(self, id: str, target: Any) -> RunInfo:
        from fancypipe_core._engine.run_info import name_of, run_info

        tempdir, plugin = self._settings.tempdir, self._configured.plugin
        settings, argv = self._in_force
        return run_info(
            id,
            name_of(target),
            backend=plugin.name,
            workers=self.driver.slots,
            unit=plugin.unit,
            session=self.id,
            directory=self.directory,
            tempdir=None if tempdir is None else os.path.abspath(tempdir),
            settings=settings,
            argv=argv,
        )

    @cached_property
    def _in_force(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """The settings and the command line, in words."""
        from fancypipe_core._engine.run_info import argv_in_words, settings_in_words

        tables = (self._configured.core, *self._configured.tables)
        return settings_in_words(tables), argv_in_words(sys.argv, tables)


def _cache_folder(settings: Settings) -> Path:
    from fancypipe_core.plugins.cache import folder_of

    return folder_of(settings.cache, settings.tempdir)

"""`run()` and `Session`: what a user calls."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, overload

from fancypipe_core import errors
from fancypipe_core._base import resources
from fancypipe_core._base.isolation import ambient
from fancypipe_core._base.main_module import look_for_runner
from fancypipe_core._base.option_names import several
from fancypipe_core._base.signals import Interrupts, at_once
from fancypipe_core._codec.failure import without_engine
from fancypipe_core._codec.values import EncodedValues, LiveValues
from fancypipe_core._engine import orphans
from fancypipe_core._engine.driver import Driver
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.report import Report
from fancypipe_core._model.ref import Ref
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core._plugins import discovery
from fancypipe_core._settings import session as _session
from fancypipe_core._worker.environment import Caller
from fancypipe_core._worker.runner import Runner, refuse_in_worker
from fancypipe_core.backend import Adapting, BackendOptions, Forked

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from fancypipe_core._model.result_types import HasResult
    from fancypipe_core._plugins.observers import Observers
    from fancypipe_core._settings.session import Configured

__all__ = ["Session", "run"]

T = TypeVar("T")
K = TypeVar("K")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class Session:
    """A backend that stays up between runs.

    Use it as a context manager: `with Session(backend="procs") as s: s.run(t)`.

    Args:
        backend: An installed backend's name or alias; by default `procs` where
            it is installed, else `threads`, else `serial`.
        workers: How many tasks run at the same time; by default as many as this
            process may use cores.
        observers: Objects with hooks of `fancypipe_core.hooks`.
        **settings: As `fancypipe config` lists them: `max_losses`, `keep_going`,
            `tempdir`, `grace`, `debug`, `progress`, `no_plugins`, and what the
            backend and the installed plugins bring.

    Raises:
        ConfigError: A setting is unknown or cannot have that value.
        BackendNotFound: The backend is not installed.
        BackendStartError: It did not come up.
    """

    def __init__(
        self,
        backend: str | None = None,
        workers: int | None = None,
        *,
        observers: Sequence[object] = (),
        **settings: Any,
    ) -> None:
        refuse_in_worker()
        given = {"backend": backend, "workers": workers, **settings}
        given = {name: value for name, value in given.items() if value is not None}
        self._set_up(_session.configure(_session.Given(given), observers))

    @classmethod
    def of(cls, configured: Configured) -> Self:
        """Return a session with what is in force; for the command line, which has resolved it."""
        session = cls.__new__(cls)
        session._set_up(configured)
        return session

    def _set_up(self, configured: Configured) -> None:
        look_for_runner()
        plugin = configured.plugin
        self.settings = configured.core.settings
        self._name = plugin.name
        self._unit = plugin.unit
        self.id = os.urandom(6).hex()
        tempdir = self.settings.tempdir
        base = os.path.abspath(tempdir) if tempdir else resources.temporary_folder()
        self.directory = os.path.join(base, orphans.owned_prefix() + self.id)
        self._interrupts = Interrupts.here()
        live = plugin.shares_memory
        options = BackendOptions(
            self.settings.workers,
            self.directory,
            lambda: Runner(self.directory, live=live, interrupted=self._interrupts.in_this_task),
            configured.own,
        )
        self._shares = live
        self._values = LiveValues() if live else EncodedValues()
        self._observers = self._watch(configured.observers)
        self._files = Keeper(self.directory)
        self._report = Report(self._observers, self._values.open)
        self._driver = Driver(
            discovery.make_backend(plugin, options),
            self._values,
            self._make_scheduler,
            self._report,
            self._files,
            self._interrupts,
            self.settings.debug,
        )
        self._caller = Caller()
        self._lock = threading.Lock()
        self._process = os.getpid()
        _sessions.add(self)
        self._owner: int | None = None
        self._open = False
        self._start()

    def _make_scheduler(self) -> Scheduler:
        return Scheduler(max_losses=self.settings.max_losses, keep_going=self.settings.keep_going)

    def _watch(self, observers: Observers | None) -> Observers | None:
        if not self.settings.progress:
            return observers
        from fancypipe_core._plugins.observers import Observers
        from fancypipe_core.plugins.console import Console

        observers = observers or Observers(())
        observers.add(Console())
        return observers

    def _start(self) -> None:
        with self._interrupts.watched(), self._interrupts.only_counted():
            try:
                self._driver.start(self.settings.backend_start_limit, self.settings.freeze_limit)
            except BaseException:
                self._driver.stop(0.0)
                raise
            self._open = True
            orphans.sweep_orphans(os.path.dirname(self.directory))
            if isinstance(self._values, EncodedValues):
                # While the workers come up.
                folder = os.path.dirname(self.directory)
                for warning in resources.forewarnings(folder, self.settings.workers):
                    self._report.warn(warning)

    @overload
    def run(self, target: HasResult[T], /) -> T: ...
    @overload
    def run(self, target: HasResult[A], second: HasResult[B], /) -> tuple[A, B]: ...
    @overload
    def run(
        self, target: HasResult[A], second: HasResult[B], third: HasResult[C], /
    ) -> tuple[A, B, C]: ...
    # A tuple is a sequence, and stays a tuple.
    @overload
    def run(self, target: tuple[Ref[A], Ref[B]], /) -> tuple[A, B]: ...  # type: ignore[overload-overlap]
    @overload
    def run(self, target: tuple[Ref[T], ...], /) -> tuple[T, ...]: ...  # type: ignore[overload-overlap]
    @overload
    def run(self, target: Sequence[Ref[T]], /) -> list[T]: ...
    @overload
    def run(self, target: Mapping[K, Ref[T]], /) -> dict[K, T]: ...
    @overload
    def run(self, *targets: Any) -> Any: ...
    def run(self, *targets: Any) -> Any:
        """Run what the targets need, and return their values.

        Args:
            *targets: References, or any values with references in them.

        Returns:
            The value of the one target; a tuple for several.

        Raises:
            TaskError: A task failed.  It is also of the class of the original
                exception, which is its `__cause__`.
            RunFailed: Tasks failed in a run with `keep_going`.
            KeyboardInterrupt: The user pressed Ctrl-C.
            Cancelled: `interrupt()` was called.
            BackendClosed: The session has ended.
            UsageError: The session was opened in another process, of which this one
                is a fork.
        """
        if self._process != os.getpid():
            raise errors.UsageError(
                f"this session belongs to process {self._process}, and this is a fork of it "
                f"(process {os.getpid()}): open a session of its own here"
            )
        if not self._open:
            raise errors.BackendClosed("this session has ended; open another")
        if self._owner == threading.get_ident():
            raise errors.UsageError(
                "run() was called on a session from inside a run of the same session; "
                "return the reference, or write .result()"
            )
        try:
            with self._lock, self._interrupts.watched(), self._interrupts.only_counted():
                self._owner = threading.get_ident()
                try:
                    with ambient.lent(self._driver.slots > 1 and self._shares):
                        return self._run(targets[0] if len(targets) == 1 else targets)
                finally:
                    self._owner = None
        except (errors.FancyPipeError, KeyboardInterrupt) as error:
            if self.settings.debug:
                raise
            raise error.with_traceback(without_engine(error))  # noqa: B904 - the same error

    def _adapt(self) -> None:
        backend = self._driver.backend
        if isinstance(backend, Adapting) and (environment := self._caller.changed()) is not None:
            backend.adapt(environment)

    def _run(self, target: Any) -> Any:
        self._adapt()
        self._values.forget()
        self._report.run_started()
        begin = monotonic()
        if self._observers is None:
            return self._driver.run(target, self.settings.grace)
        from fancypipe_core.hooks import ENDS, Outcome, RunInfo

        info = RunInfo(
            os.urandom(6).hex(), self._name, self._driver.slots, self.directory, self._unit
        )
        self._observers.run_started(info)
        message = "ended by an exception of the engine"
        ok = False
        try:
            value = self._driver.run(target, self.settings.grace)
            ok, message = True, ""
            return value
        except BaseException as error:
            message = str(error).split("\n", 1)[0]
            raise
        finally:
            counts: dict[str, int] = {end: self._report.counts[end] for end in ENDS}
            self._observers.run_over(info, Outcome(ok, monotonic() - begin, counts, message))

    def close(self, grace: float | None = None) -> None:
        """End the session and its workers.  May be called twice.

        In a fork of the process that opened it, nothing happens.

        Args:
            grace: Seconds that running tasks have; by default the setting.
        """
        if self._open:
            self._open = False
            with self._interrupts.watched(), self._interrupts.only_counted():
                try:
                    self._driver.stop(self.settings.grace if grace is None else grace)
                finally:
                    self._files.close()

    def interrupt(self) -> None:
        """End the run that is under way, as Ctrl-C does.  Called from any thread.

        Who waits for the run gets `errors.Cancelled`, an ordinary exception.  What
        runs may finish within `grace`; a second call ends it at once.  Without a run
        nothing happens.
        """
        if self._owner is not None:
            self._interrupts.count += 1
            self._driver.wake()

    def _forget(self) -> None:
        """This process is a fork: what the session has is its parent's, who must not notice."""
        self._open = False
        self._owner = None
        self._files.forget()
        self._interrupts.reaction = at_once
        backend = self._driver.backend
        if isinstance(backend, Forked):
            with suppress(Exception):
                backend.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After a failure nobody waits for what still runs.
        self.close(None if kind is None else 0.0)

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        state = state if self._process == os.getpid() else f"of process {self._process}"
        count = self.settings.workers if self._unit == "worker" else self._driver.slots
        return f"<Session {self.id} on {self._name}, {several(count, self._unit)}, {state}>"


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _after_fork() -> None:
    for session in list(_sessions):
        if session._open:
            session._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@overload
def run(
    target: HasResult[T],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> T: ...
@overload
def run(
    target: HasResult[A],
    second: HasResult[B],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> tuple[A, B]: ...
@overload
def run(
    target: HasResult[A],
    second: HasResult[B],
    third: HasResult[C],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> tuple[A, B, C]: ...
@overload
def run(
    target: tuple[Ref[A], Ref[B]],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> tuple[A, B]: ...
@overload
def run(
    target: tuple[Ref[T], ...],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> tuple[T, ...]: ...
@overload
def run(
    target: Sequence[Ref[T]],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> list[T]: ...
@overload
def run(
    target: Mapping[K, Ref[T]],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> dict[K, T]: ...
@overload
def run(
    *targets: Any,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> Any: ...
def run(
    *targets: Any,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> Any:
    """Run what the targets need, and return their values.

    Args:
        *targets: References, or any values with references in them; of several the
            result is a tuple.
        backend: As for `Session`.
        workers: As for `Session`.
        observers: As for `Session`.
        **settings: As for `Session`.

    Raises:
        TaskError: A task failed; also of the original exception's class.
        RunFailed: Tasks failed in a run with `keep_going`.
        UsageError: A setting or the target is not possible.
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    interrupts = Interrupts.here()
    session: Session | None = None
    try:
        with (
            interrupts.watched(),
            interrupts.only_counted(),
            Session(backend, workers, observers=observers, **settings) as session,
        ):
            return session.run(*targets)
    except (errors.FancyPipeError, KeyboardInterrupt) as error:
        if session is not None and session.settings.debug:
            raise
        raise error.with_traceback(without_engine(error))  # noqa: B904 - the same error

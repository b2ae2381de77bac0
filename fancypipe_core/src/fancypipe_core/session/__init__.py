"""`Session`: a backend that stays up between runs.

The engine is imported when a session is made: each worker imports the main script, which
names `run` and calls it nowhere.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from fancypipe_core import errors
from fancypipe_core._base.main_module import look_for_runner
from fancypipe_core._base.option_names import several
from fancypipe_core._base.signals import Interrupts, at_once
from fancypipe_core._codec.failure import without_engine
from fancypipe_core._model.mapping import Mapped
from fancypipe_core._model.ref import Instance, Ref
from fancypipe_core._model.scope import Scope, scope
from fancypipe_core._model.task import is_definition, task
from fancypipe_core._worker.runner import refuse_in_worker
from fancypipe_core.backend import Forked

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from fancypipe_core._engine.executor import SessionExecutor
    from fancypipe_core._engine.futures import Submission, TaskFuture
    from fancypipe_core._engine.streams import Stream
    from fancypipe_core._model.result_types import HasResult
    from fancypipe_core._settings.session import Configured
    from fancypipe_core.plugins.jobs import Jobs

__all__ = ["Session"]

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
            `tempdir`, `outdir`, `configfile`, `resume`, `grace`, `debug`, `progress`,
            `no_plugins`, and what the backend and the installed plugins bring.

    Raises:
        ConfigError: A setting is unknown or cannot have that value.
        BadInput: `configfile` gives a task what it cannot have.
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
        from fancypipe_core._settings.session import Given, configure

        configured = configure(Given(given), observers)
        inputs = configured.parameters
        remarks = [*inputs.check(for_pipeline=False)] if inputs is not None else []
        self._set_up(configured)
        for remark in remarks:
            self._equipment.report.warn(remark)

    @classmethod
    def of(cls, configured: Configured) -> Self:
        """Return a session with what is in force; for the command line, which has resolved it."""
        session = cls.__new__(cls)
        session._set_up(configured)
        return session

    @property
    def kept_jobs(self) -> Jobs | None:
        """What keeps jobs of tasks that failed; None if none are kept."""
        return self._equipment.kept_jobs

    def _set_up(self, configured: Configured) -> None:
        from fancypipe_core.session._equipment import Equipment

        look_for_runner()
        self.settings = configured.core.settings
        self._name = configured.plugin.name
        self._unit = configured.plugin.unit
        self._interrupts = Interrupts.here()
        with self._interrupts.watched():
            self._equipment = made = Equipment(configured, self._interrupts)
            self.id, self.directory, self._files = made.id, made.directory, made.files
            self._driver, self._activity = made.driver, made.activity
            self._wheel = made.activity.wheel
            self._process = os.getpid()
            self._open = False
            _sessions.add(self)
            made.start()
            self._open = True

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
            Cancelled: `cancel()` was called.
            BackendClosed: The session has ended.
            UsageError: The session was opened in another process, of which this one
                is a fork.
        """
        self._check_outside()
        target = targets[0] if len(targets) == 1 else targets
        try:
            with self._interrupts.watched():
                value = self._activity.run(target)
                return value if self._equipment.out is None else self._equipment.out.take(value)
        except (errors.FancyPipeError, KeyboardInterrupt) as error:
            if self.settings.debug:
                raise
            raise error.with_traceback(without_engine(error))  # noqa: B904 - the same error

    def executor(self) -> SessionExecutor:
        """Return an executor as of `concurrent.futures`, for code that takes one.

        It takes any function, also a lambda or closure, and each call is a task of this session.
        Its futures are those of the standard library: an error is the exception that the function
        raised, and what runs is not cancelled. `map` yields results in their order, with
        `timeout`; `chunksize` changes nothing, since short calls travel together anyway.
        `shutdown`, or the end of its `with`, ends the executor and waits for what was submitted to
        it; the session goes on. There may be several.
        """
        from fancypipe_core._engine.executor import SessionExecutor

        self._check()
        return SessionExecutor(self._enter, self._activity)

    def submit(self, *targets: Any) -> TaskFuture[Any]:
        """Have the targets run beside all else that is under way, and return at once.

        May be called from any thread, also while others run or submit. What is under way in the
        session is one graph: an instance that two have asked for runs once. What fails or is
        cancelled takes with it what only it needs. What was submitted first begins first, as far
        as it is not held up by what it needs itself.

        The session's own thread sees to it. It is a daemon, but a program that ends waits for what
        it has submitted, as it does with `concurrent.futures`.

        Args:
            *targets: As for `run`. Inputs are written down when a task is about to run: change
                none before that.

        Returns:
            A `concurrent.futures.Future` of what `run` would return. `cancel()` works until it
            is done. It ends in any case: when the session is closed, with `BackendClosed`.

        Raises:
            BackendClosed: The session has ended.
            UsageError: It is called inside a task or module of this session, which return
                references instead; or as for `run`.
        """
        return self._enter(targets[0] if len(targets) == 1 else targets).future

    def _enter(self, target: Any, kind: type[TaskFuture[Any]] | None = None) -> Submission:
        """Submit a target, with a future of this kind."""
        self._check()
        here = scope.get()
        if here is not None and self._is_around(here):
            raise errors.UsageError(
                "submit() was called inside a task of the same session; return the reference, "
                "or write .result()"
            )
        return self._activity.submit(target, self._equipment.adaptation(), kind)

    def _check_outside(self) -> None:
        self._check()
        here = scope.get()
        if self._wheel.drives == get_ident() or (here is not None and self._is_around(here)):
            raise errors.UsageError(
                "run() was called on a session from inside a run of the same session; return the "
                "reference, or write .result()"
            )

    def _is_around(self, here: Scope) -> bool:
        """Whether the code of a task or module is part of what this session runs."""
        return self._wheel.is_here or here.directory == self.directory

    def _check(self) -> None:
        if self._process != os.getpid():
            raise self._elsewhere()
        if not self._open:
            raise errors.BackendClosed(_OVER)

    def _elsewhere(self) -> errors.UsageError:
        return errors.UsageError(
            f"this session belongs to process {self._process}, and this is a fork of it "
            f"(process {os.getpid()}): open a session of its own here"
        )

    def stream(self, mapped: Ref[list[T]]) -> Iterator[T]:
        """Run a map, and yield the results of its elements in their order, while others run.

        What was yielded is let go of, so a generator may be mapped that never fits into
        memory. Between two results nothing is done but what workers have to do already.
        When the iterator is closed the map is given up. What others submit meanwhile runs beside
        it, and then it also goes on between two results.

        Args:
            mapped: What `task.map()` returned.

        Yields:
            The result of each element; with `keep_going` the error of one that failed.

        Raises:
            TaskError: An element failed.
            RunFailed: Elements failed in a run with `keep_going`; raised at the end.
            UsageError: It is no map, or as for `run`.
        """
        waiting: dict[int, list[Any]] = {}
        at = 0
        stream = self._stream_of(mapped)
        with closing(self._pieces(stream)) as pieces:
            for start, values in pieces:
                waiting[start] = values
                while at in waiting:
                    for value in waiting.pop(at):
                        at += 1
                        yield value
                    stream.handed = at

    def map(self, function: Callable[..., T], /, *iterables: Any) -> Iterator[T]:
        """Call a function for each element, and yield the results in their order: see `stream`.

        Args:
            function: A task, or any function.
            *iterables: Its inputs by position, as `task.map()` takes them: of equal lengths.

        Yields:
            The result of each element.

        Raises:
            TaskError: As for `stream`.
            RunFailed: As for `stream`.
            UsageError: As for `stream`.
        """
        each: Any = function if is_definition(function) else task(function)
        return self.stream(each.map(*iterables))

    def as_completed(self, mapped: Ref[list[T]]) -> Iterator[tuple[int, T]]:
        """Run a map, and yield the results of its elements as they come.

        Args:
            mapped: As for `stream`.

        Yields:
            The index of an element and its result; all else as for `stream`.

        Raises:
            TaskError: As for `stream`.
            RunFailed: As for `stream`.
            UsageError: As for `stream`.
        """
        stream = self._stream_of(mapped)
        with closing(self._pieces(stream)) as pieces:
            for start, values in pieces:
                yield from enumerate(values, start)
                stream.handed += len(values)

    def _stream_of(self, mapped: Any) -> Stream:
        definition = mapped._definition if isinstance(mapped, Instance) else None
        if definition is None or type(definition.target) is not Mapped:
            raise errors.UsageError(f"{mapped!r} is no map: give what task.map() returned")
        self._check_outside()
        return self._activity.stream(mapped)

    def _pieces(self, stream: Stream) -> Generator[tuple[int, list[Any]], None, None]:
        """Run a map; yield lists of results, each with the index of its first."""
        try:
            yield from self._activity.pieces(stream)
        except (errors.FancyPipeError, KeyboardInterrupt) as error:
            if self.settings.debug:
                raise
            raise error.with_traceback(without_engine(error))  # noqa: B904 - the same error

    def close(self, grace: float | None = None) -> None:
        """End the session and its workers.  May be called twice.

        In a fork of the process that opened it, nothing happens.

        Args:
            grace: Seconds that running tasks have; by default the setting.
        """
        if self._open:
            self._open = False
            grace = self.settings.grace if grace is None else grace
            with self._interrupts.watched():
                try:
                    self._wheel.close(grace, _OVER)
                    self._driver.stop(grace)
                finally:
                    self._files.close()

    def cancel(self, grace: float | None = None) -> None:
        """End all that is under way, as Ctrl-C does.  Called from any thread.

        Who waits for it, in `run()` or for a future, gets `errors.Cancelled`, an ordinary
        exception. What runs may finish within `grace`; a second call ends it at once. If nothing
        is under way nothing happens. The session goes on.

        Args:
            grace: Seconds that running tasks have; by default the setting.
        """
        if self._open:
            self._wheel.cancel_all(grace)

    def _forget(self) -> None:
        """This process is a fork: what the session has is its parent's, who must not notice."""
        self._open = False
        self._files.forget()
        self._wheel.forget(self._elsewhere)
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

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session stays in its process; tasks return references instead")

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        state = state if self._process == os.getpid() else f"of process {self._process}"
        count = self.settings.workers if self._unit == "worker" else self._driver.slots
        return f"<Session {self.id} on {self._name}, {several(count, self._unit)}, {state}>"


_OVER = "this session has ended; open another"
_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _at_exit() -> None:
    """The program ends: what was submitted is still done, as with `concurrent.futures`."""
    if not _sessions:
        return
    from fancypipe_core._engine.wheel import end_of_program

    end_of_program()
    for session in list(_sessions):
        if session._open and session._process == os.getpid():
            session._wheel.wait_until_idle()
            if not session._wheel.is_live:  # a daemon thread may run something
                session._files.close()


def _after_fork() -> None:
    for session in list(_sessions):
        if session._open:
            session._forget()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

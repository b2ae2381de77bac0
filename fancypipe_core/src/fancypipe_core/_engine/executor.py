"""A session as an executor of `concurrent.futures`."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Any, TypeVar

from fancypipe_core import errors
from fancypipe_core._base.slices import at_a_time
from fancypipe_core._engine.activity import Activity
from fancypipe_core._engine.futures import Submission, TaskFuture
from fancypipe_core._model.application import application

__all__ = ["SessionExecutor"]

T = TypeVar("T")


class SessionExecutor(Executor):
    """What `Session.executor()` returns; the methods are those of `concurrent.futures.Executor`.

    Args:
        enter: Submits a target to the session, with a future of this kind; raises `BackendClosed`.
        activity: What is under way in the session.
    """

    def __init__(
        self, enter: Callable[[Any, type[TaskFuture[Any]]], Submission], activity: Activity
    ) -> None:
        self._enter = enter
        self._activity = activity
        self._lock = threading.Lock()
        self._pending: set[Submission] = set()
        self._is_shut = False
        _executors.add(self)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> TaskFuture[T]:
        """Have a function called, which need not be a task.

        Args:
            fn: A function, lambda, method or task; whatever can travel to where tasks run.
            *args: Its arguments; references among them stand for their values.
            **kwargs: Its arguments by name.

        Returns:
            The future of its result. Its error is the exception that the function raised.

        Raises:
            RuntimeError: The executor was shut down, the session closed, or the program ends.
        """
        target = application(fn, args, kwargs, sys._getframe(1))
        with self._lock:
            if self._is_shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            try:
                root = self._enter(target, ExecutorFuture)
            except errors.BackendClosed as error:
                raise RuntimeError(f"cannot schedule new futures after {error}") from error
            self._pending.add(root)
        root.future.add_done_callback(lambda _future: self._pending.discard(root))
        return root.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more; the session goes on.

        Args:
            wait: Wait until all that was submitted here is done.
            cancel_futures: Cancel what has not begun.
        """
        with self._lock:
            self._is_shut = True
            pending = list(self._pending)
        if cancel_futures and pending:
            self._activity.give_up(list(pending))
        if wait and pending:
            self._activity.refuse_to_wait()
            left: set[Future[Any]] = {root.future for root in pending}
            while left:
                left = _wait_for(left, at_a_time()).not_done


_executors: weakref.WeakSet[SessionExecutor] = weakref.WeakSet()


def _after_fork() -> None:
    for executor in list(_executors):
        executor._lock = threading.Lock()  # a thread that is not here may hold the other


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_wait_for = wait  # `shutdown` has an argument of that name


class ExecutorFuture(TaskFuture[T]):
    """As futures of the standard library: what runs is not cancelled; errors are as raised."""

    def cancel(self) -> bool:
        """Give it up if it has not begun; return whether it is cancelled."""
        return not self.running() and super().cancel()

    def set_exception(self, exception: BaseException | None) -> None:
        """It failed; called by who drives."""
        cause = None if exception is None else exception.__cause__
        if isinstance(exception, errors.TaskError) and cause is not None:
            # Theirs, not ours: what has happened to it has no cause of the user's.
            exception = cause
        super().set_exception(exception)

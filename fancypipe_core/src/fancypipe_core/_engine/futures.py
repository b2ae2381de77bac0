"""The future of something that was submitted to a session."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Protocol, TypeVar

from fancypipe_core import errors
from fancypipe_core._base.slices import at_a_time
from fancypipe_core._engine.roots import Root

__all__ = ["Submission", "TaskFuture"]

T = TypeVar("T")

_unfinished: set[Future[Any]] = set()


class Owner(Protocol):
    """Who drives what a future stands for."""

    def cancel(self, root: Root) -> None:
        """Nobody wants this any more."""

    def refuse_to_wait(self) -> None:
        """Raise if who waits in this thread would wait for ever."""


class TaskFuture(Future[T]):
    """What `Session.submit()` returns: a `concurrent.futures.Future`.

    `cancel()` works until it is done, also while tasks of it run: what only it needs is given
    up, and stopped where the backend can stop a task.
    """

    _root: Root
    _owner: Owner
    _begun = False

    def __repr__(self) -> str:
        """Return how it stands, with what came of it in a few words."""
        return f"<{type(self).__name__}: {self._in_words()}>"

    def _in_words(self) -> str:
        if not self.done():
            return "running" if self._begun else "waiting"
        if self.cancelled():
            return "cancelled"
        from fancypipe_core._codec.failure import name_of, text_of  # few are shown
        from fancypipe_core._model.input_summary import value_in_words

        error = super().exception(0.0)
        if error is None:
            return f"done: {value_in_words(super().result(0.0))}"
        return f"failed: {name_of(error)}: {text_of(error).partition(chr(10))[0]}"

    def cancel(self) -> bool:
        """Give it up, and what only it needs; return whether it was not done yet."""
        if not super().cancel():
            return False
        with suppress(InvalidStateError, RuntimeError):  # somebody else does the same
            self.set_running_or_notify_cancel()
        self._owner.cancel(self._root)
        return True

    def running(self) -> bool:
        """Return whether it is under way: it does not wait behind others, and is not done."""
        return self._begun and not self.done()

    def result(self, timeout: float | None = None) -> T:
        """Return the value, as `Session.run()` does.

        Args:
            timeout: Seconds to wait for it; None for no limit.

        Raises:
            TimeoutError: It is not there yet; Python 3.10 has a class of its own for that.
            CancelledError: The future was cancelled.
            Cancelled: `Session.cancel()` was called.
            BackendClosed: The session was closed before.
            UsageError: It would wait for ever: this is inside the run that it waits for, or in a
                fork of the process.
            BaseException: As for `Session.run()`.
        """
        self._wait(timeout)
        return super().result(0.0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error that `result()` would raise; None if it would return."""
        self._wait(timeout)
        return super().exception(0.0)

    def _wait(self, timeout: float | None) -> None:
        if self.done():
            return
        self._owner.refuse_to_wait()
        until = inf if timeout is None else monotonic() + timeout
        while not self.done() and (left := until - monotonic()) > 0:
            # It tells of a failure; what is waited for may have failed by a `TimeoutError`.
            with suppress(NotYet, CancelledError):
                super().exception(at_a_time(left))

    def _forget(self, process: int) -> None:
        """This process is a fork of the one that it is of: end it here, and tell nobody.

        Whoever waits for it by other ways, as `concurrent.futures.wait` does, is told too. What
        is to be called when it is done is the parent's affair.
        """
        self._condition = threading.Condition()  # a thread that is not here may hold the other
        if not self.done():
            super().__init__()
            super().set_exception(
                errors.UsageError(
                    f"this future belongs to process {process}, and this is a fork of it "
                    f"(process {os.getpid()}), in which nothing will ever come of it"
                )
            )


class Submission(Root):
    """Something that was submitted.

    Args:
        target: Any value with references in it.
        owner: Who drives it.
        adapt: Called in the thread that drives, before it begins.
        kind: The class of its future.

    Attributes:
        future: Gets what comes of it.
        takes_interrupts: Whether who waits for it can be sent a `KeyboardInterrupt`.
    """

    __slots__ = ("_adapt", "future", "takes_interrupts")

    def __init__(
        self,
        target: Any,
        owner: Owner,
        adapt: Callable[[], None] | None = None,
        kind: type[TaskFuture[Any]] = TaskFuture,
    ) -> None:
        super().__init__(target, _tell)
        self.takes_interrupts = False
        self._adapt = adapt
        self.future = kind()
        self.future._root = self
        self.future._owner = owner
        _unfinished.add(self.future)
        self.future.add_done_callback(_unfinished.discard)

    @property
    def is_given_up(self) -> bool:
        return self.future.done()

    def give_up(self) -> None:
        TaskFuture.cancel(self.future)

    def begin(self) -> None:
        self.future._begun = True
        if self._adapt is not None:
            self._adapt()


def _tell(root: Root) -> None:
    assert isinstance(root, Submission)
    with suppress(InvalidStateError):  # it was cancelled a moment ago
        if root.error is not None:
            root.future.set_exception(root.error)
        else:
            root.future.set_result(root.value)
    root.value = root.error = root.target = None


def _after_fork(process: list[int]) -> None:
    before, process[0] = process[0], os.getpid()
    for future in list(_unfinished):
        if isinstance(future, TaskFuture):
            future._forget(before)
    _unfinished.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(_after_fork, [os.getpid()]))

"""What is under way in a session: what was asked for, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from fancypipe_core import errors
from fancypipe_core._base.signals import Interrupts
from fancypipe_core._engine.driver import Driver
from fancypipe_core._engine.roots import Root
from fancypipe_core._engine.streams import Stream
from fancypipe_core._engine.wheel import Wheel
from fancypipe_core._model.ref import Instance

if TYPE_CHECKING:
    from fancypipe_core._engine.futures import Submission, TaskFuture

__all__ = ["Activity"]

_LEFT = "ended before all results were handed out"


class Activity:
    """What is under way in a session.

    Args:
        driver: The loop.
        interrupts: What the user has asked for by signals.
        wheel: Which thread drives.
    """

    def __init__(self, driver: Driver, interrupts: Interrupts, wheel: Wheel) -> None:
        self._driver = driver
        self._interrupts = interrupts
        self.wheel = wheel
        wheel.submission = lambda target: _submission()(target, self)

    def run(self, target: Any) -> Any:
        """Return what comes of a target; drive for it, if nobody else does.

        Raises:
            BaseException: As for `Session.run`.
        """
        if not self.wheel.take():
            root = self._foreground(target)
            self.wheel.ask(root)
            return self._wait(root)
        mine = Root(target)
        if self.wheel.lead(mine, partial(self.wheel.begin, target)):
            if mine.error is not None:
                raise mine.error
            return mine.value
        taken = self.wheel.was_taken()
        if taken is not None:
            assert isinstance(taken, _submission())
            return self._wait(taken)
        if mine.error is None and mine.number in self._driver.roots.watched:
            waiting = self.wheel.stand_in(mine)
            self.wheel.hand_over(waiting)
            return self._wait(waiting)
        self.wheel.hand_over()
        return mine.outcome()

    def submit(
        self,
        target: Any,
        adapt: Callable[[], None],
        kind: type[TaskFuture[Any]] | None = None,
    ) -> Submission:
        """Have a target run beside all else.

        Args:
            target: Any value with references in it.
            adapt: Called in the thread that drives, right before.
            kind: The class of its future; by default `TaskFuture`.

        Raises:
            BackendClosed: The session has ended, or the program does.
        """
        from fancypipe_core._engine.futures import Submission, TaskFuture

        root = Submission(target, self, adapt, kind or TaskFuture)
        self.wheel.ask(root)
        return root

    def give_up(self, roots: list[Root]) -> None:
        """Cancel those of these that have not begun."""
        self.wheel.order(lambda: self._driver.roots.recall(roots))

    def stream(self, target: Instance[Any]) -> Stream:
        """Return what takes the results of a map one by one; for `pieces`."""
        return Stream(target, self._driver.maps, self._driver.files)

    def _foreground(self, target: Any) -> Submission:
        root = _submission()(target, self)
        root.takes_interrupts = threading.current_thread() is threading.main_thread()
        return root

    def _wait(self, root: Submission) -> Any:
        with self._interrupts.told_to(self._woken):
            return root.future.result()

    def _woken(self, _frame: object) -> bool:
        self._driver.wake()
        return self._interrupts.is_stuck()

    def cancel(self, root: Root) -> None:
        """Nobody wants this any more."""
        self.wheel.order(lambda: self._driver.roots.drop(root) if root.number else None)

    def refuse_to_wait(self) -> None:
        """Raise if who waits in this thread would wait for ever.

        Raises:
            UsageError: The run that has to go on is driven in this thread.
        """
        if self.wheel.is_here:
            raise errors.UsageError(
                "a future was waited for inside the run that it waits for, so it would wait for "
                "ever; return the reference, or write .result() on it"
            )

    def pieces(self, stream: Stream) -> Generator[tuple[int, list[Any]], None, None]:
        """Yield lists of results of a map, each with the index of its first.

        Raises:
            BaseException: As for `Session.run`.
        """
        mine = self.wheel.take()
        before: Callable[[], None] = partial(self.wheel.begin, stream.target)
        over = False
        if not mine:
            self.wheel.ask(stream)
        try:
            while True:
                if mine:
                    over = True  # who raises has ended the run
                    with self.wheel.at_work():
                        over = self.wheel.lead(stream, before)
                    before = _nothing
                    if not over and self.wheel.was_taken() is None:
                        self.wheel.park(stream)
                else:
                    stream.wait()
                found = stream.take()
                if found:
                    yield from found
                elif over or stream.is_told:
                    break
                if not over:
                    mine = self.wheel.comes_back(stream)
            stream.outcome()
        finally:
            if not (over or stream.is_told):
                with self.wheel.at_work():
                    if self.wheel.comes_back(stream):
                        self.wheel.close_run(errors.Cancelled(_LEFT))
                    else:
                        self.cancel(stream)


def _submission() -> type[Submission]:
    from fancypipe_core._engine.futures import Submission  # most runs need none

    return Submission


def _nothing() -> None:
    """A run goes on."""

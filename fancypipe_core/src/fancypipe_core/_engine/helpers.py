"""Threads for what would hold up the one that drives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import get_ident

__all__ = ["Helpers"]

_LINGER = 1.0  # seconds that an idle one waits for more


class Helpers:
    """Some threads: as many as are busy, and those that were a moment ago.

    Args:
        name: What they are called.

    Attributes:
        busy: Those that do something.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: list[_Helper] = []  # the one that was busy last is taken first
        self._over = False
        self.busy: set[int] = set()

    def start(self, what: Callable[[], None]) -> bool:
        """Have something done, which raises nothing; tell whether there is a thread for it."""
        try:
            helper = self._idle.pop()
        except IndexError:
            helper = _Helper()
            try:
                threading.Thread(
                    target=self._run, args=(helper,), name=self._name, daemon=True
                ).start()
            except RuntimeError:  # memory, a limit, or Python lets none start at its end
                return False
        helper.put(what)
        return True

    def end(self) -> None:
        """Let the idle ones end, and the others as soon as they are done."""
        self._over = True
        while self._idle:
            self._idle.pop().put(None)

    def _run(self, helper: _Helper) -> None:
        while (what := helper.get()) is not None:
            self.busy.add(get_ident())
            try:
                what()
            finally:
                self.busy.discard(get_ident())
            del what  # who waits here holds nothing
            self._idle.append(helper)
            if self._over:
                self.end()
            elif self._lingers_in_vain(helper):
                return

    def _lingers_in_vain(self, helper: _Helper) -> bool:
        if helper.has_more(_LINGER):
            return False
        try:
            self._idle.remove(helper)
        except ValueError:
            return False  # it was taken a moment ago
        return True


class _Helper:
    """What one thread is to do."""

    def __init__(self) -> None:
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._next: list[Callable[[], None] | None] = []

    def put(self, what: Callable[[], None] | None) -> None:
        self._inbox.put(what)

    def get(self) -> Callable[[], None] | None:
        """Return what is next, which has come or is about to; None for the end."""
        return self._next.pop() if self._next else self._inbox.get()

    def has_more(self, seconds: float) -> bool:
        """Wait so long, and tell whether there is something."""
        try:
            self._next.append(self._inbox.get(timeout=seconds))
        except Empty:
            return False
        return True

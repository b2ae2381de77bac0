"""How far a task is: told at most ten times a second, however often the task says it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from math import isfinite
from time import monotonic

__all__ = ["Meter", "read"]

_PAUSE = 0.1  # seconds between two messages
_END = 1.0  # seconds that the thread has to end


class Meter:
    """Passes on what one running task says of its progress.

    The first call is passed on at once, and then one in each tenth of a second.
    What was said last is passed on even if the task then says nothing for an
    hour: a thread sees to that, from the first call that came too early.

    Args:
        tell: Sends a message.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._due = 0.0
        self._latest: tuple[float, float | None] | None = None  # while it is not passed on
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def say(self, done: float, total: float | None) -> None:
        """The task is so far.  May be called from any thread."""
        self._latest = done, total
        now = monotonic()
        if now >= self._due:
            self._due = now + _PAUSE
            self._pass_on()
        elif self._thread is None and not self._over.is_set():
            self._thread = threading.Thread(target=self._watch, name="fancypipe-progress")
            self._thread.daemon = True
            with suppress(RuntimeError):  # no thread can be had: the next call will do
                self._thread.start()

    def end(self) -> None:
        """The task has ended: that says more than what was not passed on."""
        self._over.set()
        thread = self._thread
        if thread is not None and thread.ident is not None:
            thread.join(_END)

    def _watch(self) -> None:
        while not self._over.wait(_PAUSE):
            if self._latest is not None:
                self._due = monotonic() + _PAUSE
                self._pass_on()

    def _pass_on(self) -> None:
        latest, self._latest = self._latest, None
        if latest is not None and not self._over.is_set():
            done, total = latest
            self._tell(f"{done!r}" if total is None else f"{done!r}/{total!r}")


def read(text: str) -> tuple[float, float | None] | None:
    """Return what a message says; None if it says nothing that can be shown.

    It may come from another machine, so it is not taken to be well formed.
    """
    done, slash, total = text.partition("/")
    try:
        figures = float(done), float(total) if slash else None
    except ValueError:
        return None
    if not isfinite(figures[0]):
        return None
    if figures[1] is not None and not isfinite(figures[1]):
        return figures[0], None
    return figures

"""A thread that works when it is told to, waits for more for a moment, and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Background"]

_LINGER = 1.0  # seconds that it waits for more


class Background:
    """The session's own thread.

    Args:
        work: What is to be done; it sets `busy` back, with the lock held, when nothing is left.
        lock: Guards all this.

    Attributes:
        busy: Whether it works, or is about to.
    """

    def __init__(self, work: Callable[[], None], lock: threading.Lock) -> None:
        self.busy = False
        self._work = work
        self._lock = lock
        self._thread: threading.Thread | None = None
        self._more = threading.Semaphore(0)  # given for each time that it is told to work
        self._over = False

    def go(self) -> None:
        """Have it work; called with the lock held.

        Raises:
            RuntimeError: No thread can start.
        """
        self.busy = True
        if self._thread is not None:
            self._more.release()
            return
        self._thread = threading.Thread(target=self._run, name="fancypipe-session", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread, self.busy = None, False
            raise

    def end(self) -> threading.Thread | None:
        """Let it end, once it is not busy; return it, to be joined.  With the lock held."""
        self._over = True
        self._more.release()
        return self._thread

    def _run(self) -> None:
        while True:
            self._work()
            if not self._more.acquire(timeout=_LINGER):
                with self._lock:
                    if not self.busy:
                        self._thread = None
                        return
                self._more.acquire()
            with self._lock:
                if self._over and not self.busy:
                    self._thread = None
                    return

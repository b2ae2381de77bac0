"""A shell around the pool machine in a thread of its own, for workers that may keep it waiting."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

from fancypipe_core.backend import Job, JobId
from fancypipe_core.errors import InternalError
from fancypipe_core.toolkit.driven import DrivenShell
from fancypipe_core.toolkit.pool import Rules
from fancypipe_core.toolkit.pool import states as to

__all__ = ["ThreadedShell"]

_HEAR = 5.0  # seconds in which the thread must have heard that it is to end


class ThreadedShell(DrivenShell):
    """A shell that is not driven by the engine: what it calls may wait, or never come back.

    What the engine wants comes to the thread as calls, and so does what is told by `_post`.

    Args:
        rules: As for `DrivenShell`.
        name: The thread's.
    """

    def __init__(self, rules: Rules, name: str) -> None:
        super().__init__(rules)
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._bug: BaseException | None = None
        self._asked = False  # whether a sign of life was asked for and has not come
        self._ending = threading.Event()
        self._news: list[to.Event] = []  # what the machine has not heard yet; the thread's

    # ---- the contract; in the engine's thread ----

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take these jobs; see `fancypipe_core.backend`."""
        self._post(partial(super().submit, jobs))

    def cancel(self, ids: Sequence[JobId]) -> None:
        """Drop these, and stop those that run."""
        self._post(partial(super().cancel, ids))

    def recall(self, ids: Sequence[JobId]) -> None:
        """Drop these as far as they have certainly not begun."""
        self._post(partial(super().recall, ids))

    def check(self) -> str:
        """See whether the thread is alive; see `fancypipe_core.backend`."""
        name = f"the thread {self._thread.name} of the backend"
        if self._bug is not None:
            stack = "".join(traceback.format_exception(self._bug))
            raise InternalError(f"{name} has died:\n{stack}")
        if not self._asked:
            self._asked = True
            self._post(partial(setattr, self, "_asked", False))
            return ""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return f"{name} does not answer; it is at\n{''.join(traceback.format_stack(frame)[-8:])}"

    def stop(self, grace: float) -> None:
        """End; what runs has so many seconds."""
        self._sink = None
        self._post(partial(self._end, grace))
        if self._thread.is_alive() and self._ending.wait(_HEAR):
            self._thread.join(grace + self._last_limit())

    # ---- for the backend ----

    def _post(self, call: Callable[[], object]) -> None:
        """Have something done in the thread; called in any other."""
        self._inbox.put(call)

    def _hear(self, seconds: float | None) -> None:
        """Wait so long for a call, and do all that are there."""
        with suppress(Empty):
            self._inbox.get(timeout=seconds)()
            while True:
                self._inbox.get_nowait()()

    def _listen(self, seconds: float | None) -> tuple[bool, list[to.Event]]:
        self._hear(0.0 if self._news else seconds)
        news, self._news = self._news, []
        return self._ending.is_set(), news

    def _finish(self, grace: float) -> None:
        """End all workers: in the thread, whose last act it is."""
        raise NotImplementedError

    def _last_limit(self) -> float:
        """Return in how many seconds beyond the grace time `_finish` has come back."""
        raise NotImplementedError

    # ---- the thread ----

    def _live(self) -> None:
        try:
            while not self._ending.is_set():
                self.drive(None)
        except BaseException as error:  # noqa: BLE001 - told by `check`
            self._bug = error

    def _end(self, grace: float) -> None:
        self._ending.set()
        self._pool.forget_jobs()
        self._finish(grace)

    def _do(self, actions: Sequence[to.Action]) -> None:
        if not self._ending.is_set():
            super()._do(actions)

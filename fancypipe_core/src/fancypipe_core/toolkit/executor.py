"""A pool from outside: what is in it, and how it ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from concurrent.futures import Executor as Standard
from contextlib import suppress
from multiprocessing import active_children
from multiprocessing.connection import wait
from typing import Any

from fancypipe_core.backend import Certificate, Job, JobId, Lost
from fancypipe_core.toolkit.death import cause_of_death
from fancypipe_core.toolkit.pool import states as to

__all__ = ["HOST", "Batch", "Executor", "close_pool", "is_of_processes", "said"]

HOST = socket.gethostname()
_DYING = 0.1  # seconds in which a dead process is seen to be so
_INSIDE = 2  # batches of a process pool: one runs, and one is next
_BELIEVED = {f"concurrent.futures.{name}" for name in ("thread", "interpreter")}
_starting = threading.Lock()  # so that a new process is that of one pool


def close_pool(pool: Any, kill: bool) -> None:
    """End a pool, by `shutdown()` or `close()`; `kill`: jobs that nobody waits for run in it."""
    if isinstance(pool, Standard):
        # Threads cannot be killed; to wait for them would be to hang.
        pool.shutdown(wait=not kill or is_of_processes(pool), cancel_futures=True)
    else:
        (pool.shutdown if hasattr(pool, "shutdown") else pool.close)()


def _homes(pool: Any) -> set[str]:
    return {base.__module__ for base in type(pool).__mro__}


def is_of_processes(pool: Any) -> bool:
    """Tell whether this is a process pool of the standard library: a death breaks all of it."""
    return "concurrent.futures.process" in _homes(pool)


def said(error: BaseException) -> str:
    """Return an error in a line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:500]


class Batch:
    """Jobs that travel together; none for a proof that a worker is up.

    Attributes:
        jobs: The jobs; if one has a time limit that is enforced, it alone.
        recalled: What comes back if it has not begun: these among others.
        unwanted: What nobody wants any more, likewise.
        until: When its limit is over, on the monotonic clock; once it was `stopped`, when it
            must have ended by that; None while it has none, or has not begun.
        stopped: Why it was stopped: `timeout` or `cancelled`; empty if it was not.
    """

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.ids = [job.id for job in jobs]
        self.recalled: set[JobId] = set()
        self.unwanted: set[JobId] = set()
        self.until: float | None = None
        self.stopped = ""

    @property
    def is_unwanted(self) -> bool:
        """Whether nobody wants any of them."""
        return bool(self.jobs) and self.unwanted.issuperset(self.ids)

    def lost(self, id: JobId, why: str) -> Lost:
        """Return what a job came to that the batch came back without."""
        single = len(self.jobs) == 1  # else nobody knows which it was, so nobody is blamed
        if id in self.unwanted:
            return Lost(id, Certificate("cancelled", why, "", 0, guilty=False))
        if self.stopped == "timeout":
            return Lost(id, Certificate("timeout", why, "", 0))
        return Lost(id, Certificate("exit", why, "", 0, started=single, guilty=single))


class Executor:
    """A pool that was made.

    Args:
        number: The machine's number for it.
        pool: The pool.
        slots: How many jobs it runs at the same time.
        close: Ends the pool; told whether jobs are still running in it.
        ask: Tells how many jobs it runs now; None if that stays so.
        least: How many it is given all the same while it has no worker.

    Attributes:
        is_ours: Whether it is one of the standard library, of one process, which we may kill.
        is_believed: Whether what runs in it accepts no `cancel()`.
        is_up: Whether something has come back.
        manned: Whether it had any worker when it was last asked.
        waiting: What it is to get.
        batches: What has not come back, with the futures, in the order of sending.
    """

    def __init__(
        self,
        number: int,
        pool: Any,
        slots: int,
        close: Callable[[Any, bool], None],
        ask: Callable[[Any], int] | None,
        least: int = 0,
    ) -> None:
        self.number, self.pool, self.slots = number, pool, slots
        self._close, self._ask, self._least = close, ask, least
        self.is_ours = is_of_processes(pool)
        # Process pools do not survive one and then a death.
        self.is_believed = bool(_BELIEVED & _homes(pool))
        self.is_up = False
        self.manned = True
        self.waiting: list[Job] = []
        self.batches: dict[Batch, Any] = {}
        self._child: Any = None
        self._closing: threading.Thread | None = None
        self._error = ""

    @property
    def is_full(self) -> bool:
        """Whether what comes now had better wait outside, where it can be recalled."""
        is_ending = self._closing is not None
        return is_ending or (self.is_ours and len(self.batches) >= _INSIDE)

    @property
    def is_in_vain(self) -> bool:
        """Whether it is a process of ours, and nobody wants what that runs."""
        return self.is_ours and bool(self.batches) and next(iter(self.batches)).is_unwanted

    def up(self) -> to.Up:
        """Say how many jobs it runs at the same time now."""
        if self._ask is not None:
            with suppress(Exception):  # whatever the pool may raise
                slots = max(0, self._ask(self.pool))
                self.slots, self.manned = slots or self._least, slots > 0
        return to.Up(self.number, self.slots, manned=self.manned)

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call a function in a worker; return the future."""
        if not self.is_ours or self._child is not None:
            if self.is_ours and self._child.exitcode is not None:  # its pool may not know
                raise BrokenExecutor("its process is dead")
            return self.pool.submit(function, argument)
        with _starting:
            before = set(active_children())
            future = self.pool.submit(function, argument)
            new = set(active_children()) - before
        self._child = new.pop() if len(new) == 1 else None  # else somebody else starts some, too
        return future

    def close(self, kill: bool, error: str) -> None:
        """Begin to close it, in a thread: it may never come back from that.

        Args:
            kill: Whether its process is not to end by itself.
            error: What it is broken by; empty if it is not.
        """
        self._error = error
        # If that is what the pool is broken by, it is dead, or about to be found so.
        if kill and not self._is_dying(_DYING if error else 0.0):
            self._kill()
        self._closing = threading.Thread(
            target=self._end, args=(kill,), name="fancypipe-close", daemon=True
        )
        self._closing.start()

    def _end(self, kill: bool) -> None:
        with suppress(Exception):  # it may be broken, or closed already
            self._close(self.pool, kill)

    def bury(self, limit: float) -> Certificate | None:
        """Return what it died of when it is closed; None if it is not in so many seconds."""
        assert self._closing is not None, "closed before it is buried"
        self._closing.join(limit)
        if self._closing.is_alive():
            self._kill()
            self._closing.join(limit)
        child, self._child = self._child, None  # its descriptors are closed with it
        if self._closing.is_alive():
            return None
        if child is None or child.exitcode is None:
            return Certificate("exit", self._error or "its end", "", 0)
        reason = "exit" if child.exitcode >= 0 else "signal"
        return Certificate(reason, cause_of_death(child.exitcode), HOST, child.pid)

    def _is_dying(self, seconds: float) -> bool:
        return self._child is not None and bool(wait([self._child.sentinel], seconds))

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None  # how it dies is our own doing

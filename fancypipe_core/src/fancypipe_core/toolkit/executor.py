"""A pool from outside: what is in it, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor as Standard
from contextlib import suppress
from multiprocessing import active_children
from multiprocessing.connection import wait
from multiprocessing.queues import SimpleQueue
from time import monotonic
from typing import Any

from fancypipe_core.backend import Certificate, Job, JobId
from fancypipe_core.toolkit.death import cause_of_death

__all__ = ["Batch", "Executor", "close_pool", "is_of_processes"]

_START = 60.0  # seconds in which a process must have answered
_DYING = 0.1  # seconds in which a dead process is seen to be so
_THREAD = 0.5  # seconds for the end of a thread that has said that it has nothing more to do
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


class Batch:
    """Jobs that travel together; none for a proof that a worker is up."""

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.ids = [job.id for job in jobs]
        self.unwanted: set[JobId] = set()
        self.future: Any = None

    @property
    def is_unwanted(self) -> bool:
        """Whether nobody wants any of them."""
        return bool(self.jobs) and self.unwanted.issuperset(self.ids)


class Executor:
    """A pool that was made; with a process of ours if it is one of the standard library.

    Args:
        number: The machine's number for it.
        pool: The pool.
        slots: How many jobs it runs at the same time.
        ask: Tells how many that are now; None if it stays so.
        close: Closes it; told whether jobs are still running in it.
        over: Called in another thread when it has ended.
    """

    def __init__(
        self,
        number: int,
        pool: Any,
        slots: int,
        ask: Callable[[Any], int] | None,
        close: Callable[[Any, bool], None],
        over: Callable[[Executor], None],
    ) -> None:
        self.number, self.pool, self.slots = number, pool, slots
        self._ask, self._close, self._over = ask, close, over
        # What runs accepts no `cancel()`.  Process pools do not survive one and then a death.
        self.is_believed = bool(_BELIEVED & _homes(pool))
        self.is_own = is_of_processes(pool)
        self.is_up = False  # something has come back
        self.waiting: list[Job] = []  # what it is to get
        self.batches: dict[Batch, None] = {}  # what has not, in the order of sending
        self.unsent: list[JobId] = []  # what it did not take
        self.error: BaseException | None = None  # what it is broken by
        self._is_doomed = False  # whether its process was killed, so that it will be broken
        self._child: Any = None
        self._born = monotonic()
        self._closing: threading.Thread | None = None

    @property
    def is_full(self) -> bool:
        """Whether what comes now had better wait outside, where it can be recalled."""
        return self._is_doomed or (self.is_own and len(self.batches) >= _INSIDE)

    def size(self) -> int:
        """Return how many jobs it runs at the same time now."""
        with suppress(Exception):  # whatever the pool may raise
            self.slots = self.slots if self._ask is None else max(0, self._ask(self.pool))
        return self.slots

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call a function in a worker; return the future, or raise what the pool is broken by."""
        if self.error is not None:
            raise self.error
        if self._child is not None or not self.is_own:
            return self.pool.submit(function, argument)
        with _starting:
            before = set(active_children())
            future = self.pool.submit(function, argument)
            new = set(active_children()) - before
        self._child = new.pop() if len(new) == 1 else None
        return future

    def fault(self) -> str:
        """Say what is wrong with a pool that says nothing, and never will; else nothing.

        Those of the standard library miss a death in the middle of a report.
        """
        # Whom we have killed may have had nothing left to break with: no future says so.
        if self.error is not None or self._child is None or not (self.batches or self._is_doomed):
            return ""
        if self._child.exitcode:
            return "a process of the pool has died, and it did not say so"
        late = not self.is_up and monotonic() > self._born + _START
        return f"no answer within {_START:g} s" if late else ""

    def kill_unwanted(self) -> None:
        """Kill our process if nobody wants what it runs; the pool is broken then."""
        if self._child is not None and self.batches and next(iter(self.batches)).is_unwanted:
            self._is_doomed = True
            self._child.kill()

    def end(self, kill: bool) -> None:
        """Close the pool, in a thread: it may never come back from that; the next time by force."""
        # If it is what the pool is broken by, it is dead, or about to be found so.
        seconds = 0.0 if self.error is None else _DYING
        if kill and self._child is not None and not wait([self._child.sentinel], seconds):
            self._child.kill()
            self._child = None  # how it dies is our own doing
        if self._closing is None:
            self._closing = threading.Thread(
                target=self._end, args=(kill,), name="fancypipe-close", daemon=True
            )
            self._closing.start()
        elif kill and self.is_own:
            # Its thread may wait for the rest of a report whose sender is dead; while
            # this process holds the other end too it would never hear that there is no more.
            for part in list(vars(self.pool).values()):
                if isinstance(part, SimpleQueue):
                    part.close()

    def _end(self, kill: bool) -> None:
        with suppress(Exception):  # it may be broken, or closed already
            self._close(self.pool, kill)
        self._over(self)

    def certificate(self, host: str) -> Certificate:
        """Say what a pool that has ended died of."""
        if self._closing is not None:
            self._closing.join(_THREAD)
        child, self._child = self._child, None
        if child is None or child.exitcode is None:
            return Certificate("exit", said(self.error), host, 0)
        reason = "exit" if child.exitcode >= 0 else "signal"
        return Certificate(reason, cause_of_death(child.exitcode), host, child.pid)


def said(error: BaseException | None) -> str:
    """Return an error in a line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:500] if error else "its end"

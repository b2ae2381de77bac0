"""A pool from outside: what is in it, how its processes die, and how it ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Executor as Standard
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from fancypipe_core.backend import Job, JobId
from fancypipe_core.toolkit.death import cause_of_death

__all__ = ["Batch", "Executor", "close_pool"]

_TERM = 1.0  # seconds that the processes of a broken pool have to end by themselves
_START = 60.0  # seconds in which a process must have answered
_BELIEVED = {f"concurrent.futures.{name}" for name in ("thread", "process", "interpreter")}
_starting = threading.Lock()  # so that new processes are those of one pool


def close_pool(pool: Any, kill: bool) -> None:
    """End a pool of `concurrent.futures`, or one that has `shutdown()` or `close()`.

    Args:
        pool: The pool.
        kill: Whether jobs are still running in it, which nobody waits for.
    """
    if isinstance(pool, Standard):
        # Threads cannot be killed; to wait for them would be to hang.
        pool.shutdown(wait=not kill or _is_of_processes(pool), cancel_futures=True)
    elif hasattr(pool, "shutdown"):
        pool.shutdown()
    else:
        pool.close()


def _homes(pool: Any) -> set[str]:
    return {base.__module__ for base in type(pool).__mro__}


def _is_of_processes(pool: Any) -> bool:
    return "concurrent.futures.process" in _homes(pool)


@dataclass(eq=False)
class Batch:
    """Jobs that travel together; none for a proof that a worker is up."""

    jobs: list[Job]
    future: Any = None

    @property
    def ids(self) -> list[JobId]:
        """Which jobs."""
        return [job.id for job in self.jobs]


@dataclass(eq=False)
class Executor:
    """A pool that was made.

    Attributes:
        number: The machine's number for it.
        pool: The pool.
        count: How many workers it has.
        varies: Whether that may change, and it is asked for it.
        is_up: Whether it has answered.
        held: Jobs that wait for that.
        batches: What was given to it and has not come back.
        unwanted: Jobs that nobody wants any more.
        error: What it is broken by.
        death: How a process of it died, and which, once it has ended and that can be told.
        looks: How often something was wrong with it, and nothing was heard.
    """

    number: int
    pool: Any
    count: int
    varies: bool = False
    is_up: bool = False
    held: list[Job] = field(default_factory=list)
    batches: set[Batch] = field(default_factory=set)
    unwanted: set[JobId] = field(default_factory=set)
    error: BaseException | None = None
    death: tuple[str, int] | None = None
    looks: int = 0

    def __post_init__(self) -> None:
        self.is_processes = _is_of_processes(self.pool)
        self.is_believed = bool(_BELIEVED & _homes(self.pool))
        self._children: list[Any] = []  # if it is a process pool of the standard library
        self._born = monotonic()
        self._closing: threading.Thread | None = None

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call a function in a worker; return the future, or raise what the pool is broken by."""
        if self.error is not None:
            raise self.error
        if not self.is_processes or len(self._children) >= self.count:
            return self.pool.submit(function, argument)
        from multiprocessing import active_children

        with _starting:
            before = set(active_children())
            future = self.pool.submit(function, argument)
            self._children += set(active_children()) - before
        return future

    def looks_dead(self, jobs: Collection[JobId]) -> str:
        """Say what is wrong if the pool says nothing, and never will; empty if all may be well.

        The pools of the standard library may miss a death: that of a process which
        they started while they were already waiting, or one in the middle of a
        report.  Their futures would never end.

        Args:
            jobs: What it was sent and has not reported.
        """
        if self.error is not None or not self.batches or not self._children:
            return ""
        why = ""
        ended = _ended(self._children, 0.0)
        # One that ends well may have been replaced; but somebody must be there.
        if any(child.exitcode for child in ended) or len(ended) == len(self._children):
            why = "a process of the pool has died, and it did not say so"
        elif jobs and self.unwanted.issuperset(jobs):
            why = "cancelled"
        elif not self.is_up and monotonic() > self._born + _START:
            why = f"no answer within {_START:g} s"
        self.looks = self.looks + 1 if why else 0
        return why if self.looks > 1 else ""

    def end(
        self, close: Callable[[Any, bool], None], kill: bool, over: Callable[[], object]
    ) -> None:
        """Close the pool, in a thread: it may never come back from that; by force the next time.

        Args:
            close: Closes it; told as `kill` whether jobs still run in it.
            kill: Whether to kill its processes.
            over: Called when it has ended.
        """
        if self._closing is None:
            self._closing = threading.Thread(
                target=self._close, args=(close, kill, over), name="fancypipe-close", daemon=True
            )
            self._closing.start()
        elif kill and self._closing.is_alive():
            self._kill()
            # Its thread may wait for the rest of a report whose sender is dead; while
            # this process holds the other end too it would never hear that there is no more.
            if self.is_processes:
                from multiprocessing.queues import SimpleQueue

                for part in list(vars(self.pool).values()):
                    if isinstance(part, SimpleQueue):
                        part.close()

    def has_ended(self, limit: float) -> bool:
        """Wait so many seconds at most for the end."""
        if self._closing is not None:
            self._closing.join(max(0.0, limit))
        return self._closing is not None and not self._closing.is_alive()

    def _close(
        self, close: Callable[[Any, bool], None], kill: bool, over: Callable[[], object]
    ) -> None:
        ended = self._children
        if kill and ended:
            # A broken pool ends the others with a signal of its own.
            ended = _ended(ended, _TERM if self.error is not None else 0.0)
            self._kill()
        with suppress(Exception):  # it may be broken, or closed already
            close(self.pool, kill)
        usual = (None, 0, -signal.SIGTERM) if len(self._children) > 1 else (None,)
        dead = [child for child in ended if child.exitcode not in usual]
        if len(dead) == 1:
            self.death = cause_of_death(dead[0].exitcode), dead[0].pid
        self._children = []
        over()

    def _kill(self) -> None:
        for child in self._children:
            with suppress(Exception):
                child.kill()


def _ended(children: list[Any], seconds: float) -> list[Any]:
    """Return which have ended, at the latest after so long; they are left to be reaped."""
    from multiprocessing.connection import wait

    until = monotonic() + seconds
    left = {child.sentinel: child for child in children}
    ended = []
    with suppress(OSError, ValueError):
        while left and (ready := wait(list(left), max(0.0, until - monotonic()))):
            ended += [left.pop(sentinel) for sentinel in ready]
    return ended

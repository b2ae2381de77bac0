"""Pools from outside, as `FuturesBackend` sees them: what is in one, and how it ends."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from fancypipe_core import _wire
from fancypipe_core.backend import Certificate, Event, Job, JobId, Live

__all__ = ["Batch", "Lane", "Pool", "close_pool"]

_TERM = 1.0  # seconds that the processes of a broken pool have to end
_CLOSE = 10.0  # seconds that a pool may take to close
_FORCED = 5.0  # seconds that it may take when its processes have been killed
_LOOKS = 2  # at a dead process, until the pool must have said that it is broken
_MORE_LOOKS = 5  # until nobody waits for that any more


class Pool(Protocol):
    """What is needed of a pool."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """Call a function in a worker; return a future like those of `concurrent.futures`."""


def close_pool(pool: Any, kill: bool) -> None:
    """End a pool of `concurrent.futures`, or one that has `shutdown()` or `close()`.

    Args:
        pool: The pool.
        kill: Whether jobs are still running in it, which nobody waits for.
    """
    processes = _processes(pool)
    if kill:
        for process in processes:
            process.kill()
    if isinstance(pool, Executor):
        # Threads cannot be killed; to wait for them would be to hang.
        pool.shutdown(wait=bool(processes) or not kill, cancel_futures=True)
    elif hasattr(pool, "shutdown"):
        pool.shutdown()
    else:
        pool.close()


def _processes(pool: Any) -> list[Any]:
    # Before Python 3.14 there is no public way to them.
    return list((getattr(pool, "_processes", None) or {}).values())


@dataclass(eq=False)
class Batch:
    """Jobs that travel together; none for a proof that a worker is up."""

    jobs: list[Job]
    lane: Lane
    future: Any = None
    unwanted: set[JobId] = field(default_factory=set)

    def error(self) -> BaseException | None:
        """Return what the future raises."""
        try:
            self.future.result()
        except BaseException as error:  # noqa: BLE001 - whatever the pool may raise
            return error
        return None

    def outcome(
        self, reports: _wire.Reports
    ) -> tuple[Sequence[Event], Sequence[JobId], BaseException | None]:
        """Return the events that came back, the jobs that did not begin, and what went wrong."""
        try:
            came = self.future.result()
            live = isinstance(self.jobs[0].inputs, Live)
            events, returned = came if live else reports.read(came)
        except BaseException as error:  # noqa: BLE001 - whatever the pool may raise
            if self.future.cancelled() and self.unwanted:
                return (), [job.id for job in self.jobs], None
            return (), (), error
        return events, returned or (), None


@dataclass(eq=False)
class Lane:
    """A pool and what is in it.

    Attributes:
        pool: The pool.
        close: Ends it; told whether jobs are still running in it.
        is_side: Whether jobs are tried alone in it.
        batches: What was given to it and has not come back.
        is_broken: Whether it takes no more.
        is_proved: Whether its worker has just answered.
        death: How a process of it died, and which, when it is broken and that can be told.
    """

    pool: Any
    close: Callable[[Any, bool], None]
    is_side: bool = False
    batches: set[Batch] = field(default_factory=set)
    is_broken: bool = False
    is_proved: bool = False
    death: tuple[str, int] | None = None
    _looks: int = 0

    def misses_a_death(self) -> bool:
        """Look whether a process has died and the pool does not say so; True when that is sure.

        The pools of `concurrent.futures` may miss a death: that of a process which
        they started while they were already waiting, or one in the middle of a
        report.  Their futures would never end.  So the other processes are killed
        too, which they cannot miss; and if they do, it is sure.
        """
        if not self.batches or not _ended(_processes(self.pool)):
            self._looks = 0
            return False
        self._looks += 1
        if self._looks == _LOOKS:
            self.death = _death(_processes(self.pool))
            self._kill()
        return self._looks >= _MORE_LOOKS

    def let_go(self, why: str) -> list[Batch]:
        """Fail the batches whose futures have not ended, and return them."""
        left = [batch for batch in self.batches if not batch.future.done()]
        for batch in left:
            batch.future = Future()
            batch.future.set_exception(BrokenExecutor(why))
        return left

    def certificate(self, error: BaseException | None, guilty: bool) -> Certificate:
        """Return what is known of the death that cost a job its worker."""
        if error is None:
            what = "a worker sent no answer"
        else:
            what = f"{type(error).__name__}: {error}".partition("\n")[0][:500]
        detail, pid = self.death if guilty and self.death else (what, 0)
        reason = "signal" if detail.startswith("SIG") else "exit"
        # Which of several jobs had begun, nobody knows; as they are not blamed, they go on.
        return Certificate(reason, detail, socket.gethostname(), pid, guilty, guilty)

    def bury(self) -> bool:
        """The pool is broken: end what is left of it, and see what killed it.

        Returns:
            Whether it has ended; if not, it is left to itself.
        """
        self.is_broken = True
        processes = _processes(self.pool)
        _let_end(processes)
        closed = self.end(kill=True)
        self.death = self.death or _death(processes)
        return closed

    def end(self, kill: bool) -> bool:
        """Close the pool; return whether that came to an end in time."""
        if kill:
            self._kill()
        if self._close_within(_CLOSE, kill):
            return True
        self._kill()
        return self._close_within(_FORCED, kill=True)

    def _close_within(self, limit: float, kill: bool) -> bool:
        # In a thread: a pool that has lost its balance may never come back from this.
        def close() -> None:
            with suppress(Exception):  # it may be broken, or closed already
                self.close(self.pool, kill)

        thread = threading.Thread(target=close, name="fancypipe-close", daemon=True)
        thread.start()
        thread.join(limit)
        return not thread.is_alive()

    def _kill(self) -> None:
        """Kill the pool's processes, if it has any that we can see."""
        processes = _processes(self.pool)
        for process in processes:
            with suppress(Exception):
                process.kill()
        if processes:
            # Its thread may wait for the rest of a report whose sender is dead; while
            # we hold this end too it would never hear that there is no more.
            with suppress(Exception):
                self.pool._result_queue._writer.close()


def _ended(processes: Sequence[Any]) -> bool:
    """Whether one of these processes has ended; they are left to be reaped."""
    from multiprocessing.connection import wait

    with suppress(OSError, ValueError):
        return bool(wait([process.sentinel for process in processes], 0))
    return False


def _let_end(processes: Sequence[Any]) -> None:
    """Wait for the processes of a broken pool: it ends them, with a signal of its own."""
    from multiprocessing.connection import wait

    left = {process.sentinel for process in processes}
    until = monotonic() + _TERM
    with suppress(OSError, ValueError):
        while left and monotonic() < until:
            left.difference_update(wait(list(left), until - monotonic()))


def _death(processes: Sequence[Any]) -> tuple[str, int] | None:
    """Return how the process died that broke a pool, if that can be told."""
    # The pool itself ends the others with SIGTERM.
    usual = (None, 0, -signal.SIGTERM)
    dead = [one for one in processes if one.exitcode not in usual]
    if len(dead) != 1:
        return None
    code = dead[0].exitcode
    with suppress(ValueError):
        return signal.Signals(-code).name if code < 0 else f"exit code {code}", dead[0].pid
    return f"signal {-code}", dead[0].pid

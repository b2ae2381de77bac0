"""Time limits on threads: a job that takes longer is let go of, for it cannot be killed.

A job that was cancelled while it ran has a limit from then on: what nobody waits for must not keep
a place from others for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from fancypipe_core.backend import Job, JobId
from fancypipe_core.toolkit import fault

__all__ = ["Limits", "Worker"]

_LONGEST_WAIT = 60.0  # seconds; the clock's thread is woken when there is more to do
_LATE = 1.0  # seconds after a limit at which somebody must have looked
_END = 1.0  # seconds that the clock's thread has to end


class Worker:
    """One thread that runs jobs, as the others see it.

    Attributes:
        thread: The thread.
        signal: A lock that is released to wake it.
        job: What it has in its hands; None between two jobs.
        ended: The job that has run last.
        until: When that job's time is up, on the monotonic clock; None without a limit.
        unwanted: The limit is there because the job was cancelled.
        leaked: It was let go of: what it still does counts for nothing.
        is_seated: It waits for others, so that a job has as many cores as it needs.
    """

    __slots__ = (
        "ended", "is_seated", "job", "leaked", "signal", "thread", "until", "unwanted",
    )  # fmt: skip

    def __init__(self, name: str, target: Callable[[Worker], None]) -> None:
        self.thread = threading.Thread(target=target, args=(self,), name=name, daemon=True)
        self.signal = threading.Lock()
        self.signal.acquire(blocking=False)
        self.job: Job | None = None
        self.ended: JobId | None = None
        self.until: float | None = None
        self.leaked = self.is_seated = self.unwanted = False


class Limits:
    """Watches jobs with time limits, in a thread that the first of them starts.

    Args:
        over: Called in that thread with each worker whose job's time is up; it is
            marked as leaked by then.
    """

    def __init__(self, over: Callable[[Worker], None]) -> None:
        self._over = over
        self._changed = threading.Condition()
        self._running: set[Worker] = set()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def begin(self, worker: Worker, seconds: float) -> None:
        """A worker begins a job that may take so long."""
        with self._changed:
            worker.until = monotonic() + seconds
            self._add(worker)

    def begin_late(self, worker: Worker, job: Job, seconds: float) -> None:
        """A job that a worker has begun was cancelled, and may take so long from now on."""
        with self._changed:
            before = worker.until
            if before is None or before > monotonic() + seconds:
                worker.until = monotonic() + seconds
            # The worker says that the job has ended, and looks for a limit then; we look the other
            # way round.  So one of us sees the other, and no later job gets this limit.
            if worker.job is not job or worker.ended == job.id:
                worker.until = before
            elif not self._stopped and worker.until != before:
                worker.unwanted = True
                self._add(worker)

    def _add(self, worker: Worker) -> None:
        self._running.add(worker)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._watch, name="fancypipe-limits", daemon=True
            )
            self._thread.start()
        self._changed.notify()

    def end(self, worker: Worker) -> bool:
        """A worker has ended its job; return whether that counts: its time was not up."""
        with self._changed:
            self._running.discard(worker)
            worker.until = None
            worker.unwanted = worker.unwanted and worker.leaked
            return not worker.leaked

    def check(self) -> str:
        """Return a sentence if limits have passed and nobody looked; empty if all is well."""
        late = monotonic() - _LATE
        with self._changed:
            names = [w.thread.name for w in self._running if w.until is not None and w.until < late]
        if not names:
            return ""
        alive = self._thread is not None and self._thread.is_alive()
        how = "does not look at them" if alive else "has died"
        return f"the time limits of {', '.join(sorted(names))} have passed, and the clock {how}"

    def stop(self) -> None:
        """End."""
        with self._changed:
            self._stopped = True
            self._running.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_END)

    def _watch(self) -> None:
        while True:
            fault("threads.clock")
            with self._changed:
                if self._stopped:
                    return
                now = monotonic()
                times = {w: w.until for w in self._running if w.until is not None}
                over = [worker for worker, until in times.items() if until <= now]
                for worker in over:
                    worker.leaked = True
                    self._running.discard(worker)
                if not over:
                    next_one = min(times.values(), default=now + _LONGEST_WAIT)
                    self._changed.wait(min(next_one - now, _LONGEST_WAIT))
            for worker in over:
                self._over(worker)

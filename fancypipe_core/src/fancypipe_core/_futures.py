"""Any pool with `submit(function, argument) -> Future` as a backend.

One thread owns all of it: what is asked for, and the futures that end, come to
it as messages.  Jobs travel in batches, of short ones by the hundred and of long
or unknown ones singly; a batch that takes longer than was thought gives back
what it has not begun.

A pool that breaks as a whole tells nobody which of its jobs broke it.  So none
is blamed; all that were in it are suspects, and each is tried alone in a pool
with one worker.  There the guilty one is the only one.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from fancypipe_core import _wire
from fancypipe_core._batch import copied, run_batch, run_jobs, this_process
from fancypipe_core._names import main_script
from fancypipe_core.backend import (
    BackendOptions,
    Call,
    Certificate,
    Done,
    Event,
    Job,
    JobId,
    Live,
    Lost,
    Note,
    Pace,
    Sink,
    Slots,
)
from fancypipe_core.errors import BackendStartError

__all__ = ["FuturesBackend", "Pool", "close_pool"]

_BATCH = 0.002  # seconds of work that travel together: enough to hide the way there
_UNKNOWN = 0.02  # seconds that a task is thought to take before one has run
_LONG = 0.05  # seconds; of jobs that take longer, only one waits in the pool
_REFUSALS = 3  # pools that may be broken before they have run anything
_TERM = 1.0  # seconds that the processes of a broken pool have to end
_END = 30.0  # seconds that a pool may take to close


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


class FuturesBackend:
    """Runs jobs in a pool.

    Args:
        make_pool: Makes a pool with so many workers.  It is called again when a
            pool has broken.
        options: What the engine gave to `BackendPlugin.make`.
        close: Ends a pool; told whether jobs are still running in it.
        breaks: The exceptions by which a future says that the whole pool is broken.
    """

    def __init__(
        self,
        make_pool: Callable[[int], Pool],
        options: BackendOptions,
        *,
        close: Callable[[Any, bool], None] = close_pool,
        breaks: tuple[type[BaseException], ...] = (BrokenExecutor,),
    ) -> None:
        self._make_pool = make_pool
        self._count = options.workers
        self._directory = options.directory
        self._make_runner = options.runner
        self._close = close
        self._breaks = breaks
        self._sink: Sink | None = None
        self._thread: threading.Thread | None = None
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._here = threading.local()  # a runner for each thread, where memory is shared
        self._over = False
        # All below belongs to the thread.
        self._main: _Lane | None = None
        self._side: _Lane | None = None
        self._waiting: deque[Job] = deque()
        self._alone: deque[Job] = deque()
        self._suspects: set[int] = set()  # tasks
        self._refusals = 0
        self._reports = _wire.Reports()
        self._pace = Pace()
        self._paces: WeakKeyDictionary[Call, Pace] = WeakKeyDictionary()
        self._setup = b""
        self._ahead = 0
        self._warned = False

    # ---- the contract; in the engine's thread ----

    def start(self, sink: Sink) -> None:
        self._sink = sink
        main = main_script()
        named = (main.kind, main.value) if main is not None else None
        setup = _wire.Setup(list(sys.path), list(sys.argv), named, self._directory)
        self._setup = _wire.encode_command(setup)
        try:
            self._main = _Lane(self._make_pool(self._count))
        except Exception as error:
            raise BackendStartError(
                f"the pool could not be made: {type(error).__name__}: {error}"
            ) from error
        self._thread = threading.Thread(target=self._work, name="fancypipe-futures", daemon=True)
        self._thread.start()
        self._inbox.put(self._say_slots)

    def submit(self, jobs: Sequence[Job]) -> None:
        self._inbox.put(partial(self._take, jobs))

    def cancel(self, ids: Sequence[JobId]) -> None:
        self._inbox.put(partial(self._drop, frozenset(ids)))

    recall = cancel  # nothing that runs can be stopped

    def stop(self, grace: float) -> None:
        self._sink = None
        thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(partial(self._end, grace))
            thread.join(grace + _END)

    # ---- the thread ----

    def _work(self) -> None:
        while not self._over:
            try:
                self._inbox.get()()
                self._fill()
            except Exception as error:  # noqa: BLE001 - nobody may wait for ever
                self._give_up(f"the backend failed: {type(error).__name__}: {error}")

    def _emit(self, events: list[Event]) -> None:
        sink = self._sink
        if events and sink is not None:
            sink(events)

    def _say_slots(self) -> None:
        """Report the capacity if what is wanted ahead has changed much."""
        ahead = self._pace.ahead * self._count
        if not self._ahead or not self._ahead / 2 < ahead < self._ahead * 2:
            self._ahead = ahead
            self._emit([Slots(self._count, ahead)])

    def _take(self, jobs: Sequence[Job]) -> None:
        if not self._warned and any(job.time_limit is not None for job in jobs):
            self._warned = True
            text = "a pool's workers cannot be killed one by one: timeouts are not enforced on it"
            self._emit([Note(None, "warning", text)])
        for job in jobs:
            (self._alone if job.id[0] in self._suspects else self._waiting).append(job)

    def _drop(self, ids: frozenset[JobId]) -> None:
        lost: list[Event] = []
        for queue in (self._waiting, self._alone):
            jobs = list(queue)
            queue.clear()
            queue.extend(job for job in jobs if job.id not in ids)
            lost += [Lost(job.id, _cancelled(started=False)) for job in jobs if job.id in ids]
        self._emit(lost)
        for batch in self._batches():
            unwanted = ids.intersection(job.id for job in batch.jobs)
            if unwanted:
                batch.unwanted |= unwanted
                batch.future.cancel()  # if it has not begun; those still wanted come back

    def _batches(self) -> list[_Batch]:
        lanes = [lane for lane in (self._main, self._side) if lane is not None]
        return [batch for lane in lanes for batch in lane.batches]

    # ---- into the pool ----

    def _fill(self) -> None:
        """Give the pool what it has room for."""
        if self._over:
            return
        while self._alone and not (self._side and self._side.batches):
            if self._side is None and (side := self._open(1)) is not None:
                self._side = side
            if self._side is not None:
                self._send(self._side, [self._alone.popleft()])
        # The one who is tried alone takes the place of a worker.
        count = self._count - bool(self._side and self._side.batches)
        room = count and count + (1 if self._pace.seconds > _LONG else count)
        while self._waiting and (self._main is None or len(self._main.batches) < room):
            if self._main is None and (main := self._open(self._count)) is not None:
                self._main = main
            if self._main is not None and room:
                self._send(self._main, self._next_batch())

    def _next_batch(self) -> list[Job]:
        most = -(-len(self._waiting) // (2 * self._count))
        jobs = [self._waiting.popleft()]
        seconds = self._expected(jobs[0])
        while self._waiting and len(jobs) < most:
            seconds += self._expected(self._waiting[0])
            if seconds > _BATCH:
                break
            jobs.append(self._waiting.popleft())
        return jobs

    def _expected(self, job: Job) -> float:
        pace = self._paces.get(job.call)
        return pace.seconds if pace is not None else _UNKNOWN

    def _open(self, count: int) -> _Lane | None:
        try:
            return _Lane(self._make_pool(count))
        except Exception as error:  # noqa: BLE001 - whatever the pool may raise
            self._refused(error)
            return None

    def _send(self, lane: _Lane, jobs: list[Job]) -> None:
        batch = _Batch(jobs, lane)
        try:
            if isinstance(jobs[0].inputs, Live):
                batch.future = lane.pool.submit(self._run_here, jobs)
            else:
                head, buffers = _wire.ToWorker().jobs(jobs)
                frame = (self._setup, this_process(), head, copied(buffers))
                batch.future = lane.pool.submit(run_batch, frame)
        except Exception as error:  # noqa: BLE001 - such as that the pool is broken
            for job in reversed(jobs):
                (self._alone if lane is self._side else self._waiting).appendleft(job)
            self._broken(lane)
            self._refused(error)
            return
        lane.batches.add(batch)
        over = partial(self._inbox.put, partial(self._ended, batch))
        batch.future.add_done_callback(lambda _future: over())

    def _refused(self, error: Exception) -> None:
        """A pool took no job.  Another is tried, but not for ever."""
        self._refusals += 1
        if self._refusals >= _REFUSALS:
            self._refusals = 0
            self._give_up(f"the pool takes no jobs: {type(error).__name__}: {error}", "start")

    def _give_up(self, why: str, reason: str = "exit") -> None:
        """Report all jobs as lost: better than to wait for what will not come."""
        certificate = Certificate(reason, why, _HOST, os.getpid(), started=False)
        jobs = [*self._waiting, *self._alone]
        self._waiting.clear()
        self._alone.clear()
        for batch in self._batches():
            jobs += batch.jobs
            batch.lane.batches.discard(batch)
        self._emit([Lost(job.id, certificate) for job in jobs])

    # ---- out of the pool ----

    def _ended(self, batch: _Batch) -> None:
        lane = batch.lane
        if batch not in lane.batches:
            return  # given up
        error: BaseException | None = None
        events: list[Event] = []
        returned: Sequence[JobId] | None = None
        try:
            answer = batch.future.result()
            live = isinstance(batch.jobs[0].inputs, Live)
            events, returned = answer if live else self._reports.read(answer)
        except BaseException as raised:  # noqa: BLE001 - whatever the pool may raise
            error = raised
            if isinstance(error, self._breaks):
                self._broken(lane)
        lane.batches.discard(batch)
        if batch.future.cancelled() and batch.unwanted:
            returned = [job.id for job in batch.jobs]
            error = None
        left = {job.id: job for job in batch.jobs}
        passed: list[Event] = [event for event in events if isinstance(event, Note)]
        for event in events:
            if isinstance(event, Done) and (job := left.pop(event.id, None)) is not None:
                passed.append(event)
                self._pace.record(event.seconds)
                self._paces.setdefault(job.call, Pace()).record(event.seconds)
                self._suspects.discard(event.id[0])
                self._refusals = 0
        for id in reversed(returned or ()):
            if (job := left.pop(id, None)) is None:
                continue
            if id in batch.unwanted:
                passed.append(Lost(id, _cancelled(started=False)))
            else:
                (self._alone if lane is self._side else self._waiting).appendleft(job)
        if left:
            passed += self._lost(batch, list(left.values()), error)
        self._emit(passed)
        self._say_slots()

    def _lost(self, batch: _Batch, jobs: list[Job], error: BaseException | None) -> list[Event]:
        """A future brought no results for these jobs."""
        lane = batch.lane
        # One of several may have done it, and nobody knows which: to blame them all
        # would let a bad job use up the losses of its neighbours.  They are tried
        # again, each alone, and then the answer is sure.
        guilty = lane.alone if lane.is_broken else len(batch.jobs) == 1
        if not guilty:
            self._suspects.update(job.id[0] for job in jobs if job.id not in batch.unwanted)
        what = "a worker sent no answer" if error is None else _first_line(error)
        detail, pid = lane.death if guilty and lane.death else (what, 0)
        reason = "signal" if detail.startswith("SIG") else "exit"
        why = Certificate(reason, detail, _HOST, pid, guilty=guilty)
        return [
            Lost(job.id, _cancelled(started=True) if job.id in batch.unwanted else why)
            for job in jobs
        ]

    def _broken(self, lane: _Lane) -> None:
        """A pool is broken: all its futures will say so, and it takes no more."""
        if not lane.is_broken:
            lane.is_broken = True
            lane.alone = sum(len(batch.jobs) for batch in lane.batches) == 1
            processes = _processes(lane.pool)
            _let_end(processes)
            self._close_lane(lane)
            lane.death = _death(processes)

    def _close_lane(self, lane: _Lane) -> None:
        if lane is self._main:
            self._main = None
        elif lane is self._side:
            self._side = None
        with suppress(Exception):  # it is broken anyway
            self._close(lane.pool, True)

    def _end(self, grace: float) -> None:
        """Let running jobs end within the time; then close the pools."""
        until = monotonic() + grace
        lanes = [lane for lane in (self._main, self._side) if lane is not None]
        for batch in self._batches():
            batch.future.cancel()
        self._over = True
        while self._batches() and monotonic() < until:
            with suppress(Exception):  # whatever it was, the pools are to be closed
                self._inbox.get(timeout=max(until - monotonic(), 0.0))()
        for lane in lanes:
            if not lane.is_broken:
                with suppress(Exception):
                    self._close(lane.pool, bool(lane.batches))

    # ---- in the workers, where they share memory ----

    def _run_here(self, jobs: list[Job]) -> tuple[list[Event], list[JobId]]:
        runner = getattr(self._here, "runner", None)
        if runner is None:
            runner = self._here.runner = self._make_runner()
            runner.connect(lambda events: self._emit(list(events)))
        return run_jobs(runner, jobs)


@dataclass(eq=False)
class _Lane:
    """A pool and what is in it."""

    pool: Any
    batches: set[_Batch] = field(default_factory=set)
    is_broken: bool = False
    alone: bool = False  # whether there was just one job in it when it broke
    death: tuple[str, int] | None = None  # how a process of it died, and which


@dataclass(eq=False)
class _Batch:
    """Jobs that travel together."""

    jobs: list[Job]
    lane: _Lane
    future: Any = None
    unwanted: set[JobId] = field(default_factory=set)


_HOST = socket.gethostname()


def _cancelled(started: bool) -> Certificate:
    detail = "cancelled" if started else "cancelled before it began"
    return Certificate("cancelled", detail, "", 0, started=started, guilty=False)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:500]


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

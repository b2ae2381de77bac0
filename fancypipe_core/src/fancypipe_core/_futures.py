"""Any pool with `submit(function, argument) -> Future` as a backend.

One thread owns all of it: what is asked for, and the futures that end, come to
it as messages.  Jobs travel in batches, of short ones by the hundred and of long
or unknown ones singly; a batch that takes longer than was thought gives back
what it has not begun.

A pool that breaks as a whole tells nobody which of its jobs broke it.  So none
is blamed; all that were in it are suspects, and each is tried alone in a pool
with one worker, once that has shown that it is up.  There the guilty one is the
only one.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from fancypipe_core import _wire
from fancypipe_core._batch import answer, copied, run_batch, run_jobs, this_process
from fancypipe_core._faults import fault
from fancypipe_core._lane import Batch, Lane, Pool, close_pool
from fancypipe_core._main import main_script
from fancypipe_core._queue import Queue
from fancypipe_core.backend import (
    BackendOptions,
    Certificate,
    Done,
    Environment,
    Event,
    Job,
    JobId,
    Live,
    Lost,
    Note,
    Sink,
    Slots,
)
from fancypipe_core.errors import BackendStartError, InternalError

__all__ = ["FuturesBackend", "Pool", "close_pool"]

_REFUSALS = 3  # pools that may be broken before they have run anything
_BAD_STARTS = 20  # times that a worker for a job tried alone may fail to come up
_LOOK = 1.0  # seconds of silence, with jobs in a pool, until its processes are looked at
_IDLE = 60.0  # seconds of silence with nothing in a pool
_HEAR = 5.0  # seconds in which our thread must have heard that it is to end
_CLOSE = 40.0  # seconds that it may take after the grace time: as long as two pools
_HOST = socket.gethostname()


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
        self._bug: BaseException | None = None
        self._asked = False  # whether a sign of life was asked for and has not come
        self._ending = threading.Event()
        # All below belongs to the thread.
        self._main: Lane | None = None
        self._side: Lane | None = None
        self._queue = Queue(options.workers)
        self._refusals = 0
        self._bad_starts = 0
        self._came_up = False  # whether there has been an answer from any worker
        self._reports = _wire.Reports()
        self._setup = b""
        self._ahead = 0
        self._warned = False

    # ---- the contract; in the engine's thread ----

    def start(self, sink: Sink) -> None:
        self._sink = sink
        main = main_script()
        named = (main.kind, main.value) if main is not None else None
        self._settings = _wire.Setup(list(sys.path), list(sys.argv), named, self._directory)
        self._setup = _wire.encode_command(self._settings)
        try:
            self._main = Lane(self._make_pool(self._count), self._close)
        except Exception as error:
            raise BackendStartError(
                f"the pool could not be made: {type(error).__name__}: {error}"
            ) from error
        self._thread = threading.Thread(target=self._work, name="fancypipe-futures", daemon=True)
        self._thread.start()
        self._inbox.put(self._say_slots)

    def adapt(self, environment: Environment) -> None:
        """Let jobs find the pipeline's own variables; see `fancypipe_core.backend`."""
        self._settings.adapt = _wire.Adapt(dict(environment.own), environment.folder)
        setup = _wire.encode_command(self._settings)
        self._inbox.put(partial(setattr, self, "_setup", setup))

    def submit(self, jobs: Sequence[Job]) -> None:
        self._inbox.put(partial(self._take, jobs))

    def cancel(self, ids: Sequence[JobId]) -> None:
        self._inbox.put(partial(self._drop, frozenset(ids)))

    recall = cancel  # nothing that runs can be stopped

    def check(self) -> str:
        """See whether our thread is alive; see `fancypipe_core.backend`."""
        thread = self._thread
        if self._bug is not None:
            stack = "".join(traceback.format_exception(self._bug))
            raise InternalError(f"the thread fancypipe-futures of the backend has died:\n{stack}")
        if thread is None or not self._asked:
            self._asked = True
            self._inbox.put(self._answer)
            return ""
        frame = sys._current_frames().get(thread.ident or 0)
        stack = "".join(traceback.format_stack(frame)[-8:]) if frame is not None else "its end"
        return f"the thread fancypipe-futures of the backend does not answer; it is at\n{stack}"

    def stop(self, grace: float) -> None:
        self._sink = None
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._inbox.put(partial(self._end, grace))
        if self._bug is None and self._ending.wait(_HEAR):
            thread.join(grace + _CLOSE)
        if self._bug is not None or thread.is_alive():
            # It is dead or stuck; its pools must not be left.
            for lane in (self._main, self._side):
                if lane is not None:
                    lane.end(kill=True)

    # ---- the thread ----

    def _work(self) -> None:
        try:
            while not self._over:
                fault("futures.turn")
                self._turn()
        except BaseException as error:  # noqa: BLE001 - told by `check`
            self._bug = error

    def _turn(self) -> None:
        """Take one message, or look around when none comes."""
        try:
            message = self._inbox.get(timeout=_LOOK if self._batches() else _IDLE)
        except Empty:
            self._look()
        else:
            message()
        self._fill()

    def _look(self) -> None:
        for lane in (self._main, self._side):
            if lane is not None and lane.misses_a_death():
                for batch in lane.let_go(
                    "a process of the pool died, and the pool did not report it"
                ):
                    self._ended(batch)

    def _answer(self) -> None:
        self._asked = False

    def _emit(self, events: list[Event]) -> None:
        sink = self._sink
        if events and sink is not None:
            sink(events)

    def _say_slots(self) -> None:
        """Report the capacity if what is wanted ahead has changed much."""
        ahead = self._queue.ahead
        if not self._ahead or not self._ahead / 2 < ahead < self._ahead * 2:
            self._ahead = ahead
            self._emit([Slots(self._count, ahead)])

    def _take(self, jobs: Sequence[Job]) -> None:
        if not self._warned and any(job.time_limit is not None for job in jobs):
            self._warned = True
            text = "a pool's workers cannot be killed one by one: timeouts are not enforced on it"
            self._emit([Note(None, "warning", text)])
        self._queue.add(jobs)

    def _drop(self, ids: frozenset[JobId]) -> None:
        dropped = self._queue.drop(ids)
        self._emit([Lost(id, _cancelled(started=False)) for id in dropped])
        for batch in self._batches():
            unwanted = ids.intersection(job.id for job in batch.jobs)
            if unwanted:
                batch.unwanted |= unwanted
                with suppress(Exception):  # whatever the pool may raise
                    batch.future.cancel()  # if it has not begun; those still wanted come back

    def _batches(self) -> list[Batch]:
        lanes = [lane for lane in (self._main, self._side) if lane is not None]
        return [batch for lane in lanes for batch in lane.batches]

    # ---- into the pool ----

    def _fill(self) -> None:
        """Give the pool what it has room for."""
        if self._over:
            return
        queue = self._queue
        while queue.alone and not (self._side and self._side.batches):
            if self._side is None and (side := self._open(1)) is not None:
                self._side = side
                side.is_side = True
            if self._side is not None:
                # First an empty batch, to see the worker up: its death before the job
                # has begun is not the job's.
                self._send(self._side, queue.next_alone() if self._side.is_proved else [])
        # The one who is tried alone takes the place of a worker.
        count = self._count - bool(self._side and self._side.batches)
        room = count and count + (1 if queue.are_long else count)
        while queue and (self._main is None or len(self._main.batches) < room):
            if self._main is None and (main := self._open(self._count)) is not None:
                self._main = main
            if self._main is not None and room:
                self._send(self._main, queue.next_batch())

    def _open(self, count: int) -> Lane | None:
        try:
            return Lane(self._make_pool(count), self._close)
        except Exception as error:  # noqa: BLE001 - whatever the pool may raise
            self._refused(error)
            return None

    def _send(self, lane: Lane, jobs: list[Job]) -> None:
        batch = Batch(jobs, lane)
        lane.is_proved = False
        try:
            if not jobs:
                batch.future = lane.pool.submit(answer, None)
            elif isinstance(jobs[0].inputs, Live):
                batch.future = lane.pool.submit(self._run_here, jobs)
            else:
                head, buffers = _wire.ToWorker().jobs(jobs)
                frame = (self._setup, this_process(), head, copied(buffers))
                batch.future = lane.pool.submit(run_batch, frame)
        except Exception as error:  # noqa: BLE001 - such as that the pool is broken
            self._queue.put_back(jobs, lane.is_side)
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
            text = f"the pool takes no jobs: {type(error).__name__}: {error}"
            self._give_up(text, self._queue.take_all())

    def _give_up(self, why: str, jobs: Sequence[Job]) -> None:
        """Report jobs as lost: better than to wait for what will not come."""
        certificate = Certificate("start", why, _HOST, os.getpid(), started=False)
        self._emit([Lost(job.id, certificate) for job in jobs])

    # ---- out of the pool ----

    def _ended(self, batch: Batch) -> None:
        fault("futures.ended")
        lane = batch.lane
        if batch not in lane.batches:
            return  # given up
        if not batch.jobs:
            self._answered(batch)
            return
        events, returned, error = batch.outcome(self._reports)
        if isinstance(error, self._breaks):
            self._broken(lane)
        lane.batches.discard(batch)
        left = {job.id: job for job in batch.jobs}
        passed: list[Event] = [event for event in events if isinstance(event, Note)]
        for event in events:
            if isinstance(event, Done) and (job := left.pop(event.id, None)) is not None:
                passed.append(event)
                self._queue.done(job, event)
                self._refusals = 0
                self._came_up = True
        for id in reversed(returned):
            if (job := left.pop(id, None)) is None:
                continue
            if id in batch.unwanted:
                passed.append(Lost(id, _cancelled(started=False)))
            else:
                self._queue.put_back([job], lane.is_side)
        if left:
            passed += self._lost(batch, list(left.values()), error)
        self._emit(passed)
        self._say_slots()

    def _lost(self, batch: Batch, jobs: list[Job], error: BaseException | None) -> list[Event]:
        """A future brought no results for these jobs."""
        lane = batch.lane
        # One of several may have done it, and nobody knows which: to blame them all
        # would let a bad job use up the losses of its neighbours.  They are tried
        # again, each alone, and then the answer is sure.
        guilty = lane.is_side if lane.is_broken else len(batch.jobs) == 1
        if not guilty:
            self._queue.suspect(job for job in jobs if job.id not in batch.unwanted)
        why = lane.certificate(error, guilty)
        return [
            Lost(job.id, _cancelled(started=True) if job.id in batch.unwanted else why)
            for job in jobs
        ]

    def _answered(self, batch: Batch) -> None:
        """The worker for a job that is to be tried alone is up, or its pool is broken."""
        lane = batch.lane
        lane.batches.discard(batch)
        error = batch.error()
        if error is None:
            lane.is_proved = self._came_up = True
            self._bad_starts = 0
            return
        self._broken(lane)
        self._bad_starts += 1
        if self._bad_starts >= (_BAD_STARTS if self._came_up else _REFUSALS):
            how = lane.certificate(error, guilty=True).detail
            text = f"{self._bad_starts} workers did not start, the last: {how}"
            self._bad_starts = 0
            self._give_up(text, self._queue.take_alone())

    def _broken(self, lane: Lane) -> None:
        """A pool is broken: all its futures will say so, and it takes no more."""
        if lane.is_broken:
            return
        if lane is self._main:
            self._main = None
        elif lane is self._side:
            self._side = None
        if not lane.bury():
            self._say_left()
        for batch in lane.let_go("the pool broke, and did not fail all of its futures"):
            self._inbox.put(partial(self._ended, batch))

    def _say_left(self) -> None:
        text = (
            "a pool did not close, even after its processes were killed; nothing waits for it now"
        )
        self._emit([Note(None, "warning", text)])

    def _end(self, grace: float) -> None:
        """Let running jobs end within the time; then close the pools."""
        self._ending.set()
        fault("futures.end")
        until = monotonic() + grace
        lanes = [lane for lane in (self._main, self._side) if lane is not None]
        for batch in self._batches():
            with suppress(Exception):
                batch.future.cancel()
        self._over = True
        while self._batches() and monotonic() < until:
            with suppress(Exception):  # whatever it was, the pools are to be closed
                self._inbox.get(timeout=max(until - monotonic(), 0.0))()
        for lane in lanes:
            if not lane.is_broken and not lane.end(kill=bool(lane.batches)):
                self._say_left()

    # ---- in the workers, where they share memory ----

    def _run_here(self, jobs: list[Job]) -> tuple[list[Event], list[JobId]]:
        runner = getattr(self._here, "runner", None)
        if runner is None:
            runner = self._here.runner = self._make_runner()
            runner.connect(lambda events: self._emit(list(events)))
        return run_jobs(runner, jobs)


def _cancelled(started: bool) -> Certificate:
    detail = "cancelled" if started else "cancelled before it began"
    return Certificate("cancelled", detail, "", 0, started=started, guilty=False)

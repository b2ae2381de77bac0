"""Any pool with `submit(function, argument) -> Future` as a backend.

A shell around the pool machine.  To the machine a pool is one worker with several
slots, which dies as a whole; so of process pools there is one for each worker, with
one process.  One thread owns all of it: what the engine wants, and the futures that
end, come to it as messages.
"""

from __future__ import annotations

import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from fancypipe_core._base.faults import fault
from fancypipe_core._wire import messages
from fancypipe_core.backend import (
    NOT_BEGUN,
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
)
from fancypipe_core.errors import BackendStartError, InternalError
from fancypipe_core.toolkit.batch import answer, copied, run_batch, run_jobs, this_process
from fancypipe_core.toolkit.connection import setup_of
from fancypipe_core.toolkit.executor import Batch, Executor, close_pool, is_of_processes, said
from fancypipe_core.toolkit.pool import Pool, Rules
from fancypipe_core.toolkit.pool import states as to

__all__ = ["FuturesBackend", "close_pool"]

_LOOK = 1.0  # seconds between two looks at the pools
_HEAR = 5.0  # seconds in which our thread must have heard that it is to end
_CLOSE = 20.0  # seconds that the pools may take to close after the grace time
_AHEAD = 0.02  # seconds of work that a slot has waiting
_RULES = Rules(
    1,
    kills=False,
    in_order=False,
    ahead=_AHEAD,
    most_ahead=_AHEAD,
    start=inf,
    bad_starts=3,
    hung_up=3.0,
)
_HOST = socket.gethostname()
_NO_LIMITS = "a pool's workers cannot be killed one by one: timeouts are not enforced on it"
_LEFT = "a pool did not close, not even with its processes killed; it is left to itself"


class FuturesBackend:
    """Runs jobs in a pool.

    Args:
        make_pool: Makes a pool with so many workers; again after it has broken, and
            with one worker to try a suspect alone.  If it makes process pools of the
            standard library, each worker gets one.
        options: What the engine gave to `BackendPlugin.make`.
        close: Ends a pool; told whether jobs are still running in it.
        breaks: The exceptions by which a future says that the whole pool is broken.
        running: Whether the job of a future may have begun.  Without it, only futures of
            the standard library's thread pools are believed when they accept `cancel()`.
        kill: Stops what a future runs; the future must end then.
        slots: How many jobs a pool runs at the same time now; by default `options.workers`.
    """

    def __init__(
        self,
        make_pool: Callable[[int], Any],
        options: BackendOptions,
        *,
        close: Callable[[Any, bool], None] = close_pool,
        breaks: tuple[type[BaseException], ...] = (BrokenExecutor,),
        running: Callable[[Any], bool] | None = None,
        kill: Callable[[Any], object] | None = None,
        slots: Callable[[Any], int] | None = None,
    ) -> None:
        self._make_pool, self._options = make_pool, options
        self._close, self._breaks = close, breaks
        self._running, self._kill, self._slots = running, kill, slots
        self._sink: Sink | None = None
        self._thread = threading.Thread(target=self._work, name="fancypipe-futures", daemon=True)
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._bug: BaseException | None = None
        self._looked = monotonic()  # when the pools were looked at last
        self._asked = False  # whether a sign of life was asked for and has not come
        self._ending = threading.Event()
        self._warned = False
        # All below belongs to the thread.
        self._made: list[Any] = []  # a pool that is there before the machine asks for it
        self._executors: dict[int, Executor] = {}
        self._news: list[to.Event] = []  # what the machine has not heard yet
        self._writer, self._reports = messages.ToWorker(), messages.Reports()

    # ---- the contract; in the engine's thread ----

    def start(self, sink: Sink) -> None:
        """Make the pool."""
        self._sink = sink
        self._settings = setup_of(self._options.directory)
        self._setup = messages.encode_command(self._settings)
        workers, slots = 1, 0 if self._slots else self._options.workers
        try:
            pool = self._make_pool(self._options.workers)
            if is_of_processes(pool):
                self._close(pool, False)  # nothing has started in it
                workers, slots = self._options.workers, 1
            else:
                self._made.append(pool)
        except Exception as error:
            raise BackendStartError(f"the pool could not be made: {said(error)}") from error
        # In a pool with several workers what is ahead waits for whoever is free first.
        rules = _RULES._replace(workers=workers, slots=slots, least_ahead=int(workers == 1))
        self._machine = Pool(rules, monotonic())
        self._do(self._machine.open(monotonic()))
        self._thread.start()

    def adapt(self, environment: Environment) -> None:
        """Let jobs find the pipeline's own variables; see `fancypipe_core.backend`."""
        self._settings.adapt = messages.Adapt(dict(environment.own), environment.folder)
        setup = messages.encode_command(self._settings)
        self._inbox.put(partial(setattr, self, "_setup", setup))

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take these jobs."""
        if not self._warned and any(job.time_limit is not None for job in jobs):
            self._warned = True
            self._emit([Note(None, "warning", _NO_LIMITS)])
        self._inbox.put(partial(self._ask, to.Submit(jobs)))

    def cancel(self, ids: Sequence[JobId]) -> None:
        """Drop these, and stop those that run if the pool can."""
        self._inbox.put(partial(self._ask, to.Cancel(ids)))

    def recall(self, ids: Sequence[JobId]) -> None:
        """Drop these as far as they have certainly not begun."""
        self._inbox.put(partial(self._ask, to.Recall(ids)))

    def check(self) -> str:
        """See whether our thread is alive; see `fancypipe_core.backend`."""
        name = "the thread fancypipe-futures of the backend"
        if self._bug is not None:
            stack = "".join(traceback.format_exception(self._bug))
            raise InternalError(f"{name} has died:\n{stack}")
        if not self._asked:
            self._asked = True
            self._inbox.put(partial(setattr, self, "_asked", False))
            return ""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return f"{name} does not answer; it is at\n{''.join(traceback.format_stack(frame)[-8:])}"

    def stop(self, grace: float) -> None:
        """End; what runs has so many seconds."""
        self._sink = None
        self._inbox.put(partial(self._finish, grace))
        if self._thread.is_alive() and self._ending.wait(_HEAR):
            self._thread.join(grace + 2 * _CLOSE)
        if self._executors:
            self._end_all()  # our thread is dead or stuck; its pools must not be left

    # ---- the thread ----

    def _work(self) -> None:
        try:
            while not self._ending.is_set():
                fault("futures.turn")
                self._turn()
        except BaseException as error:  # noqa: BLE001 - told by `check`
            self._bug = error

    def _turn(self) -> None:
        """Take all messages that are there; look at the pools when none comes."""
        due = self._machine.due
        wait = _LOOK if due is None else min(_LOOK, max(0.0, due - monotonic()))
        self._hear(wait)
        if monotonic() >= self._looked + _LOOK:
            self._looked = monotonic()
            for one in self._executors.values():
                self._look(one)
        if not self._ending.is_set():
            self._do(self._machine.handle(self._heard(), monotonic()))

    def _look(self, one: Executor) -> None:
        if one.is_up:
            self._news.append(to.Up(one.number, one.size()))
        one.kill_unwanted()
        if why := one.fault():
            self._broken(one, BrokenExecutor(why))

    def _hear(self, seconds: float) -> None:
        """Wait so long for a message, and take all that are there."""
        with suppress(Empty):
            self._inbox.get(timeout=seconds)()
            while not self._ending.is_set():
                self._inbox.get_nowait()()

    def _heard(self) -> list[to.Event]:
        news, self._news = self._news, []
        return news

    def _emit(self, events: Sequence[Event]) -> None:
        sink = self._sink
        if events and sink is not None:
            sink(events)

    # ---- what the machine wants ----

    def _ask(self, wish: to.Wish) -> None:
        self._do(self._machine.ask(wish, monotonic()))

    def _do(self, actions: Sequence[to.Action]) -> None:
        """Carry out what the machine wants, until it wants nothing more."""
        while actions:
            for action in actions:
                self._carry_out(action)
            actions = self._machine.handle(self._heard(), monotonic()) if self._news else ()

    def _carry_out(self, action: to.Action) -> None:
        if isinstance(action, to.Tell):
            self._emit(action.events)
        elif isinstance(action, to.GiveUp):
            text = f"no worker of the pool starts; the last: {action.why}"
            why = Certificate("start", text, _HOST, 0, started=False)
            self._emit([Lost(id, why) for id in self._machine.forget_jobs()])
        elif isinstance(action, to.Start):
            self._open(action.worker, action.slots)
        elif (one := self._executors.get(action.worker)) is None:
            return
        elif isinstance(action, to.Send):
            one.waiting += action.jobs
            self._fill(one)
        elif isinstance(action, (to.RecallJobs, to.CancelJobs)):
            self._recall(one, set(action.ids), stop=isinstance(action, to.CancelJobs))
        elif isinstance(action, to.Dismiss) or (isinstance(action, to.Kill) and action.reason):
            one.end(kill=isinstance(action, to.Kill))
        elif isinstance(action, to.Kill):
            self._emit([Note(None, "warning", _LEFT)])
            self._gone(one)

    def _open(self, number: int, slots: int) -> None:
        try:
            count = slots or self._options.workers
            pool = self._made.pop() if self._made else self._make_pool(count)
        except Exception as error:  # noqa: BLE001 - whatever the pool may raise
            self._news.append(to.NotStarted(number, said(error)))
            return
        one = Executor(number, pool, count, None if slots else self._slots, self._close, self._over)
        self._executors[number] = one
        self._submit(one, [], answer, None)  # a death before it has answered is no job's

    def _fill(self, one: Executor) -> None:
        """Give a pool what it is to have inside."""
        for jobs in self._machine.queue.batches(one.waiting[:], one.slots):
            if one.is_full:
                return
            del one.waiting[: len(jobs)]
            if isinstance(jobs[0].inputs, Live):
                self._submit(one, jobs, self._run_here, jobs)
            else:
                head, buffers = self._writer.jobs(jobs, whole=True)
                frame = (self._setup, this_process(), head, copied(buffers))
                self._submit(one, jobs, run_batch, frame)

    def _run_here(self, jobs: list[Job]) -> list[Event]:
        """Run jobs in a worker that shares our memory; in its thread."""
        runner = self._options.runner()
        runner.connect(lambda events: self._emit(list(events)))
        return run_jobs(runner, jobs)

    def _submit(self, one: Executor, jobs: list[Job], function: Any, argument: Any) -> None:
        batch = Batch(jobs)
        try:
            batch.future = one.submit(function, argument)
        except Exception as error:  # noqa: BLE001 - such as that the pool is broken
            one.unsent += batch.ids
            batch.future = Future()
            batch.future.set_exception(error)
        one.batches[batch] = None
        over = partial(self._inbox.put, partial(self._ended, one, batch))
        batch.future.add_done_callback(lambda _future: over())

    def _recall(self, one: Executor, ids: set[JobId], *, stop: bool) -> None:
        """Drop what has certainly not begun; stop what runs, if we can."""
        recalled = [job.id for job in one.waiting if job.id in ids]
        one.waiting = [job for job in one.waiting if job.id not in ids]
        for batch in [batch for batch in one.batches if not ids.isdisjoint(batch.ids)]:
            if stop:
                batch.unwanted |= ids.intersection(batch.ids)
            with suppress(Exception):  # whatever the pool may raise
                # Elsewhere what runs may accept it too, and run on unseen: we do not even ask.
                sure = not self._running(batch.future) if self._running else one.is_believed
                if sure and batch.future.cancel():
                    del one.batches[batch]
                    recalled += batch.ids
                elif self._kill is not None and batch.is_unwanted:
                    self._kill(batch.future)
        one.kill_unwanted()
        self._news.append(_not_begun(one, recalled))

    # ---- out of the pools ----

    def _ended(self, one: Executor, batch: Batch) -> None:
        fault("futures.ended")
        future, batch.future = batch.future, None
        if batch not in one.batches:
            return  # recalled, or lost with the pool
        del one.batches[batch]
        told: list[Event] = []
        why = "a worker sent no answer"
        try:
            came = future.result(0)
            if batch.jobs:
                live = isinstance(batch.jobs[0].inputs, Live)
                told = came if live else self._reports.read(came)
        except BaseException as error:  # noqa: BLE001 - whatever the pool may raise
            if isinstance(error, self._breaks) or not batch.jobs:
                self._broken(one, error)
                return
            why = said(error)
        if not one.is_up:
            one.is_up = True
            self._news.append(to.Up(one.number, one.size()))
        over = {event.id for event in told if isinstance(event, (Done, Lost))}
        single = len(batch.jobs) == 1  # else nobody knows which it was, so nobody is blamed
        self._machine.queue.travelled(batch.ids, over)
        for id in batch.ids:
            if id not in over:
                reason = "cancelled" if (stopped := id in batch.unwanted) else "exit"
                blame = single and not stopped
                told.append(Lost(id, Certificate(reason, why, _HOST, 0, single or stopped, blame)))
        self._news.append(to.Ended(one.number, told))
        self._fill(one)

    def _broken(self, one: Executor, error: BaseException) -> None:
        """A pool is broken: it takes no more, and all that was in it is lost."""
        if one.error is None:
            one.error = error
            one.batches.clear()
            self._news.append(to.HungUp(one.number, None, one.is_up, said(error)))
            one.end(kill=True)

    def _over(self, one: Executor) -> None:
        self._inbox.put(partial(self._gone, one))  # we are in another thread

    def _gone(self, one: Executor) -> None:
        if self._executors.pop(one.number, None) is not None:
            unsent = [*one.unsent, *(job.id for job in one.waiting)]
            self._news.append(_not_begun(one, unsent))
            why = one.certificate(_HOST)
            self._news.append(to.Died(one.number, why, None, one.is_up, all_begun=one.is_up))

    # ---- the end ----

    def _finish(self, grace: float) -> None:
        """Let running jobs end within the time; then close the pools."""
        self._ending.set()
        fault("futures.end")
        for one in self._executors.values():
            one.waiting = []
            for batch in one.batches if not one.is_own else ():
                with suppress(Exception):  # whatever the pool may raise
                    batch.future.cancel()
        until = monotonic() + grace
        while any(one.batches for one in self._executors.values()) and monotonic() < until:
            self._hear(until - monotonic())
        self._end_all()

    def _end_all(self) -> None:
        for kill in (False, True):
            for one in self._executors.values():
                one.end(kill=kill or bool(one.batches))
            until = monotonic() + _CLOSE
            while self._executors and monotonic() < until:
                self._hear(until - monotonic())


def _not_begun(one: Executor, ids: Sequence[JobId]) -> to.Ended:
    return to.Ended(one.number, [Lost(id, NOT_BEGUN) for id in ids])

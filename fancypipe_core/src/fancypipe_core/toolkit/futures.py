"""Any pool with `submit(function, argument) -> Future` as a backend.

A shell around the pool machine.  To the machine a pool is one worker with several
slots, which dies as a whole.  One thread owns all of it: what the engine wants, and
the futures that end, come to it as messages.
"""

from __future__ import annotations

import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from functools import partial
from itertools import chain
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from fancypipe_core._base.faults import fault
from fancypipe_core._wire import messages
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
)
from fancypipe_core.errors import BackendStartError, InternalError
from fancypipe_core.toolkit.batch import answer, copied, run_batch, run_jobs, this_process
from fancypipe_core.toolkit.connection import setup_of
from fancypipe_core.toolkit.executor import Batch, Executor, close_pool
from fancypipe_core.toolkit.pool import Pool, Rules
from fancypipe_core.toolkit.pool import states as to

__all__ = ["FuturesBackend", "close_pool"]

_BATCH = 0.002  # seconds of work that travel together
_LOOK = 1.0  # seconds of silence until pools that have jobs are looked at
_IDLE = 60.0  # seconds of silence while none has
_HEAR = 5.0  # seconds in which our thread must have heard that it is to end
_CLOSE = 20.0  # seconds that the pools may take to close after the grace time
_NO_LIMITS = "a pool's workers cannot be killed one by one: timeouts are not enforced on it"
_THREAD = 0.5  # seconds for the end of a thread that has said that it has nothing more to do
_LEFT = "a pool did not close, not even with its processes killed; it is left to itself"


class FuturesBackend:
    """Runs jobs in a pool.

    Args:
        make_pool: Makes a pool with so many workers; again after it has broken, and
            with one worker to try a suspect alone.
        options: What the engine gave to `BackendPlugin.make`.
        close: Ends a pool; told whether jobs are still running in it.
        breaks: The exceptions by which a future says that the whole pool is broken.
        running: Whether the job of a future may have begun.  Without it, only futures
            of the standard library's pools are believed when they accept `cancel()`.
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
        self._thread: threading.Thread | None = None
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._here = threading.local()  # a runner for each thread, where memory is shared
        self._bug: BaseException | None = None
        self._asked = False  # whether a sign of life was asked for and has not come
        self._ending = threading.Event()
        # All below belongs to the thread.
        count = options.workers if slots is None else 0
        rules = Rules(1, slots=count, kills=False, in_order=False, start=inf)
        slow = rules._replace(bad_starts=3, longest_pause=1.0, hung_up=3.0)
        self._machine = Pool(slow, monotonic())
        self._executors: dict[int, Executor] = {}
        self._news: list[to.Event] = []  # what the machine has not heard yet
        self._doubtful: set[int] = set()  # tasks whose batch came to nothing: they travel singly
        self._reports = messages.Reports()
        self._warned = False

    # ---- the contract; in the engine's thread ----

    def start(self, sink: Sink) -> None:
        """Make the pool."""
        self._sink = sink
        self._settings = setup_of(self._options.directory)
        self._setup = messages.encode_command(self._settings)
        self._do(self._machine.open(monotonic()))
        if not self._executors:
            why = self._machine.last_failure.removeprefix("it could not be started: ")
            raise BackendStartError(f"the pool could not be made: {why}")
        self._thread = threading.Thread(target=self._work, name="fancypipe-futures", daemon=True)
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
        """Take these back, and stop those that run if the pool can."""
        self._inbox.put(partial(self._ask, to.Cancel(ids)))

    def recall(self, ids: Sequence[JobId]) -> None:
        """Take these back as far as they have certainly not begun."""
        self._inbox.put(partial(self._ask, to.Recall(ids)))

    def check(self) -> str:
        """See whether our thread is alive; see `fancypipe_core.backend`."""
        thread = self._thread
        if self._bug is not None:
            stack = "".join(traceback.format_exception(self._bug))
            raise InternalError(f"the thread fancypipe-futures of the backend has died:\n{stack}")
        if thread is None or not self._asked:
            self._asked = True
            self._inbox.put(partial(setattr, self, "_asked", False))
            return ""
        frame = sys._current_frames().get(thread.ident or 0)
        stack = "".join(traceback.format_stack(frame)[-8:]) if frame is not None else "its end"
        return f"the thread fancypipe-futures of the backend does not answer; it is at\n{stack}"

    def stop(self, grace: float) -> None:
        """End; what runs has so many seconds."""
        self._sink = None
        thread, self._thread = self._thread, None
        self._inbox.put(partial(self._finish, grace))
        if thread is not None and self._bug is None and self._ending.wait(_HEAR):
            thread.join(grace + 2 * _CLOSE)
        if thread is None or self._bug is not None or thread.is_alive():
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
        """Take all messages that are there; look around when none comes."""
        looks = self._slots or any(one.batches for one in self._executors.values())
        silence, due = _LOOK if looks else _IDLE, self._machine.due
        wait = silence if due is None else min(silence, max(0.0, due - monotonic()))
        with suppress(Empty):
            self._inbox.get(timeout=wait)()
            wait = 0.0
            while not self._ending.is_set():
                self._inbox.get_nowait()()
        if wait == silence:
            self._look()
        if not self._ending.is_set():
            self._do(self._machine.handle(self._heard(), monotonic()))

    def _look(self) -> None:
        for number, one in list(self._executors.items()):
            if one.is_up and one.varies:
                self._news.append(to.Up(number, self._size(one)))
            if why := one.looks_dead(self._machine.jobs(number)):
                self._broken(one, BrokenExecutor(why))

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
            why = _died("start", f"no worker of the pool starts; the last: {action.why}", False)
            self._emit([Lost(id, why) for id in self._machine.forget_jobs()])
        elif isinstance(action, to.Start):
            self._open(action)
        elif (one := self._executors.get(action.worker)) is None:
            return
        elif isinstance(action, to.Send):
            self._send(one, action.jobs)
        elif isinstance(action, (to.RecallJobs, to.CancelJobs)):
            self._recall(one, set(action.ids), stop=isinstance(action, to.CancelJobs))
        elif isinstance(action, to.Dismiss) or (isinstance(action, to.Kill) and action.reason):
            self._end(one, kill=isinstance(action, to.Kill))
        elif isinstance(action, to.Kill):
            self._emit([Note(None, "warning", _LEFT)])
            self._gone(one)

    def _open(self, action: to.Start) -> None:
        count = action.slots or self._options.workers
        try:
            one = Executor(action.worker, self._make_pool(count), count, varies=not action.slots)
        except Exception as error:  # noqa: BLE001 - whatever the pool may raise
            self._news.append(to.NotStarted(action.worker, _said(error)))
            return
        self._executors[action.worker] = one
        # First empty batches, so that all processes start; a death before one has
        # answered is no job's.
        for _ in range(count if one.is_processes else 1):
            self._submit(one, [], answer, None)

    def _send(self, one: Executor, jobs: list[Job]) -> None:
        if not one.is_up:
            one.held += jobs
            return
        for batch in self._cut(jobs, one.count):
            if isinstance(batch[0].inputs, Live):
                self._submit(one, batch, self._run_here, batch)
            else:
                head, buffers = messages.ToWorker().jobs(batch)
                frame = (self._setup, this_process(), head, copied(buffers))
                self._submit(one, batch, run_batch, frame)

    def _cut(self, jobs: list[Job], slots: int) -> Iterator[list[Job]]:
        """Cut what is sent into batches: short jobs travel together, long ones singly."""
        queue = self._machine.queue
        most = len(jobs) if queue.jobs else -(-len(jobs) // slots)
        batch: list[Job] = []
        seconds = 0.0
        for job in jobs:
            more = inf if job.id[0] in self._doubtful else queue.times.expected(job.call)
            if batch and (len(batch) >= most or seconds + more > _BATCH):
                yield batch
                batch, seconds = [], 0.0
            batch.append(job)
            seconds += more
        yield batch

    def _submit(self, one: Executor, jobs: list[Job], function: Any, argument: Any) -> None:
        batch = Batch(jobs)
        try:
            batch.future = one.submit(function, argument)
        except Exception as error:  # noqa: BLE001 - such as that the pool is broken
            self._news.append(to.GaveBack(one.number, batch.ids))
            self._broken(one, error)
            return
        one.batches.add(batch)
        over = partial(self._inbox.put, partial(self._ended, one, batch))
        batch.future.add_done_callback(lambda _future: over())

    def _recall(self, one: Executor, ids: set[JobId], *, stop: bool) -> None:
        """Take back what has certainly not begun; stop what runs, if we can."""
        back = [job.id for job in one.held if job.id in ids]
        one.held = [job for job in one.held if job.id not in ids]
        if stop:
            one.unwanted |= ids
        for batch in [batch for batch in one.batches if not ids.isdisjoint(batch.ids)]:
            with suppress(Exception):  # whatever the pool may raise
                if self._is_back(one, batch.future):
                    one.batches.discard(batch)
                    back += batch.ids
                elif self._kill is not None and one.unwanted.issuperset(batch.ids):
                    self._kill(batch.future)
        self._news.append(to.GaveBack(one.number, back))

    def _is_back(self, one: Executor, future: Any) -> bool:
        # Elsewhere what runs may accept it too, and run on unseen: so we do not even ask.
        sure = one.is_believed if self._running is None else not self._running(future)
        return sure and bool(future.cancel())

    # ---- out of the pools ----

    def _ended(self, one: Executor, batch: Batch) -> None:
        fault("futures.ended")
        future, batch.future = batch.future, None
        if batch not in one.batches:
            return  # taken back
        one.batches.discard(batch)
        one.looks = 0
        if one.error is not None:
            return  # its end is told of all that were in it
        events: Sequence[Event] = ()
        returned: Sequence[JobId] | None = ()
        why = "a worker sent no answer"
        try:
            came = future.result(0)
            if not batch.jobs:
                self._is_up(one)
                return
            live = isinstance(batch.jobs[0].inputs, Live)
            events, returned = came if live else self._reports.read(came)
        except BaseException as error:  # noqa: BLE001 - whatever the pool may raise
            if isinstance(error, self._breaks) or not batch.jobs:
                self._broken(one, error)
                return
            why = _said(error)
        told: list[Event] = [event for event in events if isinstance(event, (Done, Note))]
        ended = {event.id for event in told if isinstance(event, Done)}
        left = [id for id in batch.ids if id not in ended and id not in (returned or ())]
        self._doubtful.difference_update(task for task, _ in ended)
        if len(batch.jobs) > 1:  # nobody knows which it was, so nobody is blamed
            self._doubtful.update(task for task, _ in left)
        for id in left:
            if id in one.unwanted:
                told.append(Lost(id, _died("cancelled", why, guilty=False)))
            else:
                blamed = len(batch.jobs) == 1
                told.append(Lost(id, _died("exit", why, started=blamed, guilty=blamed)))
        self._news += [to.Ended(one.number, told), to.GaveBack(one.number, returned or ())]

    def _is_up(self, one: Executor) -> None:
        if not one.is_up:
            one.is_up = True
            self._news.append(to.Up(one.number, self._size(one)))
            held, one.held = one.held, []
            if held:
                self._send(one, held)

    def _size(self, one: Executor) -> int:
        """Return how many jobs a pool runs at the same time now."""
        with suppress(Exception):  # whatever the pool may raise
            if one.varies and self._slots is not None:
                return max(0, self._slots(one.pool))
        return one.count

    def _broken(self, one: Executor, error: BaseException) -> None:
        """A pool is broken: it takes no more, and all that was in it is lost."""
        if one.error is None:
            one.error = error
            held = [job.id for job in one.held]
            self._news.append(to.GaveBack(one.number, held))
            self._news.append(to.HungUp(one.number, None, one.is_up, _said(error)))
            self._end(one, kill=True)

    def _end(self, one: Executor, kill: bool) -> None:
        one.end(self._close, kill, partial(self._inbox.put, partial(self._gone, one)))

    def _gone(self, one: Executor) -> None:
        if self._executors.pop(one.number, None) is not None:
            one.has_ended(_THREAD)
            detail, pid = one.death or (_said(one.error), 0)
            reason = "signal" if detail.startswith("SIG") else "exit"
            why = Certificate(reason, detail, socket.gethostname(), pid)
            self._news.append(to.Died(one.number, why, None, one.is_up, all_begun=one.is_up))

    # ---- the end ----

    def _finish(self, grace: float) -> None:
        """Let running jobs end within the time; then close the pools."""
        self._ending.set()
        fault("futures.end")
        until = monotonic() + grace
        for batch in chain.from_iterable(one.batches for one in self._executors.values()):
            with suppress(Exception):
                batch.future.cancel()
        while any(one.batches for one in self._executors.values()) and monotonic() < until:
            with suppress(Exception):  # whatever it was, the pools are to be closed
                self._inbox.get(timeout=max(until - monotonic(), 0.0))()
        self._end_all()

    def _end_all(self) -> None:
        executors = list(self._executors.values())
        for kill in (False, True):
            until = monotonic() + _CLOSE
            for one in executors:
                self._end(one, kill=kill or bool(one.batches))
            if all(one.has_ended(until - monotonic()) for one in executors):
                return

    # ---- in the workers, where they share memory ----

    def _run_here(self, jobs: list[Job]) -> tuple[list[Event], list[JobId]]:
        runner = getattr(self._here, "runner", None)
        if runner is None:
            runner = self._here.runner = self._options.runner()
            runner.connect(lambda events: self._emit(list(events)))
        return run_jobs(runner, jobs)


def _said(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:500] if error else "its end"


def _died(reason: str, why: str, started: bool = True, guilty: bool = True) -> Certificate:
    return Certificate(reason, why, socket.gethostname(), 0, started, guilty)

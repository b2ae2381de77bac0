"""Any pool with `submit(function, argument) -> Future` as a backend.

To the machine a pool is one worker with several slots, which dies as a whole; so of
process pools there is one for each worker, with one process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any

from fancypipe_core._base.faults import fault
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
from fancypipe_core.errors import BackendClosed, BackendStartError
from fancypipe_core.toolkit.batch import LIMIT, Packer, answer, run_jobs, run_packed
from fancypipe_core.toolkit.executor import Batch, Executor, close_pool, is_of_processes, said
from fancypipe_core.toolkit.pool import Pool, Rules
from fancypipe_core.toolkit.pool import states as to
from fancypipe_core.toolkit.store import RESULT_GONE, Gone, Store
from fancypipe_core.toolkit.threaded import ThreadedShell

__all__ = ["FuturesBackend", "close_pool"]

_LOOK = 1.0  # seconds between two looks at how many slots the pools have
_CLOSE = 10.0  # seconds that a pool may take to close, and then again by force
_START = 60.0  # seconds in which a process of a pool must have answered
_PATIENCE = 1e9  # seconds: what others need for the start of a pool is their affair
_AHEAD = 0.02  # seconds of work that a slot has waiting
_RULES = Rules(
    1, kills=False, in_order=False, ahead=_AHEAD, most_ahead=_AHEAD, bad_starts=3, hung_up=3.0
)
_PEEK = 0.1  # seconds between two looks at whether a job with a time limit has begun
_NO_LIMITS = "a pool's workers cannot be killed one by one: timeouts are not enforced on it"
_RUNS_ON = "it did not end when it was stopped, and may run on where it is"
_LEFT = "a pool did not close, not even with its processes killed; it is left to itself"


class FuturesBackend(ThreadedShell):
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
        kill: Stops what a future runs, if need be by force; the future must end then.  With
            `running` too, jobs are held to their time limits.
        slots: How many jobs a pool runs at the same time now; by default `options.workers`.
            0 if it has no worker: then it may have none for `start_limit` while jobs wait.
        least: How many jobs a pool is given while it has no worker, so that it gets some.
        start_limit: Seconds in which the first worker comes, if that may be more than the
            setting `backend_start_limit` says; `inf` for no limit.
        together: Seconds of work that go into a call at least, where there is so much; about what
            a call costs the pool itself.
        store: The store of the pool's engine, for large results that others take.
    """

    def __init__(  # noqa: PLR0913 - each by its name, and most left out
        self,
        make_pool: Callable[[int], Any],
        options: BackendOptions,
        *,
        close: Callable[[Any, bool], None] = close_pool,
        breaks: tuple[type[BaseException], ...] = (BrokenExecutor,),
        running: Callable[[Any], bool] | None = None,
        kill: Callable[[Any], object] | None = None,
        slots: Callable[[Any], int] | None = None,
        least: int = 0,
        start_limit: float = 0.0,
        together: float = _RULES.together,
        store: Store | None = None,
    ) -> None:
        super().__init__(_RULES, "fancypipe-futures")
        self.start_limit = start_limit
        self._make_pool, self._options = make_pool, options
        self._close, self._breaks = close, breaks
        self._running, self._kill, self._slots, self._least = running, kill, slots, least
        ahead = max(_AHEAD, together)
        self._rules = _RULES._replace(together=together, ahead=ahead, most_ahead=ahead)
        self._store = store
        self._limit = max(LIMIT, 2 * together)
        self._limits = bool(running and kill)  # whether jobs are held to their time limits
        self._timed: dict[Batch, Executor] = {}  # those that have one, or were stopped
        self._warned = False
        self._folder = ""  # where large frames of process pools are
        self._looked = monotonic()  # when the pools were asked for their slots last
        self._made: list[Any] = []  # a pool that is there before the machine asks for it
        self._executors: dict[int, Executor] = {}
        self._away = 0.0  # for so long nobody was there while jobs waited, and that was too long

    # ---- the contract; in the engine's thread ----

    def start(self, sink: Sink) -> None:
        """Make the pool."""
        self._sink = sink
        workers, slots, start = 1, 0 if self._slots else self._options.workers, _PATIENCE
        try:
            pool = self._make_pool(self._options.workers)
            if is_of_processes(pool):
                self._close(pool, False)  # nothing has started in it
                workers, slots, start = self._options.workers, 1, _START
                self._limits = True
                self._folder = os.path.join(self._options.directory, "frames")
            else:
                self._made.append(pool)
        except Exception as error:
            raise BackendStartError(f"the pool could not be made: {said(error)}") from error
        self._packer = Packer(
            self._options.directory,
            self._folder,
            self._limit,
            self._store,
            self._options.measures,
            pictures=self._options.pictures,
            ships=not self._folder,  # what we start ourselves is here, and no older than we are
        )
        # In a pool with several workers what is ahead waits for whoever is free first.
        least = int(workers == 1)
        limit = max(self._options.start_limit, self.start_limit)
        away = limit if self._slots is not None and limit < inf else None
        rules = self._rules._replace(
            workers=workers, slots=slots, start=start, least_ahead=least, away=away
        )
        self._pool = Pool(rules, monotonic())
        self._do(self._pool.open(monotonic()))
        self._thread.start()

    def adapt(self, environment: Environment) -> None:
        """Let jobs find the pipeline's own variables; see `fancypipe_core.backend`."""
        self._post(partial(self._packer.adapt, environment))

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take these jobs."""
        if not (self._limits or self._warned) and any(job.time_limit is not None for job in jobs):
            self._warned = True
            self._tell([Note(None, "warning", _NO_LIMITS)])
        super().submit(jobs)

    def check(self) -> str:
        """See whether jobs can be expected to end; see `fancypipe_core.backend`."""
        if self._away:
            limit, self._away = self._away, 0.0
            why = f"; the last attempt: {said}" if (said := self._pool.last_failure) else ""
            raise BackendClosed(
                f"work waits, and there has been no worker for {limit:g} s{why}; see what has "
                "become of the workers, or if they only need more time, give it more with the "
                "setting backend_start_limit"
            )
        return super().check()

    def stop(self, grace: float) -> None:
        """End; what runs has so many seconds."""
        super().stop(grace)
        if self._executors:
            self._close_all()  # our thread is dead or stuck; its pools must not be left
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    # ---- what the machine wants; in the thread, as all below ----

    def _alarms(self) -> Iterable[float]:
        if self._slots is not None:
            yield self._looked + _LOOK
        if self._timed:
            peek = monotonic() + _PEEK
            yield min(batch.until or peek for batch in self._timed)

    def _listen(self, seconds: float | None) -> tuple[bool, list[to.Event]]:
        fault("futures.turn")
        if self._slots is not None and monotonic() >= self._looked + _LOOK:
            self._looked = monotonic()
            self._news += [one.up() for one in self._executors.values() if one.is_up]
        heard = super()._listen(seconds)
        if self._timed:  # of what was heard before: our own pauses are held against nobody
            self._hold_to_limits()
        return heard

    def _carry_out(self, action: to.Order, answers: list[to.Event]) -> None:
        if isinstance(action, to.GiveUp) and action.away:
            self._away = self._pool.rules.away or 0.0
        elif isinstance(action, to.GiveUp):
            text = f"no worker of the pool starts; the last: {action.why}"
            why = Certificate("start", text, "", 0, started=False)
            self._tell([Lost(id, why) for id in self._pool.forget_jobs()])
        elif isinstance(action, to.Start):
            self._open(action.worker, action.slots)
        elif (one := self._executors.get(action.worker)) is None:
            return
        elif isinstance(action, to.Send):
            one.waiting += action.jobs
            self._fill(one)
        elif isinstance(action, (to.RecallJobs, to.CancelJobs)):
            self._recall(one, set(action.ids), stop=isinstance(action, to.CancelJobs))
        elif isinstance(action, (to.Dismiss, to.Kill)):
            self._lose(one, "" if isinstance(action, to.Dismiss) else action.why)

    def _open(self, number: int, slots: int) -> None:
        try:
            count = slots or self._options.workers
            pool = self._made.pop() if self._made else self._make_pool(count)
        except Exception as error:  # noqa: BLE001 - whatever the pool may raise
            self._news.append(to.NotStarted(number, said(error)))
            return
        ask = None if slots else self._slots
        one = Executor(number, pool, count, self._close, ask, self._least)
        self._executors[number] = one
        self._submit(one, [], answer, None)  # a death before it has answered is no job's

    def _fill(self, one: Executor) -> None:
        """Give a pool what it is to have inside."""
        queue = self._pool.queue
        for jobs in queue.batches(one.waiting[:], one.slots, limits=self._limits):
            if one.is_full:
                return
            del one.waiting[: len(jobs)]
            if isinstance(jobs[0].inputs, Live):
                self._submit(one, jobs, self._run_here, jobs)
            else:
                self._submit(one, jobs, run_packed, self._packer.pack(jobs))

    def _run_here(self, jobs: list[Job]) -> list[Event]:
        """Run jobs in a worker that shares our memory; in its thread."""
        runner = self._options.runner()
        runner.connect(lambda events: self._tell(list(events)))
        return run_jobs(runner, jobs, self._limit)

    def _submit(self, one: Executor, jobs: list[Job], function: Any, argument: Any) -> None:
        batch = Batch(jobs)
        try:
            future = one.submit(function, argument)
        except self._breaks as error:
            one.waiting[:0] = jobs
            self._lose(one, said(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever the pool may raise
            future = Future()
            future.set_exception(error)
        one.batches[batch] = future
        if self._limits and jobs and jobs[0].time_limit is not None:
            self._timed[batch] = one
        # Not with `future` from here: what is in a circle lives on, and its pool with it.
        future.add_done_callback(lambda over: self._post(partial(self._ended, one, batch, over)))

    def _recall(self, one: Executor, ids: set[JobId], *, stop: bool) -> None:
        """Drop what has certainly not begun; stop what runs, if we can."""
        recalled = [job.id for job in one.waiting if job.id in ids]
        one.waiting = [job for job in one.waiting if job.id not in ids]
        for batch, future in list(one.batches.items()):
            if ids.isdisjoint(batch.ids):
                continue
            batch.recalled |= ids
            if stop:
                batch.unwanted |= ids
            with suppress(Exception):  # whatever the pool may raise
                # Elsewhere what runs may accept it too, and run on unseen: we do not even ask.
                sure = one.is_believed if self._running is None else not self._running(future)
                if sure and future.cancel():
                    del one.batches[batch]
                    recalled += batch.ids
                elif self._kill is not None and batch.is_unwanted and not batch.stopped:
                    self._stop(one, batch, "cancelled")
        self._not_begun(one, recalled)
        self._see_to(one)

    def _not_begun(self, one: Executor, ids: Sequence[JobId]) -> None:
        self._news.append(to.Ended(one.number, [Lost(id, NOT_BEGUN) for id in ids]))

    # ---- what is stopped ----

    def _hold_to_limits(self) -> None:
        """Stop what is over its limit, and give up what was stopped and does not end."""
        now = monotonic()
        for batch, one in list(self._timed.items()):
            if batch not in one.batches:
                del self._timed[batch]
            elif batch.until is None:
                if self._may_run(one, batch):
                    batch.until = now + (batch.jobs[0].time_limit or 0.0)
            elif now >= batch.until and not batch.stopped:
                self._stop(one, batch, "timeout")
            elif now >= batch.until:
                self._tell([Note(id, "warning", _RUNS_ON) for id in batch.ids])
                self._give_up(one, batch, _RUNS_ON)

    def _may_run(self, one: Executor, batch: Batch) -> bool:
        """Whether a batch may have begun; what raises does not know."""
        if self._running is None:
            return one.is_up and next(iter(one.batches)) is batch
        with suppress(Exception):  # whatever the pool may raise
            return bool(self._running(one.batches[batch]))
        return False

    def _stop(self, one: Executor, batch: Batch, reason: str) -> None:
        """Stop a batch that runs."""
        batch.stopped = reason
        if one.is_ours:
            self._give_up(one, batch, f"its process was killed ({reason})")
            self._lose(one, f"its process was killed with another task ({reason})")
            return
        self._timed[batch], batch.until = one, monotonic() + _CLOSE
        if self._kill is not None:
            with suppress(Exception):  # whatever the pool may raise
                self._kill(one.batches[batch])

    def _give_up(self, one: Executor, batch: Batch, why: str) -> None:
        """A batch will not come back: say what became of its jobs."""
        one.batches.pop(batch, None)
        lost = [batch.lost(id, why) for id in batch.ids]
        self._news.append(to.Ended(one.number, lost))

    def _see_to(self, one: Executor) -> None:
        """Give it what it has room for; kill a process of ours if nobody wants what it runs."""
        if not one.is_in_vain:
            self._fill(one)
        else:
            self._lose(one, "its process was killed with a cancelled task")

    # ---- out of the pools ----

    def _ended(self, one: Executor, batch: Batch, future: Any) -> None:
        fault("futures.ended")
        if one.batches.pop(batch, None) is None:
            return  # recalled, or lost with the pool
        told: list[Event] = []
        waiting: set[JobId] = set()
        why = "a worker sent no answer"
        try:
            came = future.result(0)
            if batch.jobs and isinstance(batch.jobs[0].inputs, Live):
                told = came
            elif batch.jobs:
                told = self._packer.unpack(came)
                waiting = self._send_again(one, batch, self._packer.waiting(came, told))
        except Gone:
            told = [Lost(id, RESULT_GONE) for id in batch.ids]
        except BaseException as error:  # noqa: BLE001 - whatever the pool may raise
            # A proof that is late may die with others: then it shows nothing.
            if isinstance(error, self._breaks) or not (batch.jobs or one.is_up):
                if batch.stopped:
                    self._give_up(one, batch, said(error))
                self._lose(one, said(error))
                return
            why = said(error)
        if not one.is_up:
            one.is_up = True
            self._news.append(one.up())
        told = [event for event in told if getattr(event, "id", None) not in waiting]
        over = {event.id for event in told if isinstance(event, (Done, Lost))} | waiting
        self._pool.queue.travelled(batch.ids, over)
        told += [batch.lost(id, why) for id in batch.ids if id not in over]
        self._news.append(to.Ended(one.number, told))
        self._see_to(one)

    def _send_again(self, one: Executor, batch: Batch, ids: set[JobId]) -> set[JobId]:
        """Send what a worker has not begun, with what it lacks; return what was sent."""
        jobs = [job for job in batch.jobs if job.id in ids - batch.recalled]
        if not jobs or batch.stopped or self._ending.is_set():
            return set()
        self._submit(one, jobs, run_packed, self._packer.pack(jobs))
        return {job.id for job in jobs}

    def _lose(self, one: Executor, error: str = "") -> None:
        """End a pool, and with it all that is in it; `error`: what it is broken by."""
        if self._executors.pop(one.number, None) is None:
            return
        self._packer.forget()  # with its engine
        one.batches.clear()
        one.close(kill=bool(error), error=error)
        why = one.bury(_CLOSE)
        if why is None:
            self._tell([Note(None, "warning", _LEFT)])
            why = Certificate("exit", error, "", 0)
        self._not_begun(one, [job.id for job in one.waiting])
        self._news.append(to.Died(one.number, why, None, one.is_up, all_begun=one.is_up))

    # ---- the end ----

    def _finish(self, grace: float) -> None:
        """Let running jobs end within the time; then close the pools."""
        fault("futures.end")
        for one in self._executors.values():
            one.waiting = []
            for future in one.batches.values() if not one.is_ours else ():
                with suppress(Exception):  # whatever the pool may raise
                    future.cancel()
        until = monotonic() + grace
        while any(one.batches for one in self._executors.values()) and monotonic() < until:
            self._hear(until - monotonic())
        self._close_all()

    def _close_all(self) -> None:
        pools, self._executors = list(self._executors.values()), {}
        self._packer.close()  # the engine may be there for longer than we are
        for one in pools:
            one.close(kill=bool(one.batches), error="")
        for one in pools:
            one.bury(_CLOSE)

    def _last_limit(self) -> float:
        return 2 * _CLOSE

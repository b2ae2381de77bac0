"""Threads that take jobs from one queue, singly, and report in batches.

Taking a job from a deque costs 30 ns and no lock, so there is nothing to gain
from dealing them out in batches, and no worker idles while another has work.
What costs is waking the engine's thread: so results are collected, and passed
on when a thread finds no more work, or when the oldest has waited for long
enough that a wake-up is cheap beside it; and before a job that may take long.

A job with needs is run while other threads wait beside it, as many as it needs cores.

A follower waits for what it needs, and is then the next job of the thread that has
made the last of it.

A thread cannot be killed.  One whose job takes longer than it may is let go of:
the job is reported, the thread is named to the user, and another takes its
place.  So is one whose job was cancelled, and has not ended within the grace time.
A thread that ends by a mistake of ours costs the job that it had.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import count
from time import monotonic, perf_counter
from types import FrameType

from fancypipe_core.backend import (
    NOT_BEGUN,
    BackendOptions,
    Call,
    Certificate,
    Done,
    Event,
    Job,
    JobId,
    Lost,
    Needs,
    Note,
    Sink,
    Slots,
)
from fancypipe_core.errors import BackendClosed, BackendStartError, InternalError
from fancypipe_core.toolkit import Runner, fault
from fancypipe_core.toolkit.times import Times
from fancypipe_threads._followers import Followers
from fancypipe_threads._gathering import SEAT, Gathering
from fancypipe_threads._libraries import Libraries
from fancypipe_threads._limits import Limits, Worker

__all__ = ["ThreadsBackend"]

_LATE = 2.0  # seconds at least that a cancelled job has; a session that ends tells what runs on
_WORK_AHEAD = 0.002  # seconds of work that hide the engine's latency
_REPORT_AFTER = 0.0005  # seconds that a result may wait for company
_REPORT_AT = 256  # results
_MOST_BESIDE = 1000  # jobs that wait for memory or devices while more are sent
_SHORT = 0.0002  # seconds; a job that usually takes longer does not keep results waiting
_MOST_DEATHS = 10  # of threads, without a result in between
_END = 1.0  # seconds that a thread without a job has to end
_IN_A_JOB = 0.05  # seconds that one with a job has at least
_HOST = socket.gethostname()


class ThreadsBackend:
    """Runs jobs on threads.

    Args:
        options: How many threads, and how to make a runner.
    """

    def __init__(self, options: BackendOptions) -> None:
        self._count = options.workers
        self._grace = options.grace
        self._make_runner = options.runner
        self._jobs: deque[Job] = deque()
        self._followers = Followers()
        self._gathering = Gathering(options.workers, self._call_to_seats)
        self._ended: deque[Done | Lost] = deque()
        self._typical: dict[Call, float] = {}  # seconds
        self._idle: deque[threading.Lock] = deque()
        self._workers: list[Worker] = []
        self._numbers = count(1)
        self._changing = threading.Lock()  # who the workers are
        self._limits = Limits(self._let_go)
        self._libraries = Libraries(options.workers)
        self._sink: Sink | None = None
        self._stopping = False
        self._times = Times()
        self._ahead = self._beside = 0
        self._reported = 0.0
        self._flushing = threading.Lock()
        self._deaths = 0
        self._broken: Exception | None = None

    @property
    def follows(self) -> bool:
        """See `fancypipe_core.backend.Following`."""
        return True

    def lacks(self, needs: Needs) -> str:
        """See `fancypipe_core.backend.Equipped`."""
        return self._gathering.lacks(needs)

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._libraries.limit()
        try:
            for _ in range(self._count):
                self._add_worker()
        except RuntimeError as error:
            started = len(self._workers)
            self.stop(0.0)
            raise BackendStartError(
                f"only {started} of {self._count} threads could be started ({error}); "
                "ask for fewer with -numworkers"
            ) from error
        self._say_slots()

    def _add_worker(self) -> None:
        worker = Worker(f"fancypipe-worker-{next(self._numbers)}", self._live)
        self._workers.append(worker)  # before it can die
        try:
            worker.thread.start()
        except BaseException:
            self._workers.remove(worker)
            raise

    def _say_slots(self) -> None:
        """Report the capacity if what is wanted ahead has changed much.

        Jobs that wait for memory or a device take no place of those that could run meanwhile.
        """
        ahead = self._times.ahead(_WORK_AHEAD) * self._count
        waiting = min(self._gathering.waiting, _MOST_BESIDE)
        full = waiting > self._beside or (self._beside and not waiting)
        if full or not self._ahead or not self._ahead / 2 < ahead < self._ahead * 2:
            self._ahead, self._beside = ahead, 2 * waiting
            self._emit([Slots(self._count, ahead + self._beside)])

    def _emit(self, events: Sequence[Event]) -> None:
        sink = self._sink
        if sink is not None:
            sink(events)

    def submit(self, jobs: Sequence[Job]) -> None:
        begin, lost = self._followers.come(jobs)
        if lost:
            self._ended.extend([Lost(id, NOT_BEGUN) for id in lost])
            self._report()
        jobs = [*begin, *[job for job in jobs if not job.after]]
        self._jobs.extend(jobs)
        self._call_idle(len(jobs))

    def _call_idle(self, count: int) -> None:
        """Have so many jobs begun by threads that are idle, if there are any."""
        for _ in range(count):
            try:
                self._idle.pop().release()  # who ran last, and has all at hand
            except IndexError:
                return  # all are at work, and look for more when they are done

    def _call_to_seats(self, count: int) -> None:
        self._jobs.extendleft([SEAT] * count)
        self._call_idle(count)

    def cancel(self, ids: Sequence[JobId]) -> None:
        self.recall(ids)
        unwanted = set(ids)
        with self._changing:
            workers = list(self._workers)
        for worker in workers:
            job = worker.job
            if job is not None and job.id in unwanted:
                self._limits.begin_late(worker, job, max(self._grace, _LATE))

    def recall(self, ids: Sequence[JobId]) -> None:
        """See `fancypipe_core.backend`: nothing that runs is recalled."""
        unwanted = set(ids)
        lost: list[JobId] = []
        kept: list[Job] = []
        while self._jobs:
            try:
                job = self._jobs.popleft()
            except IndexError:
                break
            if job.id in unwanted:
                lost.append(job.id)
            else:
                kept.append(job)
        if kept:
            self._jobs.extend(kept)
            self._call_idle(len(kept))
        lost += self._gathering.recall(ids)
        lost += self._followers.gone(lost)
        lost += self._followers.recall(ids)
        if lost:
            self._emit([Lost(id, NOT_BEGUN) for id in lost])

    def check(self) -> str:
        """See whether our threads are where they should be; see `fancypipe_core.backend`."""
        if self._broken is not None:
            raise self._broken
        with self._changing:
            workers = list(self._workers)
        frames = sys._current_frames()
        # Our own would hold what holds it: a circle, and in it what all threads have in hand.
        del frames[threading.get_ident()]
        for worker in workers:
            frame = frames.get(worker.thread.ident or 0)
            if frame is None:
                return f"{worker.thread.name} died without an error"
            rests = worker.is_seated or worker.signal in self._idle
            if not rests and not _runs_a_job(frame):
                stack = "".join(traceback.format_stack(frame)[-8:])
                return f"{worker.thread.name} does not come back to its work; it is at\n{stack}"
        waiting = len(self._jobs) + self._gathering.pending
        if waiting and len(self._idle) + sum(one.is_seated for one in workers) == len(workers):
            return f"{waiting} jobs wait, and all threads are idle"
        return self._limits.check()

    def stop(self, grace: float) -> None:
        self._stopping = True
        self._sink = None
        self._jobs.clear()
        self._followers.clear()
        self._gathering.stop()
        until = monotonic() + max(grace, 0.0)
        while self._idle:
            self._idle.popleft().release()
        self._limits.stop()
        for worker in list(self._workers):
            frame = sys._current_frames().get(worker.thread.ident or 0)
            worker.thread.join(max(until - monotonic(), _IN_A_JOB) if _runs_a_job(frame) else _END)

        self._libraries.restore()

    def forget(self) -> None:
        self._libraries.restore()

    # ---- in the worker threads ----

    def _live(self, worker: Worker) -> None:
        try:
            self._work(worker)
        except BaseException as error:  # noqa: BLE001 - not the task's: the runner takes those
            self._died(worker, error)

    def _work(self, worker: Worker) -> None:  # noqa: C901 - no call for each job
        fault("threads.begin")
        self._libraries.limit_thread()
        runner = self._make_runner()
        runner.connect(partial(self._note, worker))
        token = runner.enter()
        jobs, ended, idle = self._jobs, self._ended, self._idle
        followers, typical = self._followers, self._typical
        signal = worker.signal
        while not self._stopping:
            try:
                worker.job = job = jobs.popleft()
            except IndexError:
                runner.leave(token)  # before anybody hears that a task has ended
                self._report()
                idle.append(signal)
                # A job may have come in between: then nobody saw us idle.
                if not (jobs or self._stopping) or not self._leave_idle(signal):
                    signal.acquire()
                token = runner.enter()
                continue
            fault("threads.taken")
            if job.needs is not None:
                taken = self._take_with_needs(worker, job)
                if taken is None:
                    continue
                if taken is SEAT:
                    runner.leave(token)
                    self._report()
                    signal.acquire()
                    token = runner.enter()
                    continue
                worker.job, job, taken = taken, taken, None
            usual = typical.get(job.call, 1.0)
            if usual > _SHORT and ended:
                self._report()  # nobody must wait for what is done already
            if job.time_limit is not None:
                self._limits.begin(worker, job.time_limit)
            done = runner.run(job)
            worker.ended = job.id  # before we look, see `Limits.begin_late`
            if worker.until is not None and not self._limits.end(worker):
                return  # nobody waits for it any more, and another has our place
            if job.needs is not None:
                self._gathering.over(job.id)
                self._libraries.limit_thread()
            ended.append(done)
            worker.job = None
            typical[job.call] = usual + 0.2 * (done.seconds - usual)
            if followers.is_used and (begin := self._led(done)):
                try:
                    runner.between()  # what they need must leave them nothing but its value
                finally:
                    jobs.extendleft(reversed(begin))
                    self._call_idle(len(begin) - 1)
                    del begin
            del job, done  # they hold values, and the next may be long in coming
            if len(ended) >= _REPORT_AT or perf_counter() - self._reported > _REPORT_AFTER:
                self._report()

    def _take_with_needs(self, worker: Worker, job: Job) -> Job | None:
        """As `Gathering.take`; what the libraries of this thread may take is set, too."""
        taken = self._gathering.take(worker, job)
        if taken is None or taken is SEAT:
            worker.job = None
            self._say_slots()  # others may begin while it waits
        elif taken.needs is not None:
            self._libraries.limit_thread(taken.needs.cpus)
        return taken

    def _led(self, done: Done) -> list[Job]:
        """Return the followers that may begin now that a job has ended."""
        begin, lost = self._followers.ended(done)
        if lost:
            self._ended.extend([Lost(id, NOT_BEGUN) for id in lost])
        return begin

    def _leave_idle(self, signal: threading.Lock) -> bool:
        """Leave the queue of the idle; False if somebody has already called us."""
        try:
            self._idle.remove(signal)
        except ValueError:
            return False
        return True

    def _report(self) -> None:
        if not self._ended or not self._flushing.acquire(blocking=False):
            return
        events: list[Done | Lost] = []
        try:
            self._reported = perf_counter()
            seconds = 0.0
            while self._ended:
                event = self._ended.popleft()
                if type(event) is Done:
                    seconds += event.seconds
                events.append(event)
            fault("threads.report")
            sink = self._sink
            if events and sink is not None:
                self._times.record_all(seconds, len(events))
                sink(events)
                events = []
                self._deaths = 0
                self._say_slots()
        except BaseException:
            self._ended.extendleft(reversed(events))  # for the one who comes after us
            raise
        finally:
            self._flushing.release()
        # One that came in while we passed the others on, from a thread that is idle by now.
        if self._ended:
            self._report()

    def _note(self, worker: Worker, events: Sequence[Event]) -> None:
        if not worker.leaked:
            self._emit(events)

    # ---- when one is gone ----

    def _let_go(self, worker: Worker) -> None:
        """A worker's job has run for longer than it may; in the clock's thread."""
        job = worker.job
        assert job is not None, "a limit without a job"
        name = worker.thread.name
        if worker.unwanted:
            reason, said = "cancelled", "was cancelled, and still runs"
        else:
            reason, said = "timeout", f"took longer than its timeout of {job.time_limit:g} s"
        why = Certificate(
            reason, f"still running in {name}", _HOST, os.getpid(), guilty=not worker.unwanted
        )
        said = (
            f"{job.call.label} {said}.  A thread "
            f"cannot be killed: {name} keeps running, and another takes its place, until the task "
            "or this process ends; on procs it would be killed"
        )
        self._replace(worker)
        self._emit([Note(None, "warning", said), *self._lost(job, why)])

    def _lost(self, job: Job, why: Certificate) -> list[Event]:
        """Return the end of a job that is lost, and those of its followers."""
        if job.needs is not None:
            self._gathering.over(job.id)
        followers = self._followers.gone([job.id])
        return [Lost(job.id, why), *(Lost(id, NOT_BEGUN) for id in followers)]

    def _died(self, worker: Worker, error: BaseException) -> None:
        """A worker has ended by a mistake of ours, or by what a task did to its thread."""
        job = worker.job
        if self._stopping or not self._limits.end(worker):
            return
        self._deaths += 1
        what = f"{worker.thread.name} ended by {type(error).__name__}: {error}"
        stack = "".join(traceback.format_exception(error))
        if self._deaths >= _MOST_DEATHS:
            self._broken = InternalError(
                f"threads die one after the other, {self._deaths} without a result in between; "
                f"the last, {what}\n{stack}"
            )
        else:
            self._replace(worker)
        self._gathering.lost(worker)
        if job is not None and job is not SEAT:
            output = tuple(stack.splitlines())
            why = Certificate("exit", what, _HOST, os.getpid(), output=output)
            self._emit(self._lost(job, why))

    def _replace(self, worker: Worker) -> None:
        """Put another in the place of one that is gone."""
        with self._changing:
            self._workers.remove(worker)
            if self._stopping:
                return
            try:
                self._add_worker()
                return
            except RuntimeError as error:
                if not self._workers:
                    self._broken = BackendClosed(
                        f"no thread is left, and none can be started: {error}"
                    )
                    return
                self._count -= 1
                self._ahead = 0
                self._gathering.shrink(self._count)
        self._say_slots()


def _runs_a_job(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is Runner.run.__code__:
            return True
        frame = frame.f_back
    return False

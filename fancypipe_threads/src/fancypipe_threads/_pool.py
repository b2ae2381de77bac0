"""Threads that take jobs from one queue, singly, and report in batches.

Taking a job from a deque costs 30 ns and no lock, so there is nothing to gain
from dealing them out in batches, and no worker idles while another has work.
What costs is waking the engine's thread: so results are collected, and passed
on when a thread finds no more work, or when the oldest has waited for long
enough that a wake-up is cheap beside it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic, perf_counter

from fancypipe_core.backend import (
    BackendOptions,
    Certificate,
    Done,
    Event,
    Job,
    JobId,
    Lost,
    Note,
    Pace,
    Sink,
    Slots,
)
from fancypipe_core.errors import BackendStartError

__all__ = ["ThreadsBackend"]

_REPORT_AFTER = 0.0005  # seconds that a result may wait for company
_REPORT_AT = 256  # results


class ThreadsBackend:
    """Runs jobs on threads.

    Args:
        options: How many threads, and how to make a runner.
    """

    def __init__(self, options: BackendOptions) -> None:
        self._count = options.workers
        self._make_runner = options.runner
        self._jobs: deque[Job] = deque()
        self._ended: deque[Done] = deque()
        self._idle: deque[threading.Lock] = deque()
        self._threads: list[threading.Thread] = []
        self._sink: Sink | None = None
        self._stopping = False
        self._pace = Pace()
        self._ahead = 0
        self._reported = 0.0
        self._flushing = threading.Lock()
        self._warned = False

    def start(self, sink: Sink) -> None:
        self._sink = sink
        try:
            for number in range(self._count):
                thread = threading.Thread(
                    target=self._work, name=f"fancypipe-worker-{number + 1}", daemon=True
                )
                thread.start()
                self._threads.append(thread)
        except RuntimeError as error:
            self.stop(0.0)
            raise BackendStartError(
                f"only {len(self._threads)} of {self._count} threads could be started ({error}); "
                "ask for fewer with -numworkers"
            ) from error
        self._say_slots()

    def _say_slots(self) -> None:
        """Report the capacity if what is wanted ahead has changed much."""
        ahead = self._pace.ahead * self._count
        if not self._ahead or not self._ahead / 2 < ahead < self._ahead * 2:
            self._ahead = ahead
            if self._sink is not None:
                self._sink([Slots(self._count, ahead)])

    def submit(self, jobs: Sequence[Job]) -> None:
        if not self._warned and any(job.time_limit is not None for job in jobs):
            self._warned = True
            text = "a thread cannot be killed: timeouts are not enforced on the threads backend"
            if self._sink is not None:
                self._sink([Note(None, "warning", text)])
        self._jobs.extend(jobs)
        for _ in jobs:
            try:
                self._idle.popleft().release()
            except IndexError:
                return  # all are at work, and look for more when they are done

    def cancel(self, ids: Sequence[JobId]) -> None:
        unwanted = set(ids)
        why = Certificate(
            "cancelled", "cancelled before it began", "", 0, started=False, guilty=False
        )
        lost: list[Event] = []
        kept: list[Job] = []
        while self._jobs:
            try:
                job = self._jobs.popleft()
            except IndexError:
                break
            if job.id in unwanted:
                lost.append(Lost(job.id, why))
            else:
                kept.append(job)
        if kept:
            self.submit(kept)
        if lost and self._sink is not None:
            self._sink(lost)

    recall = cancel  # nothing that runs can be stopped

    def stop(self, grace: float) -> None:
        self._stopping = True
        self._sink = None
        self._jobs.clear()
        until = monotonic() + max(grace, 0.0)
        while self._idle:
            self._idle.popleft().release()
        for thread in self._threads:
            thread.join(max(until - monotonic(), 0.05))

    # ---- in the worker threads ----

    def _work(self) -> None:
        runner = self._make_runner()
        runner.connect(self._note)
        runner.enter()
        jobs, ended, idle = self._jobs, self._ended, self._idle
        signal = threading.Lock()
        signal.acquire()
        while not self._stopping:
            try:
                job = jobs.popleft()
            except IndexError:
                self._report()
                idle.append(signal)
                # A job may have come in between: then nobody saw us idle.
                if (jobs or self._stopping) and self._withdraw(signal):
                    continue
                signal.acquire()
                continue
            ended.append(runner.run(job))
            del job  # it holds its inputs, and the next may be long in coming
            if len(ended) >= _REPORT_AT or perf_counter() - self._reported > _REPORT_AFTER:
                self._report()

    def _withdraw(self, signal: threading.Lock) -> bool:
        """Leave the queue of the idle; False if somebody has already called us."""
        try:
            self._idle.remove(signal)
        except ValueError:
            return False
        return True

    def _report(self) -> None:
        if not self._ended or not self._flushing.acquire(blocking=False):
            return
        try:
            self._reported = perf_counter()
            events: list[Event] = []
            seconds = 0.0
            while self._ended:
                done = self._ended.popleft()
                seconds += done.seconds
                events.append(done)
            sink = self._sink
            if events and sink is not None:
                self._pace.record(seconds, len(events))
                sink(events)
                self._say_slots()
        finally:
            self._flushing.release()
        # One that came in while we passed the others on, from a thread that is idle by now.
        if self._ended:
            self._report()

    def _note(self, events: Sequence[Event]) -> None:
        sink = self._sink
        if sink is not None:
            sink(events)

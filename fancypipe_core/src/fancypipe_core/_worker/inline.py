"""The serial backend: jobs run in the thread that called `run()`, one at a time.

So `breakpoint()` and pdb work in tasks.  It is also what a worker process runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter

from fancypipe_core.backend import (
    BackendOptions,
    BackendPlugin,
    Call,
    Certificate,
    Event,
    Job,
    JobId,
    JobRunner,
    Lost,
    Note,
    Sink,
    Slots,
)

__all__ = ["InlineBackend", "plugin"]

_AHEAD = 31
_BURST = 0.001  # seconds of jobs between two reports
SHORT = 0.0002  # seconds; a job that usually takes longer does not keep results waiting


class InlineBackend:
    """Runs jobs when it is driven.

    Args:
        runner: What runs them.
        begin: Called with each job right before it runs; False means that it must
            not run: it stays, and `drive` comes back.
        kills: Whether somebody else enforces time limits.
        end: Called when no job runs any more, or none for the moment, right before
            the results are reported.
    """

    def __init__(
        self,
        runner: JobRunner,
        begin: Callable[[Job], bool] | None = None,
        kills: bool = False,
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self._runner = runner
        self._begin = begin
        self._kills = kills
        self._end = end
        self._ended: deque[Event] = deque()
        self._typical: dict[Call, float] = {}  # seconds
        self._jobs: deque[Job] = deque()
        self._sink: Sink | None = None
        self._warned = False

    @property
    def waiting(self) -> int:
        """How many jobs have not begun."""
        return len(self._jobs)

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._runner.connect(sink)
        sink([Slots(1, _AHEAD)])

    def submit(self, jobs: Sequence[Job]) -> None:
        self._jobs.extend(jobs)

    def cancel(self, ids: Sequence[JobId]) -> None:
        why = Certificate(
            "cancelled", "cancelled before it began", "", 0, started=False, guilty=False
        )
        unwanted = set(ids)
        events: list[Event] = []
        kept: list[Job] = []
        for job in self.withdraw():
            if job.id in unwanted:
                events.append(Lost(job.id, why))
            else:
                kept.append(job)
        self._jobs.extend(kept)
        if events and self._sink is not None:
            self._sink(events)

    recall = cancel  # it touches nothing that runs

    def withdraw(self) -> list[Job]:
        """Take back all jobs that have not begun.  May be called from another thread."""
        taken: deque[Job] = deque()
        while True:
            try:
                # From the far end, job by job: the worker may take from the near one.
                taken.appendleft(self._jobs.pop())
            except IndexError:
                return list(taken)

    def stop(self, grace: float) -> None:
        self._jobs.clear()
        self._sink = None

    def report(self) -> None:
        """Report what has ended.  May be called from another thread while a job runs."""
        events: list[Event] = []
        while True:
            try:
                events.append(self._ended.popleft())
            except IndexError:
                break
        if events and self._sink is not None:
            self._sink(events)

    def drive(self, timeout: float | None) -> None:
        """Run jobs for about a millisecond, or one if it takes longer; then report."""
        jobs, ended, typical = self._jobs, self._ended, self._typical
        run, begin = self._runner.run, self._begin
        if not jobs:
            return
        until = perf_counter() + _BURST
        token = self._runner.enter()
        try:
            while True:
                try:
                    job = jobs.popleft()
                except IndexError:
                    return
                usual = typical.get(job.call, 1.0)
                if usual > SHORT and ended:
                    # It may take long; nobody must wait for what is done already.
                    self._end()
                    self.report()
                if job.time_limit is not None and not self._kills and not self._warned:
                    self._warned = True
                    text = "the serial backend cannot stop a task: timeouts are not enforced"
                    ended.append(Note(None, "warning", text))
                if begin is not None and not begin(job):
                    jobs.appendleft(job)
                    return
                try:
                    done = run(job)
                except BaseException:  # Ctrl-C: the job is over, and says so
                    why = Certificate("cancelled", "interrupted", "", 0, guilty=False)
                    ended.append(Lost(job.id, why))
                    raise
                ended.append(done)
                typical[job.call] = usual + 0.2 * (done.seconds - usual)
                if perf_counter() > until:
                    return
        finally:
            self._runner.leave(token)
            self._end()
            self.report()

    def wake(self) -> None:
        """Nothing to wake: `drive` never waits."""


def _make(options: BackendOptions) -> InlineBackend:
    return InlineBackend(options.runner())


plugin = BackendPlugin(
    name="serial",
    aliases=("S", "inline"),
    help="one task at a time in the caller's thread; breakpoint() and pdb work",
    make=_make,
    shares_memory=True,
)

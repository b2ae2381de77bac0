"""The serial backend: jobs run in the thread that called `run()`, one at a time.

So `breakpoint()` and pdb work in tasks.  It is also what a worker process runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter

from fancypipe_core._runner import Runner
from fancypipe_core.backend import (
    BackendOptions,
    BackendPlugin,
    Certificate,
    Event,
    Job,
    JobId,
    Lost,
    Note,
    Sink,
    Slots,
)

__all__ = ["InlineBackend", "plugin"]

_AHEAD = 31
_BURST = 0.001  # seconds of jobs between two reports


class InlineBackend:
    """Runs jobs when it is driven.

    Args:
        runner: What runs them.
        begin: Called with each job right before it runs.
    """

    def __init__(self, runner: Runner, begin: Callable[[Job], None] | None = None) -> None:
        self._runner = runner
        self._begin = begin
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
        why = Certificate("cancelled", "cancelled before it began", "", 0, started=False, guilty=False)
        unwanted = set(ids)
        events: list[Event] = []
        kept: list[Job] = []
        # popleft is atomic: another thread may cancel while a job runs.
        while self._jobs:
            try:
                job = self._jobs.popleft()
            except IndexError:
                break
            if job.id in unwanted:
                events.append(Lost(job.id, why))
            else:
                kept.append(job)
        self._jobs.extend(kept)
        if events and self._sink is not None:
            self._sink(events)

    def stop(self, grace: float) -> None:
        self._jobs.clear()
        self._sink = None

    def drive(self, timeout: float | None) -> None:
        """Run jobs for about a millisecond, or one if it takes longer; then report."""
        sink, jobs, runner, begin = self._sink, self._jobs, self._runner, self._begin
        if sink is None:
            return
        events: list[Event] = []
        until = perf_counter() + _BURST
        try:
            while jobs:
                job = jobs.popleft()
                if job.time_limit is not None and not self._warned:
                    self._warned = True
                    text = "the serial backend cannot stop a task: timeouts are not enforced"
                    events.append(Note(job.id, "warning", text))
                if begin is not None:
                    begin(job)
                try:
                    events.append(runner.run(job))
                except BaseException:  # Ctrl-C: the job is over, and says so
                    why = Certificate("cancelled", "interrupted", "", 0, guilty=False)
                    events.append(Lost(job.id, why))
                    raise
                if perf_counter() > until:
                    break
        finally:
            if events:
                sink(events)

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

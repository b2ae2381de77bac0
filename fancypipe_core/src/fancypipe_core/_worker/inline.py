"""The serial backend: jobs run in the thread that called `run()`, one at a time.

So `breakpoint()` and pdb work in tasks.  It is also what a worker process runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter

from fancypipe_core._base.cores import usable_cores
from fancypipe_core._worker.kept_values import KeptValues
from fancypipe_core.backend import (
    NOT_BEGUN,
    BackendOptions,
    BackendPlugin,
    Call,
    Certificate,
    Event,
    Job,
    JobId,
    JobRunner,
    Lost,
    Needs,
    Note,
    Sink,
    Slots,
)

__all__ = ["InlineBackend", "plugin"]

_AHEAD = 31
_MOST_AHEAD = 255
_BURST = 0.001  # seconds of jobs between two reports
SHORT = 0.0002  # seconds; a job that usually takes longer does not keep results waiting


class InlineBackend:
    """Runs jobs when it is driven.

    While a job runs, `recall` and `stop` may be called from another thread.

    Args:
        runner: What runs them.
        begin: Called with each job right before it runs; False means that it must
            not run yet: it stays, and the next `drive` begins with `idle`.
        kills: Whether somebody else enforces time limits.
        end: Called when no job runs any more, or none for the moment, right before
            the results are reported.
        idle: Called by `drive` when no job may run; it may wait for one, which then runs.
        grant: Gives a job with needs its devices, where nobody has before.
    """

    def __init__(
        self,
        runner: JobRunner,
        begin: Callable[[Job], bool] | None = None,
        kills: bool = False,
        end: Callable[[], None] = lambda: None,
        idle: Callable[[], None] = lambda: None,
        most_ahead: int = _AHEAD,
        grant: Callable[[Job], Job] | None = None,
    ) -> None:
        self._runner = runner
        self._begin = begin
        self._kills = kills
        self._end = end
        self._idle = idle
        self._most_ahead = most_ahead
        self._grant = grant
        self._ahead = _AHEAD
        self._ended: deque[Event] = deque()
        self._typical: dict[Call, float] = {}  # seconds
        self._jobs: deque[Job] = deque()
        self._waiting: set[JobId] = set()  # who takes an id out decides what becomes of the job
        self._kept = KeptValues()
        self._held = False
        self._sink: Sink | None = None
        self._warned = False

    @property
    def follows(self) -> bool:
        """See `fancypipe_core.backend.Following`."""
        return True

    def lacks(self, needs: Needs) -> str:
        """See `fancypipe_core.backend.Equipped`: a task has the whole machine."""
        from fancypipe_core._base.equipment import this_machine  # few tasks have needs

        return this_machine(usable_cores()).lacks(needs)

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._runner.connect(sink)
        sink([Slots(1, _AHEAD)])

    def submit(self, jobs: Sequence[Job]) -> None:
        followers = [job for job in jobs if job.after]
        if followers:
            self._kept.expect(followers)
        self._waiting.update([job.id for job in jobs])
        self._jobs.extend(jobs)

    def recall(self, ids: Sequence[JobId]) -> None:
        self._report([Lost(id, NOT_BEGUN) for id in ids if self._claim(id)])

    cancel = recall  # nobody can stop what runs

    def _claim(self, id: JobId) -> bool:
        """Take an id out of those that wait; False if another thread has, or it never waited."""
        try:
            self._waiting.remove(id)
        except KeyError:
            return False
        return True

    def stop(self, grace: float) -> None:
        self._waiting.clear()
        self._jobs.clear()
        self._sink = None

    def _report(self, lost: Sequence[Event] = ()) -> None:
        """Report what has ended, and what is lost."""
        events: list[Event] = []
        while True:
            try:
                events.append(self._ended.popleft())
            except IndexError:
                break
        events += lost
        if events and self._sink is not None:
            self._sink(events)

    def drive(self, timeout: float | None) -> None:  # noqa: C901, PLR0912, PLR0915 - no calls
        """Run jobs for about a millisecond, or one if it takes longer; then report."""
        if self._held:
            self._held = False
            self._idle()
            return
        if not self._waiting:
            self._jobs.clear()  # they were recalled
            self._kept.clear()
            self._idle()
            if not self._waiting:
                return
        jobs, ended, typical, waiting = self._jobs, self._ended, self._typical, self._waiting
        run, begin, kept = self._runner.run, self._begin, self._kept
        until = perf_counter() + _BURST
        usual, ran = 1.0, False
        token = self._runner.enter()
        try:
            while True:
                try:
                    job = jobs.popleft()
                    waiting.remove(job.id)
                except IndexError:
                    return
                except KeyError:
                    kept.forget(job)
                    continue  # it was recalled
                if job.after:
                    filled = kept.fill(job)
                    if filled is None:
                        # At once: what begins after it may kill us, and it has not begun.
                        self._report([Lost(job.id, NOT_BEGUN)])
                        continue
                    job = filled
                    if ran:
                        # What it needs ran right before it, and must leave it nothing but a value.
                        self._runner.between()
                usual = typical.get(job.call, 1.0)
                if usual > SHORT and ended:
                    # It may take long; nobody must wait for what is done already.
                    self._end()
                    self._report()
                if job.time_limit is not None and not self._kills and not self._warned:
                    self._warned = True
                    text = "the serial backend cannot stop a task: timeouts are not enforced"
                    ended.append(Note(None, "warning", text))
                if begin is not None and not begin(job):
                    jobs.appendleft(job)
                    waiting.add(job.id)
                    self._held = True
                    return
                if job.needs is not None and self._grant is not None:
                    job = self._grant(job)
                try:
                    done = run(job)
                except BaseException:  # Ctrl-C: the job is over, and says so
                    why = Certificate("cancelled", "interrupted", "", 0, guilty=False)
                    ended.append(Lost(job.id, why))
                    raise
                ran = True
                ended.append(done)
                if kept.is_used:
                    kept.ended(done)
                typical[job.call] = usual = usual + 0.2 * (done.seconds - usual)
                if perf_counter() > until:
                    return
        finally:
            # Somebody waits for the results, and nobody for what is put in order behind them.
            self._end()
            self._report()
            self._say_slots(usual)
            self._runner.leave(token)

    def _say_slots(self, usual: float) -> None:
        """Want as many jobs as are run in a burst, if they take so long: then each burst is full.

        Not more: what waits here was the most urgent once, and its values are in memory.
        """
        ahead = max(_AHEAD, min(self._most_ahead, int(_BURST / (usual + 1e-7))))
        if self._sink is not None and not self._ahead / 2 <= ahead <= self._ahead * 2:
            self._ahead = ahead
            self._sink([Slots(1, ahead)])

    def wake(self) -> None:
        """Nothing to wake: `drive` never waits."""


def _make(options: BackendOptions) -> InlineBackend:
    return InlineBackend(options.runner(), most_ahead=_MOST_AHEAD, grant=_first_devices)


def _first_devices(job: Job) -> Job:
    """Return a job with devices: one job runs at a time, so it may have any."""
    from fancypipe_core._base.equipment import devices

    assert job.needs is not None
    has_all = job.devices or not job.needs.gpu
    return job if has_all else job.with_devices(devices()[: job.needs.gpu])


plugin = BackendPlugin(
    name="serial",
    aliases=("S", "inline"),
    help="one task at a time in the caller's thread; breakpoint() and pdb work",
    make=_make,
    shares_memory=True,
    understands=frozenset({"cpus", "memory", "gpu"}),
)

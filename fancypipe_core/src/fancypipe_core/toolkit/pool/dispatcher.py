"""Who gets which jobs, how many at a time, and from whom they are recalled."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from fancypipe_core.backend import Job, JobId
from fancypipe_core.toolkit.pool.clocks import Clocks
from fancypipe_core.toolkit.pool.queue import Queue
from fancypipe_core.toolkit.pool.roster import Roster
from fancypipe_core.toolkit.pool.start_backoff import Starts
from fancypipe_core.toolkit.pool.states import (
    LIVING,
    Action,
    Dismiss,
    GiveUp,
    RecallJobs,
    Send,
    Start,
    State,
)
from fancypipe_core.toolkit.pool.workers import Clock, Worker
from fancypipe_core.toolkit.times import MOST

__all__ = ["Dispatcher"]

_GRAIN = 1e-6  # seconds; finer than that sums of times are not exact


class Dispatcher:
    """Gives jobs to workers, and recalls them for others.

    Args:
        queue: The jobs that no worker has.
        roster: The workers.
        clocks: What is due when.
        starts: Whether another worker may be started.
        actions: Where to write what the shell is to do.

    Attributes:
        shrunk: Workers that have more jobs than may be there now.
    """

    def __init__(
        self,
        queue: Queue,
        roster: Roster,
        clocks: Clocks,
        starts: Starts,
        actions: list[Action],
    ) -> None:
        self._rules = roster.rules
        self._queue = queue
        self._roster = roster
        self._clocks = clocks
        self._starts = starts
        self._actions = actions
        self.shrunk: list[Worker] = []
        self._farthest = 0.0  # seconds, to any worker and back

    def measured(self, worker: Worker, seconds: float) -> None:
        """The way to a worker and back takes so long."""
        worker.round_trip = seconds
        self._farthest = max(one.round_trip for one in self._roster.workers.values())

    def start(self, single: bool = False) -> Worker:
        """Start a worker; `single`: with one slot, for suspects."""
        worker = self._roster.hire(single)
        self._actions.append(Start(worker.id, 1 if single else self._rules.slots))
        return worker

    def lacks(self, worker: Worker) -> int:
        """Return how many jobs a worker lacks, so that none of its slots is without work."""
        if not worker.takes_more or (worker.asked and self._rules.in_order):
            return 0
        least = self._rules.least_ahead if worker.waits and not worker.asked else 0
        return max(0, worker.slots * (1 + least) - len(worker.jobs))

    def _room(self, worker: Worker) -> int:
        """Return how many jobs a worker may get at least now; 0 if it gets nothing."""
        lacks = self.lacks(worker)
        if lacks or worker.asked or not (worker.waits and worker.takes_more):
            return lacks
        slots, work = worker.slots, self._budget(worker.round_trip) * worker.slots
        return int(worker.work < work and len(worker.jobs) < MOST * slots)

    def _budget(self, round_trip: float) -> float:
        """Return for how many seconds a slot so far away has work, so that it never waits."""
        return max(self._rules.ahead, min(self._rules.most_ahead, 2.0 * round_trip))

    @property
    def budget(self) -> float:
        """Seconds of work that a slot has, at the worker that is farthest away."""
        return self._budget(self._farthest)

    def deal(self) -> None:
        """Give jobs to workers: evenly, and to each only so many as hide the way there."""
        if self._queue.alone:
            self._deal_alone()
        elif self._rules.slots != 1:
            for single in [one for one in self._roster.idle.values() if one.single]:
                self._dismiss(single)
        jobs, roster = self._queue.jobs, self._roster
        if jobs:
            order = [self._rank(worker) for worker in roster.open.values()]
            heapify(order)
            while jobs:
                best = self._roster.workers[order[0][2]] if order else None
                new = None
                if (best is None or best.jobs) and roster.living < self._rules.workers:
                    new = self._may_start()
                worker = new or best
                if worker is None:
                    break
                if worker is best:
                    heappop(order)
                if self._give(worker):
                    heappush(order, self._rank(worker))
        if len(self._queue) and not roster.present and Clock.NOBODY not in self._clocks.due:
            self._wait_for_anybody()

    def _wait_for_anybody(self) -> None:
        if self._rules.away is not None:
            self._clocks.set(None, Clock.NOBODY, self._rules.away)

    @staticmethod
    def _rank(worker: Worker) -> tuple[float, bool, int]:
        starting = worker.state is State.STARTING
        return len(worker.jobs) / max(worker.slots, 1), starting, worker.id

    def _give(self, worker: Worker) -> bool:
        """Give a worker what it should get now; tell whether it was anything."""
        room = self._room(worker)
        if not room:
            self._roster.open.pop(worker.id, None)
            return False
        slots = worker.slots
        everybody = self._rules.workers * self._rules.slots or max(self._roster.slots, 1)
        fair = -(-len(self._queue.jobs) * slots // everybody)
        ahead = worker.waits and not worker.asked
        most = min(MOST * slots - len(worker.jobs), fair) if ahead else room
        least = min(room, most)
        lacking = self._budget(worker.round_trip) * slots - worker.work
        jobs, work = self._queue.batch(least, most, lacking)
        self._send(worker, jobs, work)
        return True

    def _send(self, worker: Worker, jobs: list[Job], work: float) -> None:
        if not worker.jobs:
            worker.heard = self._clocks.now
        for job in jobs:
            worker.jobs[job.id] = job
        worker.work += work
        self._actions.append(Send(worker.id, jobs))
        self._roster.changed(worker)

    def _may_start(self, single: bool = False) -> Worker | None:
        """Start a worker, if it is time to; give the run up if that is hopeless."""
        starts, clocks, roster = self._starts, self._clocks, self._roster
        if starts.hopeless and not roster.up:
            starts.succeeded()  # who goes on all the same begins to count anew
            self._actions.append(GiveUp(starts.why, starts.output))
            clocks.set(None, Clock.BACKOFF, self._rules.longest_pause)
        if Clock.BACKOFF in clocks.due:
            return None
        if starts.failures and roster.living > roster.up:
            return None  # after a failure one at a time
        return self.start(single)

    def _deal_alone(self) -> None:
        """Give the next suspect a fresh worker; one suspect at a time."""
        workers = [worker for worker in self._roster.workers.values() if worker.state in LIVING]
        if any(worker.alone for worker in workers):
            return
        free = [worker for worker in workers if not worker.jobs and not worker.asked]
        job = self._queue.alone[0]
        fresh = next((worker for worker in free if self._suits(worker, job)), None)
        if fresh is None and len(workers) >= self._rules.workers:
            # Who is idle is replaced.  If nobody is, one gets nothing more until it is.
            if not free:
                self._retire_one(workers)
                return
            self._dismiss(free[0])
        self._roster.retire_nobody()
        fresh = fresh or self._may_start(single=True)
        if fresh is not None:
            self._queue.alone.popleft()
            fresh.alone = True
            self._send(fresh, [job], self._queue.times.expected(job.call))

    def _suits(self, worker: Worker, job: Job) -> bool:
        """Whether a worker without jobs will do for a suspect: the engine's own want a fresh one.

        Those who were only near a death are told apart by being alone.
        """
        return (worker.single or self._rules.slots == 1) and not (job.alone and worker.begun)

    def _dismiss(self, worker: Worker) -> None:
        worker.orderly = True
        self._actions.append(Dismiss(worker.id))
        self._roster.leave(worker, self._rules.farewell, "exit")

    def _retire_one(self, workers: Sequence[Worker]) -> None:
        if any(worker.retiring for worker in workers):
            return
        victim = min(workers, key=lambda worker: len(worker.jobs))
        spare = victim.spare
        victim.retiring = True
        self._roster.changed(victim)
        if spare:
            self.recall(victim, spare)

    def balance(self) -> None:
        """While somebody is idle and others have more than they can run: recall some, soon."""
        roster, clocks = self._roster, self._clocks
        while self.shrunk:
            worker = self.shrunk.pop()
            spare = [id for id in worker.spare if id not in worker.asked]
            if worker.state in LIVING and spare:
                self.recall(worker, spare)
        if not roster.idle or not roster.burdened or len(self._queue):
            clocks.due.pop(Clock.BALANCE, None)
        elif Clock.BALANCE not in clocks.due:
            wait = min(map(self._patience, roster.burdened.values()))
            clocks.set(None, Clock.BALANCE, max(wait, self._rules.silence))

    def recall_for_idle(self) -> None:
        """It is time to ask those who have too much."""
        if len(self._queue):
            return
        wanted = sum(worker.slots for worker in self._roster.idle.values())
        having = [one for one in self._roster.burdened.values() if self._patience(one) <= _GRAIN]
        for worker in sorted(having, key=lambda worker: -len(worker.jobs)):
            if wanted <= 0:
                return
            spare = worker.spare
            # One that does not answer soon is not likely to answer the next time.
            asked = spare if self._rules.in_order else spare[-max(wanted, len(spare) // 2) :]
            wanted -= len(asked)
            self.recall(worker, asked)

    def _patience(self, worker: Worker) -> float:
        """Return in how many seconds a worker that says nothing may be asked for jobs.

        One that reports all the time is about to do them itself; and what it says now is
        heard when it has come all the way.
        """
        silence = max(self._rules.silence, worker.round_trip)
        return worker.heard + silence - self._clocks.now

    def recall(self, worker: Worker, ids: list[JobId]) -> None:
        """Ask a worker for jobs, as far as it has not begun them."""
        ids = [id for id in ids if id not in worker.asked]
        if not ids:
            return
        self._actions.append(RecallJobs(worker.id, ids))
        worker.asked.update(ids)
        if self._rules.in_order:
            self._clocks.set(worker, Clock.ANSWER, self._rules.answer)
        self._roster.changed(worker)

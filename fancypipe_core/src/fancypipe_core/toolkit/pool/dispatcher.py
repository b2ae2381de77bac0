"""Who gets which jobs, how many at a time, and from whom they are recalled."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import ceil

from fancypipe_core.backend import Job, JobId, Needs
from fancypipe_core.toolkit.pool.clocks import Clocks
from fancypipe_core.toolkit.pool.promises import Promises
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
        strays: Followers that cannot run where their needs are made.
        sends: What each worker is sent in this turn.
        budget: Seconds of work that a slot has, at the worker that is farthest away.
        promises: What jobs with needs have.
        unmet: The oldest that needs what no worker has; None if there is none.
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
        self.strays: list[Job] = []
        self.sends: dict[int, Send] = {}
        self.budget = self._rules.ahead
        self.promises = Promises(roster)
        self.unmet: Job | None = None

    def measured(self, worker: Worker, seconds: float) -> None:
        """The way to a worker and back takes so long: so far ahead it has work."""
        rules = self._rules
        worker.round_trip = seconds
        worker.budget = max(rules.ahead, min(rules.most_ahead, 2.0 * seconds))
        self.budget = max(one.budget for one in self._roster.workers.values())

    def start(self, single: bool = False) -> Worker:
        """Start a worker; `single`: with one slot, for suspects."""
        worker = self._roster.hire(single)
        self._actions.append(Start(worker.id, 1 if single else self._rules.slots))
        return worker

    def lacks(self, worker: Worker) -> int:
        """Return how many jobs a worker lacks that takes more, so that no slot is without work."""
        if worker.asked and self._rules.in_order:
            return 0
        least = self._rules.least_ahead if worker.waits and not worker.asked else 0
        # A follower runs in the place of what it follows, if it may wait for that.
        tied = len(worker.tied) if worker.waits else 0
        return max(0, worker.slots * (1 + least) - len(worker.jobs) - worker.extra + tied)

    def _room(self, worker: Worker) -> int:
        """Return how many jobs a worker may get at least now; 0 if it gets nothing."""
        if not worker.takes_more:
            return 0
        lacks, slots = self.lacks(worker), worker.slots
        if lacks or worker.asked or not worker.waits:
            return lacks
        if worker.work < worker.budget * slots:
            return int(len(worker.jobs) < MOST * slots)
        return int(worker.work < self._rules.next * slots and len(worker.jobs) < 2 * slots)

    def deal(self) -> None:
        """Give jobs to workers: evenly, and to each only so many as hide the way there."""
        if self._queue.needy or not self.promises.is_idle:
            self.promises.settle()
        if self._queue.alone:
            self._deal_alone()
        elif self._rules.slots != 1:
            for single in [one for one in self._roster.idle.values() if one.single]:
                self._dismiss(single)
        if self._queue.needy or self.unmet is not None:
            self._deal_needy()
            self._wait_for_a_machine()
        if self._queue.jobs:
            self._deal_to_all()
        elif self._is_one_missing():
            self._may_start()
        if not self._roster.manned and self._rules.away is not None:
            self._wait_for_anybody(self._rules.away)

    def _deal_to_all(self) -> None:
        """Give jobs that need nothing special to whoever has the fewest."""
        jobs, roster, rules = self._queue.jobs, self._roster, self._rules
        order = [self._rank(worker) for worker in roster.open.values()]
        heapify(order)
        everybody = rules.workers * rules.slots or max(roster.slots, 1)
        share = len(jobs) / everybody  # of a slot; of what is left each would get less and less
        limited = bool(rules.workers) and not self.promises.is_idle
        while jobs:
            if jobs[0].after:
                self._follow_first()
                continue
            may_begin = True
            if limited:
                gate = self.promises.gate
                if gate < 0:
                    return  # some are to become idle, for a job with needs
                may_begin = gate > 0
                while order and not may_begin and not roster.workers[order[0][2]].jobs:
                    heappop(order)
            best = roster.workers[order[0][2]] if order else None
            new = None
            if may_begin and (best is None or best.jobs) and roster.living < rules.workers:
                new = self._may_start()
            worker = new or best
            if worker is None:
                return
            if worker is best:
                heappop(order)
            if self._give(worker, share):
                heappush(order, self._rank(worker))

    def _is_one_missing(self) -> bool:
        """Whether one has died, nobody is in its place, and what it could run waits."""
        if self._roster.living >= self._rules.workers or self._queue.alone or self._is_closed():
            return False
        burdened = self._roster.burdened.values()
        return any(one.state is not State.STARTING for one in burdened)

    def _deal_needy(self) -> None:
        """Give jobs with needs to workers that have what they need: the oldest first."""
        dealt: list[Job] = []
        too_large: set[Needs] = set()
        for job in self._queue.needy:
            needs = self.promises.within(job)
            if not self._queue.has_turn(job):
                break
            if needs in too_large:
                continue
            worker = self._place(needs)
            if worker is None:
                too_large.add(needs)
                continue
            self._promise(worker, job)
            dealt.append(job)
        if dealt:
            self._queue.take(dealt)

    def _place(self, needs: Needs) -> Worker | None:
        """Return who has now what a job needs; if nobody, let the oldest of those have it next."""
        promises, roster = self.promises, self._roster
        if self._rules.workers:
            if promises.fits(needs, None):
                free = (one for one in roster.open.values() if self._is_free(one))
                worker = next(free, None)
                if worker is None and roster.living < self._rules.workers:
                    worker = self._may_start()
                if worker is not None:
                    return worker
            promises.keep(needs, None)
            return None
        candidates = promises.candidates(needs)
        for worker in candidates:
            if promises.fits(needs, worker):
                return worker
        if candidates:
            promises.keep(needs, candidates[0])
        return None

    @staticmethod
    def _is_free(worker: Worker) -> bool:
        return not (worker.jobs or worker.asked) and worker.takes_more and worker.state in LIVING

    def _wait_for_a_machine(self) -> None:
        """See whether there is a job that no worker can ever have; that has a limit."""
        limit, clocks, promises = self._rules.unmet, self._clocks, self.promises
        if limit is None:
            return
        known: dict[Needs, bool] = {}  # there are few kinds, and many jobs
        self.unmet = None
        for job in self._queue.needy:
            needs = promises.within(job)
            if needs not in known:
                known[needs] = promises.is_there(needs)
            if not known[needs]:
                self.unmet = job
                break
        if self.unmet is None:
            clocks.due.pop(Clock.UNMET, None)
        elif Clock.UNMET not in clocks.due:
            clocks.set(None, Clock.UNMET, limit)

    def _wait_for_anybody(self, limit: float) -> None:
        """While jobs wait, and nobody is there to run them, that has a limit."""
        clocks, waits = self._clocks, len(self._queue) or self._roster.holds_jobs
        if waits and Clock.NOBODY not in clocks.due:
            clocks.set(None, Clock.NOBODY, limit)
            if self._rules.workers:
                clocks.set(None, Clock.ABSENCE, min(limit, self._rules.say_away))
        elif not waits and self._rules.first is None:
            clocks.forget_absence()

    @staticmethod
    def _rank(worker: Worker) -> tuple[float, bool, int]:
        starting = worker.state is State.STARTING
        return len(worker.jobs) / max(worker.slots, 1), starting, worker.id

    def _give(self, worker: Worker, share: float) -> bool:
        """Give a worker what it should get now; tell whether it was anything."""
        room = self._room(worker)
        if not room:
            self._roster.open.pop(worker.id, None)
            return False
        slots = worker.slots
        ahead = worker.waits and not worker.asked
        most = room
        if ahead:
            most = max(1, min(MOST * slots - len(worker.jobs), ceil(share * slots)))
        least = min(room, most)
        lacking = worker.budget * slots - worker.work
        if worker.jobs and lacking <= 0:
            # What waits behind a job of some time comes by itself, not with that: so the worker
            # puts right what the first has left, before it begins the next.
            self.sends.pop(worker.id, None)
        jobs, work = self._queue.batch(least, most, lacking, worker.jobs)
        self._send(worker, jobs, work)
        return True

    def _promise(self, worker: Worker, job: Job) -> None:
        """Give a worker a job that is promised what it needs.

        The worker is sent the names of its devices.  The job itself has none: if it comes back
        from there, it is promised some like any other.
        """
        sent = [self.promises.promise(job, worker)]
        self._send(worker, [job], self._queue.times.expected(job.call), sent)

    def _send(
        self, worker: Worker, jobs: list[Job], work: float, sent: list[Job] | None = None
    ) -> None:
        if not worker.jobs:
            worker.heard = worker.looked = self._clocks.now
        worker.take(jobs)
        worker.work += work
        self._say_send(worker, sent or jobs)

    def _say_send(self, worker: Worker, jobs: list[Job]) -> None:
        """Let the shell send a worker jobs, all that it gets in this turn at once."""
        known = self.sends.get(worker.id)
        if known is None:
            self.sends[worker.id] = send = Send(worker.id, jobs)
            self._actions.append(send)
        else:
            known.jobs.extend(jobs)
        self._roster.changed(worker)

    def _follow_first(self) -> None:
        """Deal the followers that are first in the queue."""
        jobs, first = self._queue.jobs, []
        while jobs and jobs[0].after:
            first.append(jobs.popleft())
        self.follow(first)

    def follow(self, followers: Sequence[Job]) -> None:
        """Send followers to the workers that have what they need; the others are strays."""
        sent: dict[int, list[Job]] = {}
        worker: Worker | None = None
        for job in followers:
            if worker is None or not all(id in worker.jobs for id in job.after):
                worker = self._roster.having(job.after)
            alone = self._queue.wants_its_own(job)
            if worker is None or alone or not self._may_follow(worker, job):
                self.strays.append(job)
                continue
            worker.take([job])
            worker.work += self._queue.times.expected(job.call)
            sent.setdefault(worker.id, []).append(job)
        for id, jobs in sent.items():
            self._say_send(self._roster.workers[id], jobs)

    def _may_follow(self, worker: Worker, job: Job) -> bool:
        """Whether a worker takes a follower.

        Not behind what is long, or not known to be short: what that leaves is put right before
        the next begins.  And not so many that others should rather run them.
        """
        if not (worker.waits and worker.takes_more and worker.state in LIVING) or worker.asked:
            return False
        slots, budget, expected = worker.slots, worker.budget, self._queue.times.expected
        if any(expected(worker.jobs[id].call) >= budget for id in job.after):
            return False
        return worker.work < 2.0 * budget * slots and len(worker.jobs) < 2 * MOST * slots

    def _may_start(self, single: bool = False) -> Worker | None:
        """Start a worker, if it is time to; give the run up if that is hopeless."""
        starts, clocks, roster = self._starts, self._clocks, self._roster
        if starts.hopeless and not roster.up:
            starts.count_anew()
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
        needs = self.promises.within(job)
        if self.promises.limit(job) and not self.promises.fits(needs, None):
            self.promises.keep(needs, None)
            return
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
            self._promise(fresh, job)

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
            # Followers began later than their place says, or have not begun.
            followers = [id for id, job in worker.jobs.items() if job.after]
            waiting = dict.fromkeys([*followers, *worker.spare])
            spare = [id for id in waiting if id not in worker.asked]
            if worker.state in LIVING and spare:
                self.recall(worker, spare)
        queue = self._queue
        waits = queue.jobs or queue.alone or self._is_closed()
        if not roster.idle or not roster.burdened or waits:
            clocks.due.pop(Clock.BALANCE, None)
        elif Clock.BALANCE not in clocks.due:
            wait = min(map(self._patience, roster.burdened.values()))
            clocks.set(None, Clock.BALANCE, max(wait, self._rules.silence))

    def _is_closed(self) -> bool:
        """Whether what becomes idle is to stay so, for a job with needs."""
        return not self.promises.is_idle and self.promises.closes()

    def recall_for_idle(self) -> None:
        """It is time to ask those who have too much."""
        if self._queue.jobs or self._queue.alone or self._is_closed():
            return
        wanted = sum(worker.slots for worker in self._roster.idle.values())
        having = [one for one in self._roster.burdened.values() if self._patience(one) <= _GRAIN]
        for worker in sorted(having, key=lambda worker: -len(worker.jobs)):
            if wanted <= 0:
                return
            spare = worker.movable
            # One that does not answer soon is not likely to answer the next time.
            asked = spare if self._rules.in_order else spare[-max(wanted, len(spare) // 2) :]
            wanted -= len(asked)
            self.recall(worker, worker.family(asked))

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

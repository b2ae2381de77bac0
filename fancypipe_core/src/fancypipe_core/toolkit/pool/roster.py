"""Who the pool's workers are, and which of them may be given jobs."""

from __future__ import annotations

from collections.abc import Sequence

from fancypipe_core.backend import JobId
from fancypipe_core.toolkit.pool.clocks import Clocks
from fancypipe_core.toolkit.pool.states import LIVING, UP, State
from fancypipe_core.toolkit.pool.workers import Clock, Rules, Worker, check_worker

__all__ = ["LOOK", "Roster"]

STARTING, IDLE, BUSY, RECALLED, RETIRING, LEAVING, KILLED, GONE = State

LOOK = 1.0
"""Seconds between two looks at whether a worker lives."""


class Roster:
    """The workers and their states.

    Nothing here looks through all workers when one of them has changed.

    Args:
        rules: What they can do.
        clocks: What is due when.

    Attributes:
        workers: All that are not gone.
        open: Those that may have room for more.
        idle: Those that are up, could run jobs and have none.
        burdened: Those that have more than they can run at once, and are not just being asked.
        living: How many take a place.
        up: How many are up.
        manned: How many of these have somebody to run jobs.
        slots: How many jobs all that are up run at the same time.
    """

    def __init__(self, rules: Rules, clocks: Clocks) -> None:
        self.rules = rules
        self.clocks = clocks
        self.workers: dict[int, Worker] = {}
        self.open: dict[int, Worker] = {}
        self.idle: dict[int, Worker] = {}
        self.burdened: dict[int, Worker] = {}
        self.living = self.up = self.manned = self.slots = 0
        self._number = 0

    def hire(self, single: bool = False) -> Worker:
        """Take in a worker that is about to be started; `single`: it is for suspects."""
        self._number += 1
        worker = self.join(self._number, 1)
        worker.single = single and self.rules.slots != 1
        worker.slots = 1 if single else max(1, self.rules.slots)
        self.clocks.set(worker, Clock.START, self.rules.start)
        return worker

    def join(self, id: int, slots: int) -> Worker:
        """Take in a worker under a number that nobody has."""
        worker = self.workers[id] = Worker(id, slots, self.clocks.now, self.rules.ahead)
        self.living += 1
        self.open[id] = worker
        return worker

    def is_up(self, worker: Worker, slots: int, manned: bool = True) -> None:
        """A worker runs so many jobs at the same time, if anybody is there."""
        if worker.state is STARTING:
            worker.due.pop(Clock.START, None)
            worker.heard = self.clocks.now
            self.up += 1
        elif worker.state in UP:
            self.slots -= worker.slots
            self.manned -= worker.manned
        else:
            return
        self.slots += slots
        self.manned += manned
        worker.slots, worker.manned = slots, manned
        if manned:
            self.clocks.forget_absence()
        self.changed(worker, is_up=True)

    def go(self, worker: Worker, state: State) -> None:
        """Change a worker's state."""
        before, worker.state = worker.state, state
        if before is IDLE:
            self.idle.pop(worker.id, None)
        if before in LIVING and state not in LIVING:
            self.living -= 1
            if before in UP:
                self.up -= 1
                self.manned -= worker.manned
                self.slots -= worker.slots
            self.open.pop(worker.id, None)
            self.burdened.pop(worker.id, None)
            worker.asked.clear()
            worker.doomed.clear()
            worker.questions.clear()
        if state not in LIVING:
            worker.due.clear()

    def leave(self, worker: Worker, seconds: float, reason: str, why: str = "") -> None:
        """A worker is about to end.

        Args:
            worker: Who.
            seconds: In which it must have ended.
            reason: What it is killed for if it has not.
            why: A phrase, as for `Kill`.
        """
        self.go(worker, LEAVING)
        worker.end = (reason, why)
        self.clocks.set(worker, Clock.END, seconds)

    def remove(self, worker: Worker) -> None:
        """A worker is gone; its jobs were taken from it."""
        self.go(worker, GONE)
        del self.workers[worker.id]

    def changed(self, worker: Worker, *, is_up: bool = False) -> None:
        """A worker's jobs, or what is wanted of it, have changed: see where it is now."""
        jobs, state = worker.jobs, worker.state
        if state not in LIVING:
            return
        if worker.doomed:
            worker.doomed.intersection_update(jobs)
        if not worker.asked:
            worker.due.pop(Clock.ANSWER, None)
        if not jobs:
            self._rest(worker)
        elif worker.work < 0.0:
            worker.work = 0.0
        if is_up or state is not STARTING:
            busy = RECALLED if worker.asked else BUSY if jobs else IDLE
            now = RETIRING if worker.retiring else busy
            if now is not state:
                self.go(worker, now)
            if now is IDLE and worker.slots:
                self.idle[worker.id] = worker
            else:
                self.idle.pop(worker.id, None)
            if (jobs or worker.asked) and self.rules.kills:
                self._watch(worker)
        self.open[worker.id] = worker
        few = worker.slots if worker.state is not STARTING else 0
        asked = worker.asked and not worker.asked.isdisjoint(jobs)
        mine = worker.alone or asked or worker.state not in (STARTING, BUSY, RECALLED)
        if len(jobs) - len(worker.tied) > few and not mine:
            self.burdened[worker.id] = worker
        else:
            self.burdened.pop(worker.id, None)

    def _rest(self, worker: Worker) -> None:
        """A worker has no jobs."""
        worker.work = 0.0
        worker.alone = worker.promised = False
        worker.limited = None
        worker.due.pop(Clock.LIMIT, None)
        worker.due.pop(Clock.CANCEL, None)
        if not worker.asked:
            # That it is to be looked at stays: to set that clock for each lone job costs more.
            worker.silent = 0.0

    def _watch(self, worker: Worker) -> None:
        """Set the clocks of a worker that is up, and has jobs or owes an answer."""
        if Clock.ALIVE not in worker.due and Clock.ALIVE not in worker.questions:
            worker.looked = self.clocks.now
            self.clocks.set(worker, Clock.ALIVE, LOOK)
        if worker.jobs and worker.limited not in worker.jobs:
            # It began when the one before it ended, or when it came.
            self.runs(worker, next(iter(worker.jobs)), worker.heard)

    def runs(self, worker: Worker, id: JobId, since: float) -> None:
        """A worker has run this job since then, as far as we know: hold it to its limit."""
        worker.limited = id
        limit = worker.jobs[id].time_limit
        if limit is None:
            worker.due.pop(Clock.LIMIT, None)
        else:
            self.clocks.set(worker, Clock.LIMIT, since + limit - self.clocks.now)

    @property
    def present(self) -> int:
        """How many will take jobs sooner or later; who comes by himself may never be up."""
        return self.living if self.rules.workers else self.up

    @property
    def holds_jobs(self) -> bool:
        """Whether any of them has jobs."""
        return any(worker.jobs for worker in self.workers.values())

    def having(self, ids: Sequence[JobId]) -> Worker | None:
        """Return the worker that has all these jobs; None if there is none."""
        for worker in self.workers.values():
            if ids[0] in worker.jobs:
                return worker if all(id in worker.jobs for id in ids) else None
        return None

    def retire_nobody(self) -> None:
        """No place is wanted."""
        for worker in self.workers.values():
            if worker.retiring:
                worker.retiring = False
                self.changed(worker)

    def check(self) -> None:
        """Verify what must be true.

        Raises:
            AssertionError: Something is not; the text names the worker.
        """
        for worker in self.workers.values():
            check_worker(worker, self.rules)
            for clock in worker.due:
                assert self.clocks.knows(worker, clock), f"{worker}: nobody looks at {clock}"
        living = [worker for worker in self.workers.values() if worker.state in LIVING]
        up = [worker for worker in living if worker.state in UP]
        assert self.living == len(living), f"{self.living} workers, not {len(living)}"
        assert self.up == len(up), f"{self.up} are up, not {len(up)}"
        assert self.slots == sum(worker.slots for worker in up), f"slots: {self.slots}"
        assert self.manned == sum(worker.manned for worker in up), f"manned: {self.manned}"
        assert not self.rules.workers or len(living) <= self.rules.workers, "too many workers"
        idle = {worker.id for worker in up if worker.state is IDLE and worker.slots}
        assert set(self.idle) == idle, f"idle: {set(self.idle)}, not {idle}"
        assert set(self.open) <= {worker.id for worker in living}, "open, and not there"
        assert sum(worker.alone for worker in living) <= 1, "two suspects at once"

"""The pool: a state machine that decides who runs which job, and does nothing else.

It knows workers by number.  It has no processes, sockets, bytes, threads or
clocks: `handle(events, now)` changes its state and returns what the shell is to
do.  The same events at the same times give the same actions, so thousands of
workers can die, freeze, hang, arrive late and leave in a simulation of seconds.

How it works
    Jobs wait in the queue, not at the workers, as far as they are long; each
    worker has so much work ahead as hides the way there, which is measured, and
    never more than its fair share.  A worker that is idle while others have
    more than they can run makes the pool *recall* what they have not begun.

Time
    The pool's clock stands still while its own process does.  The shell says at
    each call what time it is, and was told before by when to come back (`due`);
    what it is late by, beyond a second, was its own pause: it was stopped,
    suspended, swapped out, or busy with a task of its own.  Nobody is judged by
    that.  The shell reads what is there before it asks for a judgement.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fancypipe_core.backend import NOT_BEGUN, Done, Job, JobId, Lost, Needs, Note, Slots
from fancypipe_core.backend import Event as Report
from fancypipe_core.toolkit.pool.blame import Blame
from fancypipe_core.toolkit.pool.clocks import Clocks
from fancypipe_core.toolkit.pool.deaths import Deaths
from fancypipe_core.toolkit.pool.dispatcher import Dispatcher
from fancypipe_core.toolkit.pool.queue import Queue
from fancypipe_core.toolkit.pool.returns import Returns
from fancypipe_core.toolkit.pool.roster import Roster
from fancypipe_core.toolkit.pool.start_backoff import Starts
from fancypipe_core.toolkit.pool.states import (
    LIVING,
    Action,
    Cancel,
    Ended,
    Event,
    GiveUp,
    HungUp,
    Joined,
    NotStarted,
    RoundTrip,
    Seen,
    Spoilt,
    State,
    Submit,
    Tell,
    Up,
    Wish,
)
from fancypipe_core.toolkit.pool.workers import Clock, Rules, Worker

__all__ = ["Pool"]

_MOST_BESIDE = 1000  # jobs that wait with needs while more are sent


class Pool:
    """The machine.

    Args:
        rules: What the workers can do, and how long anything may take.
        now: The time, in seconds, on the clock that `handle` is given.

    Attributes:
        queue: The jobs that no worker has.
        is_new: Whether no worker has been up yet.
    """

    def __init__(self, rules: Rules, now: float = 0.0) -> None:
        self.rules = rules
        self.queue = Queue(rules.fresh, rules.equipment is not None, rules.together)
        self._starts = Starts(rules)
        self._clocks = Clocks(now)
        self._roster = Roster(rules, self._clocks)
        self._workers = self._roster.workers
        self._blame = Blame(rules, self.queue)
        self._told = Slots(0, 0)
        self._beside = 0  # jobs that may wait with needs, and more come all the same
        self.is_new = True
        self._actions: list[Action] = []
        self._dispatcher = Dispatcher(
            self.queue, self._roster, self._clocks, self._starts, self._actions
        )
        self._tell: list[Report] = []
        self._returns = Returns(
            rules,
            self.queue,
            self._roster,
            self._clocks,
            self._dispatcher,
            actions=self._actions,
            tell=self._tell,
        )
        self._unwanted = self._returns.unwanted
        self._deaths = Deaths(
            rules,
            self._roster,
            self._clocks,
            self._starts,
            self._blame,
            self._returns,
            actions=self._actions,
            tell=self._tell,
        )

    # ---- the interface ----

    def open(self, now: float) -> list[Action]:
        """Begin: start the first worker before there is anything to do, and say our size."""
        self._clocks.move(now)
        if self.rules.workers:
            self._dispatcher.start()
        elif self.is_new and self.rules.first is not None:
            self._clocks.set(None, Clock.NOBODY, self.rules.first)
        return self._decide()

    def handle(self, events: Sequence[Event], now: float) -> list[Action]:
        """Take what has happened, and see what is due.

        Args:
            events: All that has happened until now, in order; may be empty.
            now: The time, in seconds.

        Returns:
            What to do, in this order.
        """
        self._clocks.move(now)
        for event in events:
            self._take(event)
        while (over := self._clocks.pop()) is not None:
            worker, clock = over
            if worker is None:
                self._over(clock)
            else:
                self._deaths.over(worker, clock)
        return self._decide()

    def ask(self, wish: Wish, now: float) -> list[Action]:
        """Take what the engine wants, while nobody has looked at what the workers say.

        So nobody is judged by the time that has passed.  Else as `handle`.
        """
        self._clocks.peek(now)
        if isinstance(wish, Submit):
            strays = self.queue.add(wish.jobs)
            if strays:
                self._dispatcher.follow(strays)
        else:
            self._returns.unwant(wish.ids, stop=isinstance(wish, Cancel))
        return self._decide()

    def _decide(self) -> list[Action]:
        self._dispatcher.deal()
        self._dispatcher.balance()
        dispatcher = self._dispatcher
        dispatcher.sends.clear()
        if dispatcher.strays:
            self._tell += [Lost(job.id, NOT_BEGUN) for job in dispatcher.strays]
            dispatcher.strays.clear()
        self._say_slots()
        self._clocks.rest()
        told = self._tell[:]
        self._tell.clear()
        actions = self._actions[:]
        self._actions.clear()
        if told:
            # First what has ended: the engine makes room with that.
            actions.insert(0, Tell(told))
        return actions

    @property
    def due(self) -> float | None:
        """When to call `handle` again if nothing happens; None for never."""
        return self._clocks.next

    def __len__(self) -> int:
        """Return how many jobs have not ended."""
        return len(self.queue) + sum(len(worker.jobs) for worker in self._workers.values())

    def jobs(self, worker: int) -> Collection[JobId]:
        """Return the jobs that a worker has; none if it is gone."""
        known = self._workers.get(worker)
        return () if known is None else known.jobs.keys()

    def job(self, worker: int, id: JobId) -> Job | None:
        """Return a job that a worker has; None if it has no such job."""
        known = self._workers.get(worker)
        return None if known is None else known.jobs.get(id)

    @property
    def last_failure(self) -> str:
        """Why the last start came to nothing; empty if a worker has done its work since."""
        return self._starts.why

    def forget_jobs(self) -> list[JobId]:
        """Take out the jobs that no worker has, and return which they were: for the end."""
        waiting = [job for queue in self.queue.all for job in queue]
        return self.queue.drop({job.id for job in waiting})

    def lacks(self, needs: Needs) -> str:
        """Say why no worker that the pool starts can ever meet these needs; empty if it can."""
        return self._dispatcher.promises.lacks(needs)

    def explain(self, id: JobId) -> str:
        """Say in a sentence where a job is, and why."""
        for worker in self._workers.values():
            if id in worker.jobs:
                place = list(worker.jobs).index(id)
                return f"job {id} is number {place + 1} at a worker: {worker}"
        if id not in self.queue:
            return f"job {id} is not known: it was never submitted, or has ended"
        text = f"job {id} waits for a worker"
        if any(job.id == id for job in self.queue.alone):
            text = f"job {id} waits for a fresh worker to itself"
        needs = next((job.needs for job in self.queue.needy if job.id == id), None)
        if needs is not None:
            text = f"job {id} waits until its needs can be met ({needs})"
        text += f"; {self._roster.living} are there, {self._roster.slots} slots are up"
        return text + (f"; the last start failed: {self.last_failure}" if self.last_failure else "")

    def check(self) -> None:
        """Verify every invariant; for tests and debugging.

        Raises:
            AssertionError: One does not hold; the text names the worker or the job.
        """
        roster, due = self._roster, self._clocks.due
        roster.check()
        places = [job.id for queue in self.queue.all for job in queue]
        promises = self._dispatcher.promises
        promises.check()
        for worker in self._workers.values():
            places += worker.jobs
            assert self.queue.alone or not worker.retiring, f"{worker}: and nobody wants its place"
            if worker.state in LIVING and worker.takes_more and self._dispatcher.lacks(worker):
                assert worker.id in roster.open, f"{worker}: it lacks jobs, and nobody sees it"
                full = promises.closes()
                assert full or not self.queue.jobs, f"{worker}: it lacks jobs, and some wait"
        assert len(places) == len(set(places)), "a job is in two places"
        assert self._unwanted.keys() <= set(places), f"unwanted, and nowhere: {self._unwanted}"
        if len(self) and not roster.manned and self.rules.away is not None:
            assert Clock.NOBODY in due, "jobs wait, and nobody is to come"
        if roster.idle and roster.burdened and not (len(self.queue) or promises.closes()):
            assert Clock.BALANCE in due, "somebody is idle beside who has too much"

    # ---- clocks ----

    def _over(self, clock: Clock) -> None:
        if clock is Clock.BALANCE:
            self._dispatcher.recall_for_idle()
        elif clock is Clock.NOBODY and (self.is_new or len(self)):
            self._actions.append(GiveUp("no worker could be used", away=True))
        elif clock is Clock.ABSENCE and len(self):
            limit = f"{self.rules.away:g} s (the setting backend_start_limit)"
            text = f"no worker is there, and work waits ({len(self)} under way); if none comes "
            text += f"within {limit}, the run ends"
            text += f"; the last attempt: {self.last_failure}" if self.last_failure else ""
            self._tell.append(Note(None, "warning", text))
        elif clock is Clock.UNMET and (job := self._dispatcher.unmet) is not None:
            self._actions.append(GiveUp(job.call.label, unmet=job.needs))
        # After a backoff jobs are dealt again, as always.

    # ---- events ----

    def _take(self, event: Event) -> None:
        worker = self._workers.get(event.worker)
        if isinstance(event, Ended):  # the first, since it is the most frequent
            if worker is not None:
                self._ended(worker, event.events)
        elif isinstance(event, Up):
            self._up(worker, event)
        elif isinstance(event, Joined):
            self._joined(worker, event)
        elif worker is None:
            return  # it is gone, and was accounted for
        elif isinstance(event, RoundTrip):
            self._dispatcher.measured(worker, event.seconds)
        elif isinstance(event, Seen):
            self._deaths.seen(worker, event)
        elif isinstance(event, HungUp):
            self._deaths.hung_up(worker, event)
        elif isinstance(event, Spoilt):
            self._deaths.spoilt(worker, event.why)
        elif isinstance(event, NotStarted):
            self._deaths.not_started(worker, event.why)
        else:
            self._deaths.died(worker, event)

    def _joined(self, worker: Worker | None, event: Joined) -> None:
        worker = worker or self._roster.join(event.worker, 0)
        if worker.state is State.STARTING:
            self._clocks.set(worker, Clock.START, event.limit)

    def _up(self, worker: Worker | None, event: Up) -> None:
        if worker is None and not self.rules.workers:
            worker = self._roster.join(event.worker, event.slots)
        if worker is not None and event.equipment is not None:
            worker.equipment = event.equipment
        if worker is None or worker.state not in LIVING:
            return
        self.is_new = False
        worker.waits = event.waits
        self._roster.is_up(worker, event.slots, event.manned)
        if not worker.waits and len(worker.jobs) > worker.slots:
            self._dispatcher.shrunk.append(worker)

    def _ended(self, worker: Worker, reports: Sequence[Report]) -> None:  # noqa: C901 - no call for each
        worker.heard = self._clocks.now
        jobs, asked, unwanted, tell = worker.jobs, worker.asked, self._unwanted, self._tell
        before = len(jobs)
        ended: list[tuple[Job, Done]] = []
        recalled: list[JobId] = []
        refused = False
        for report in reports:
            if type(report) is Done or type(report) is Lost:
                id = report.id
                if type(report) is Lost and not report.why.started:
                    # A follower comes back when what it needs has no value.
                    follows = id in jobs and jobs[id].after
                    wanted = id not in asked and id not in unwanted
                    refused |= wanted and not follows and not self._is_gone(worker, report)
                    asked.discard(id)
                    recalled.append(id)
                    continue
                if asked:
                    asked.discard(id)
                job = jobs.pop(id, None)
                if job is None:
                    continue  # nobody waits for its end any more
                if worker.tied:
                    worker.untie(id)
                if unwanted:
                    unwanted.pop(id, None)
                if type(report) is Done:
                    ended.append((job, report))
            tell.append(report)
        if before:
            worker.work *= len(jobs) / before
        if ended:
            self._ran(worker, ended)
        if recalled:
            self._returns.requeue(worker, recalled)
        if refused:
            self._deaths.refused(worker)
        self._roster.changed(worker)

    @staticmethod
    def _is_gone(worker: Worker, report: Lost) -> bool:
        """Whether an input was not there, for the first time: the job is sent anew, as bytes."""
        first = report.why.reason == "gone" and report.id not in worker.gone
        if first:
            worker.gone.add(report.id)
        return first

    def _ran(self, worker: Worker, ended: Sequence[tuple[Job, Done]]) -> None:
        """A worker has run these to their end."""
        worker.begun = True
        worker.refusals = 0
        self.queue.times.learn(ended)
        if self._starts.why:
            self._starts.succeeded()
            self._clocks.due.pop(Clock.BACKOFF, None)
        if self._blame.spared or self.queue.suspects:
            self._blame.trust(job.id[0] for job, _ in ended)

    # ---- the slots that are reported ----

    def _say_slots(self) -> None:
        count = self.rules.workers * self.rules.slots or self._roster.slots
        if not count and (self._roster.present or self._told.count):
            # Others have all slots now, or all workers are gone and may come back: what waits
            # here shows that we need some, and has a time limit.
            count = 1
        ahead = count * 2 * self.queue.times.ahead(self._dispatcher.budget)
        # Those that wait for what they need take no place of those that could run meanwhile.
        waiting = min(len(self.queue.needy), _MOST_BESIDE)
        grown = waiting > self._beside
        if grown or not waiting:
            self._beside = 2 * waiting
        ahead += self._beside
        told = self._told
        changed = not told.ahead / 2 <= ahead <= told.ahead * 2
        if count != told.count or changed or grown:
            self._told = Slots(count, ahead)
            self._tell.append(self._told)

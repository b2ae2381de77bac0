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

Death
    What a dead worker had begun is lost, with its certificate.  What it had not
    begun goes back to the queue, as if it had never been sent.  A *suspect*,
    whose next death is its last, gets a fresh worker to itself, so that nobody
    else pays for it, or it for others.

Time
    The pool's clock stands still while its own process does.  The shell says at
    each call what time it is, and was told before by when to come back (`due`);
    what it is late by, beyond a second, was its own pause: it was stopped,
    suspended, swapped out, or busy with a task of its own.  Nobody is judged by
    that.  The shell reads what is there before it asks for a judgement.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from fancypipe_core.backend import NOT_BEGUN, Done, Job, JobId, Lost, Needs, Note, Slots
from fancypipe_core.backend import Event as Report
from fancypipe_core.toolkit.pool.blame import Blame
from fancypipe_core.toolkit.pool.clocks import Clocks
from fancypipe_core.toolkit.pool.dispatcher import Dispatcher
from fancypipe_core.toolkit.pool.queue import Queue
from fancypipe_core.toolkit.pool.roster import LOOK, Roster
from fancypipe_core.toolkit.pool.start_backoff import Starts
from fancypipe_core.toolkit.pool.states import (
    LIVING,
    Action,
    Cancel,
    CancelJobs,
    Died,
    Ended,
    Event,
    GiveUp,
    HungUp,
    Joined,
    Kill,
    Look,
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
_REFUSALS = 5  # reports; a worker that ends in good order makes one of these


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
        self._unwanted: dict[JobId, bool] = {}  # and whether it is to be stopped
        self._blame = Blame(rules, self.queue)
        self._told = Slots(0, 0)
        self._beside = 0  # jobs that may wait with needs, and more come all the same
        self._warned = False  # that a worker did not come up
        self.is_new = True
        self._actions: list[Action] = []
        self._dispatcher = Dispatcher(
            self.queue, self._roster, self._clocks, self._starts, self._actions
        )
        self._tell: list[Report] = []

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
                self._worker_over(worker, clock)
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
            self._unwant(wish.ids, stop=isinstance(wish, Cancel))
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
        told, self._tell = self._tell, []
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

    def _worker_over(self, worker: Worker, clock: Clock) -> None:
        if clock is Clock.START:
            limit = f"{self.rules.start:g} s (the setting start_limit)"
            self._kill(worker, "start", f"it did not start within {limit}")
        elif clock is Clock.END:
            self._kill(worker, *worker.end)
        elif clock is Clock.DEATH:
            # The shell gives it up, and tells of that as of a death.
            self._actions.append(Kill(worker.id, ""))
            self._clocks.set(worker, Clock.DEATH, self.rules.unkillable)
        elif clock is not Clock.ALIVE or worker.jobs or worker.asked:
            if not worker.questions:
                self._actions.append(Look(worker.id))
            worker.questions.add(clock)

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
            self._seen(worker, event)
        elif isinstance(event, HungUp):
            self._hung_up(worker, event)
        elif isinstance(event, Spoilt):
            self._spoilt(worker, event.why)
        elif isinstance(event, NotStarted):
            self._not_started(worker, event.why)
        else:
            self._died(worker, event)

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
            self._requeue(worker, recalled)
        if refused:
            self._refused(worker)
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

    def _seen(self, worker: Worker, event: Seen) -> None:
        questions, worker.questions = worker.questions, set()
        if worker.state not in LIVING:
            return
        worker.begun = worker.begun or event.begun
        running, clocks = event.running, self._clocks
        if Clock.CANCEL in questions and worker.doomed:
            if running in worker.doomed:
                self._kill(worker, "cancelled")
                return
            clocks.set(worker, Clock.CANCEL, self.rules.cancel)
        if Clock.LIMIT in questions and worker.limited in worker.jobs:
            if running == worker.limited:
                self._kill(worker, "timeout")
                return
            # It has not begun, since its inputs are on their way or others took longer.
            self._roster.runs(worker, worker.limited, clocks.now)
        if running in worker.jobs and running != worker.limited:
            self._roster.runs(worker, running, clocks.now)
        if Clock.ANSWER in questions and worker.asked:
            # It will not begin what was recalled and stands behind what it runs.
            asked = worker.asked
            self._requeue(worker, [id for id in worker.behind(running) if id in asked])
            if running is not None:
                asked.discard(running)
            clocks.set(worker, Clock.ANSWER, LOOK)
        if Clock.ALIVE in questions and (worker.jobs or worker.asked):
            self._judge(worker, event)
        self._roster.changed(worker)

    def _judge(self, worker: Worker, event: Seen) -> None:
        """Kill a worker that has been stopped, or has done nothing, for too long."""
        # A task may do what it likes for as long as it likes, and keep the
        # interpreter for itself.  Between tasks there is no reason for silence.
        moved = worker.heard != worker.heard_at_look
        idles = worker.state is not State.STARTING and not event.works
        if event.stopped is not worker.stopped:
            worker.silent, worker.stopped = 0.0, event.stopped
        seconds = min(self._clocks.now - worker.looked, LOOK)
        wrong = (event.stopped or idles) and not moved
        worker.silent = worker.silent + seconds if wrong else 0.0
        worker.looked, worker.heard_at_look = self._clocks.now, worker.heard
        if worker.silent >= self.rules.frozen:
            what = "it had jobs, and ran none of them"
            if not worker.jobs:
                what = "it did not answer a recall"
            if event.stopped:
                what = "it was stopped by a signal and not continued"
            limit = f"{self.rules.frozen:g} s (the setting frozen_limit)"
            self._kill(worker, "frozen", f"{what} for {limit}, so it was killed")

    def _hung_up(self, worker: Worker, event: HungUp) -> None:
        if worker.state not in LIVING:
            return
        worker.begun = worker.begun or event.begun
        ran = worker.state is State.STARTING or event.running in worker.jobs
        if self.rules.in_order and not ran:
            # It ends in good order: what it was sent it has not begun.
            worker.orderly = worker.begun
            self._roster.leave(worker, self.rules.farewell, "exit")
            self._requeue(worker, list(worker.jobs))
        else:
            self._roster.leave(worker, self.rules.hung_up, "protocol", event.why)

    def _refused(self, worker: Worker) -> None:
        """A worker returned jobs that nobody had recalled: it may, but not for ever."""
        worker.refusals += 1
        if worker.refusals >= _REFUSALS:
            what = "it returned jobs that were not recalled, and ran none"
            self._spoilt(worker, f"{what}, {_REFUSALS} times in a row")

    def _spoilt(self, worker: Worker, why: str) -> None:
        if worker.state in LIVING:
            self._kill(worker, "protocol", why)

    def _died(self, worker: Worker, event: Died) -> None:
        why = event.why
        if not (event.begun or worker.begun or worker.orderly):
            hung = why.reason == "start"
            detail = why.detail if hung else f"it ended with {why.detail} before its first task"
            self._not_up(worker, detail, why.output, hung=hung)
        begun = self._blame.of(worker, event)
        doubt = event.all_begun and self.rules.fresh and why.reason != "left"
        if doubt:
            self._suspect([id for id, guilty in begun if not guilty and not self._unwanted.get(id)])
        for id, guilty in begun:
            worker.drop(id)
            # What was only recalled, and had begun, is judged as if it were still wanted.
            if self._unwanted.pop(id, False):
                self._tell.append(Lost(id, replace(why, reason="cancelled", guilty=False)))
            else:
                # Which of several had begun, nobody knows; as they are not blamed, they go on.
                innocent = replace(why, started=not doubt, guilty=False)
                self._tell.append(Lost(id, why if guilty else innocent))
        self._remove(worker)

    def _suspect(self, ids: list[JobId]) -> None:
        if ids:
            self._blame.suspect(ids)
            # They come back first: else what waits behind them gets the next worker.
            if Clock.BACKOFF not in self._clocks.due:
                self._clocks.set(None, Clock.BACKOFF, self.rules.first_pause)

    def _not_started(self, worker: Worker, why: str) -> None:
        self._not_up(worker, f"it could not be started: {why}")
        self._remove(worker)

    def _not_up(
        self, worker: Worker, why: str, output: tuple[str, ...] = (), *, hung: bool = False
    ) -> None:
        """A worker has come to nothing: another is started some time later."""
        now = self._clocks.now
        pause = self._starts.failed(worker.born, now, why, output, hung=hung)
        if pause:
            self._clocks.set(None, Clock.BACKOFF, pause)
        if self._roster.up and not self._warned:
            self._warned = True
            self._tell.append(
                Note(None, "warning", f"a worker did not start: {why}; the other workers continue")
            )

    # ---- a worker's beginning and end ----

    def _kill(self, worker: Worker, reason: str, why: str = "") -> None:
        self._roster.go(worker, State.KILLED)
        self._actions.append(Kill(worker.id, reason, why))
        self._clocks.set(worker, Clock.DEATH, self.rules.unkillable)

    def _remove(self, worker: Worker) -> None:
        """A worker is gone; what it has left it has not begun."""
        self._requeue(worker, list(worker.jobs))
        self._roster.remove(worker)

    # ---- what nobody wants, and what was not begun ----

    def _unwant(self, ids: Collection[JobId], *, stop: bool) -> None:
        unwanted = set(ids)
        for id in self.queue.drop(unwanted):
            self._tell.append(Lost(id, NOT_BEGUN))
        if not self.queue.alone:
            self._roster.retire_nobody()
        for worker in self._workers.values():
            mine = unwanted.intersection(worker.jobs)
            if not mine:
                continue
            for id in mine:
                self._unwanted[id] = stop or self._unwanted.get(id, False)
            if worker.state not in LIVING:
                continue  # they end with it
            if stop and not self.rules.kills:
                self._actions.append(CancelJobs(worker.id, list(mine)))
                continue
            self._dispatcher.recall(worker, list(mine))
            if stop:
                worker.doomed |= mine
                self._clocks.set(worker, Clock.CANCEL, self.rules.cancel)

    def _requeue(self, worker: Worker, ids: Sequence[JobId]) -> None:
        """Take jobs from a worker that it has not begun and will not begin."""
        kept: list[Job] = []
        before = len(worker.jobs)
        for id in ids:
            job = worker.drop(id)
            if job is None:
                continue
            if id in self._unwanted:
                del self._unwanted[id]
                self._tell.append(Lost(id, NOT_BEGUN))
            else:
                kept.append(job)
        if before:
            worker.work *= len(worker.jobs) / before
        self._dispatcher.strays += self.queue.requeue(kept)

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

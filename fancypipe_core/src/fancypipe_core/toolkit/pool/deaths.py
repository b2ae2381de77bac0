"""How workers end: when they are killed, and what becomes of that which they had.

What a dead worker had begun is lost, with its certificate.  What it had not
begun goes back to the queue, as if it had never been sent.  A *suspect*,
whose next death is its last, gets a fresh worker to itself, so that nobody
else pays for it, or it for others.
"""

from __future__ import annotations

from msgspec.structs import replace

from fancypipe_core.backend import Event as Report
from fancypipe_core.backend import JobId, Lost, Note
from fancypipe_core.toolkit.pool.blame import Blame
from fancypipe_core.toolkit.pool.clocks import Clocks
from fancypipe_core.toolkit.pool.returns import Returns
from fancypipe_core.toolkit.pool.roster import LOOK, Roster
from fancypipe_core.toolkit.pool.start_backoff import Starts
from fancypipe_core.toolkit.pool.states import (
    LIVING,
    Action,
    Died,
    HungUp,
    Kill,
    Look,
    Seen,
    State,
)
from fancypipe_core.toolkit.pool.workers import Clock, Rules, Worker

__all__ = ["Deaths"]

_REFUSALS = 5  # reports; a worker that ends in good order makes one of these


class Deaths:
    """Kills workers that have to be, and accounts for those that are gone.

    Args:
        rules: What the workers can do, and how long anything may take.
        roster: The workers.
        clocks: What is due when.
        starts: Counts the starts that failed.
        blame: Judges whose fault a death is.
        returns: Takes jobs back.
        actions: Takes what the shell is to do.
        tell: Takes what the engine is to be told.
    """

    def __init__(  # noqa: PLR0913 - what a death touches
        self,
        rules: Rules,
        roster: Roster,
        clocks: Clocks,
        starts: Starts,
        blame: Blame,
        returns: Returns,
        *,
        actions: list[Action],
        tell: list[Report],
    ) -> None:
        self._rules = rules
        self._roster = roster
        self._clocks = clocks
        self._starts = starts
        self._blame = blame
        self._returns = returns
        self._actions = actions
        self._tell = tell
        self._warned = False  # that a worker did not come up

    def over(self, worker: Worker, clock: Clock) -> None:
        """A clock of a worker is over: it is killed, or looked at first."""
        if clock is Clock.START:
            limit = f"{self._rules.start:g} s (the setting start_limit)"
            self._kill(worker, "start", f"it did not start within {limit}")
        elif clock is Clock.END:
            self._kill(worker, *worker.end)
        elif clock is Clock.DEATH:
            # The shell gives it up, and tells of that as of a death.
            self._actions.append(Kill(worker.id, ""))
            self._clocks.set(worker, Clock.DEATH, self._rules.unkillable)
        elif clock is not Clock.ALIVE or worker.jobs or worker.asked:
            if not worker.questions:
                self._actions.append(Look(worker.id))
            worker.questions.add(clock)

    def seen(self, worker: Worker, event: Seen) -> None:
        """A worker was looked at: answer what was asked."""
        questions, worker.questions = worker.questions, set()
        if worker.state not in LIVING:
            return
        worker.begun = worker.begun or event.begun
        running, clocks = event.running, self._clocks
        if Clock.CANCEL in questions and worker.doomed:
            if running in worker.doomed:
                self._kill(worker, "cancelled")
                return
            clocks.set(worker, Clock.CANCEL, self._rules.cancel)
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
            self._returns.requeue(worker, [id for id in worker.behind(running) if id in asked])
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
        if worker.silent >= self._rules.frozen:
            what = "it had jobs, and ran none of them"
            if not worker.jobs:
                what = "it did not answer a recall"
            if event.stopped:
                what = "it was stopped by a signal and not continued"
            limit = f"{self._rules.frozen:g} s (the setting frozen_limit)"
            self._kill(worker, "frozen", f"{what} for {limit}, so it was killed")

    def hung_up(self, worker: Worker, event: HungUp) -> None:
        """A worker says nothing more, and is about to be gone."""
        if worker.state not in LIVING:
            return
        worker.begun = worker.begun or event.begun
        ran = worker.state is State.STARTING or event.running in worker.jobs
        if self._rules.in_order and not ran:
            # It ends in good order: what it was sent it has not begun.
            worker.orderly = worker.begun
            self._roster.leave(worker, self._rules.farewell, "exit")
            self._returns.requeue(worker, list(worker.jobs))
        else:
            self._roster.leave(worker, self._rules.hung_up, "protocol", event.why)

    def refused(self, worker: Worker) -> None:
        """A worker returned jobs that nobody had recalled: it may, but not for ever."""
        worker.refusals += 1
        if worker.refusals >= _REFUSALS:
            what = "it returned jobs that were not recalled, and ran none"
            self.spoilt(worker, f"{what}, {_REFUSALS} times in a row")

    def spoilt(self, worker: Worker, why: str) -> None:
        """A worker does what it must not."""
        if worker.state in LIVING:
            self._kill(worker, "protocol", why)

    def died(self, worker: Worker, event: Died) -> None:
        """A worker is dead: say what it took with it."""
        why, unwanted = event.why, self._returns.unwanted
        if not (event.begun or worker.begun or worker.orderly):
            hung = why.reason == "start"
            detail = why.detail if hung else f"it ended with {why.detail} before its first task"
            self._not_up(worker, detail, why.output, hung=hung)
        begun = self._blame.of(worker, event)
        doubt = event.all_begun and self._rules.fresh and why.reason != "left"
        if doubt:
            spared = [id for id, guilty in begun if not guilty]
            self._suspect([id for id in spared if not unwanted.get(id)])
        for id, guilty in begun:
            worker.drop(id)
            # What was only recalled, and had begun, is judged as if it were still wanted.
            if unwanted.pop(id, False):
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
                self._clocks.set(None, Clock.BACKOFF, self._rules.first_pause)

    def not_started(self, worker: Worker, why: str) -> None:
        """There will be no such worker."""
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

    def _kill(self, worker: Worker, reason: str, why: str = "") -> None:
        self._roster.go(worker, State.KILLED)
        self._actions.append(Kill(worker.id, reason, why))
        self._clocks.set(worker, Clock.DEATH, self._rules.unkillable)

    def _remove(self, worker: Worker) -> None:
        """A worker is gone; what it has left it has not begun."""
        self._returns.requeue(worker, list(worker.jobs))
        self._roster.remove(worker)

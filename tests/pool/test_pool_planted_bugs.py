"""Bugs are planted in the pool machine, one at a time, and the simulation finds each.

What is replaced must be in the source, or the test fails: so this stays in step.
"""

from __future__ import annotations

import pytest

from tests.pool.simulation import play
from tests.pool.watched import Watched

MACHINE, DEATHS, RETURNS, DISPATCHER, ROSTER, QUEUE, CLOCKS, CLOCK, STARTS = (
    "machine", "deaths", "returns", "dispatcher", "roster", "queue", "clocks", "clock",
    "start_backoff",
)  # fmt: skip
WORKERS, BLAME, PROMISES, ACCOUNT = "workers", "blame", "promises", "account"
SEEDS = 3000  # most are found within 20

# What goes wrong: where, what is replaced, by what.
BUGS: dict[str, tuple[str, str, str]] = {
    "a result counts that nobody waits for any more": (
        MACHINE,
        "                    continue  # nobody waits for its end any more\n",
        "                    pass\n",
    ),
    "what a dead worker had not begun is lost": (
        DEATHS,
        (
            "        self._returns.requeue(worker, list(worker.jobs))\n"
            "        self._roster.remove(worker)\n"
        ),
        "        worker.jobs.clear()\n        self._roster.remove(worker)\n",
    ),
    "what a dead worker had begun is run again without a word": (
        DEATHS,
        "        for id, guilty in begun:\n",
        "        for id, guilty in ():\n",
    ),
    "those that ran before are blamed too": (
        BLAME,
        "return [(id, id == event.running and guilty) for id in ids[: place + 1]]",
        "return [(id, event.why.guilty) for id in ids[: place + 1]]",
    ),
    "those that ran before are run again": (
        BLAME,
        "for id in ids[: place + 1]]",
        "for id in ids[place : place + 1]]",
    ),
    "a cancelled job is blamed for the death that ends it": (
        DEATHS,
        'replace(why, reason="cancelled", guilty=False)',
        "why",
    ),
    "what was recalled too late is not held against anybody": (
        RETURNS,
        "self.unwanted[id] = stop or self.unwanted.get(id, False)",
        "self.unwanted[id] = True",
    ),
    "who nobody wants is sent out again": (
        RETURNS,
        "                self._tell.append(Lost(id, NOT_BEGUN))\n            else:\n",
        "                kept.append(job)\n            else:\n",
    ),
    "a cancelled job that runs on is left alone": (
        RETURNS,
        "                worker.doomed |= mine\n",
        "",
    ),
    "a worker is killed for a cancelled job that it has not begun": (
        DEATHS,
        "            if running in worker.doomed:\n",
        "            if worker.doomed:\n",
    ),
    "a time limit is forgotten when the job has not begun": (
        DEATHS,
        "            self._roster.runs(worker, worker.limited, clocks.now)\n",
        "            pass\n",
    ),
    "a job that began behind another's back has no limit": (
        DEATHS,
        "            self._roster.runs(worker, running, clocks.now)\n",
        "            pass\n",
    ),
    "a job is killed by the limit of another": (
        DEATHS,
        "            if running == worker.limited:\n",
        "            if running is not None:\n",
    ),
    "what a worker runs is run elsewhere too": (
        DEATHS,
        "[id for id in worker.behind(running) if id in asked]",
        "[id for id in worker.jobs if id in asked]",
    ),
    "what was not recalled is run elsewhere too": (
        DEATHS,
        "[id for id in worker.behind(running) if id in asked]",
        "worker.behind(running)",
    ),
    "who has not answered a recall gets the same jobs again": (
        DEATHS,
        "            if running is not None:\n                asked.discard(running)\n",
        "            asked.clear()\n",
    ),
    "the answer to a recall is told as a loss": (
        MACHINE,
        "                if type(report) is Lost and not report.why.started:\n",
        "                if False:\n",
    ),
    "jobs are recalled twice": (
        DISPATCHER,
        "        ids = [id for id in ids if id not in worker.asked]\n",
        "",
    ),
    "a frozen worker is waited for": (
        DEATHS,
        "        if worker.silent >= self._rules.frozen:\n",
        "        if worker.silent >= 1e9:\n",
    ),
    "a stopped worker is killed too soon": (
        DEATHS,
        "        if worker.silent >= self._rules.frozen:\n",
        "        if worker.silent >= self._rules.frozen / 2:\n",
    ),
    "the silence of a long task is taken for death": (
        DEATHS,
        "worker.state is not State.STARTING and not event.works",
        "worker.state is not State.STARTING",
    ),
    "a channel's end takes back what runs": (
        DEATHS,
        "ran = worker.state is State.STARTING or event.running in worker.jobs",
        "ran = worker.state is State.STARTING",
    ),
    "who does not die is waited for": (
        DEATHS,
        '            self._actions.append(Kill(worker.id, ""))\n',
        "",
    ),
    "our own pause is held against workers": (
        CLOCK,
        "            pause = gap - self.patience\n",
        "            pass\n",
    ),
    "a clock is lost when another is set": (
        CLOCKS,
        "            if due.get(clock) == at:\n",
        "            if due.get(clock) == at and len(due) < 2:\n",
    ),
    "a suspect has others beside it": (
        WORKERS,
        "not (self.alone or self.single or self.retiring or self.promised or self.kept)",
        "not (self.retiring or self.promised or self.kept)",
    ),
    "a suspect gets a worker that has run something": (
        DISPATCHER,
        "and not (job.alone and worker.begun)",
        "",
    ),
    "a suspect is tried in a pool that others may kill": (
        DISPATCHER,
        "return (worker.single or self._rules.slots == 1) and not",
        "return not",
    ),
    "a pool's death is blamed on all that were in it": (
        BLAME,
        "sure = guilty and (worker.alone or not self._rules.fresh)",
        "sure = guilty",
    ),
    "who may have killed a pool goes into the next with all others": (
        BLAME,
        "        self._queue.suspects.update(task for task, _ in ids)\n",
        "        pass\n",
    ),
    "a worker for suspects is kept when there are none": (
        DISPATCHER,
        "                self._dismiss(single)\n        if",
        "                pass\n        if",
    ),
    "two suspects at once": (
        DISPATCHER,
        "        if any(worker.alone for worker in workers):\n            return\n",
        "",
    ),
    "a place is kept free for a suspect that nobody wants any more": (
        RETURNS,
        "            self._roster.retire_nobody()\n",
        "            pass\n",
    ),
    "jobs go to who was asked for its own": (
        DISPATCHER,
        "        if worker.asked and self._rules.in_order:\n            return 0\n",
        "",
    ),
    "nobody is started after a failure": (
        DEATHS,
        "            self._clocks.set(None, Clock.BACKOFF, pause)\n",
        "            self._clocks.set(None, Clock.BACKOFF, 1e9)\n",
    ),
    "one failed start gives the run up": (
        STARTS,
        "return self.failures >= self._rules.bad_starts",
        "return self.failures >= 1",
    ),
    "more workers than there may be": (
        DISPATCHER,
        "and roster.living < rules.workers:",
        "and roster.living <= rules.workers:",
    ),
    "an idle worker watches others that have too much": (
        DISPATCHER,
        "            clocks.set(None, Clock.BALANCE, max(wait, self._rules.silence))\n",
        "            pass\n",
    ),
    "a worker that was full is never looked at again": (
        ROSTER,
        "        self.open[worker.id] = worker\n        few",
        "        few",
    ),
    "a second limit on the same worker is not set": (
        ROSTER,
        "        worker.limited = id\n",
        "        worker.limited = worker.limited or id\n",
    ),
    "the slots of the dead are counted": (
        ROSTER,
        "                self.slots -= worker.slots\n            self.open",
        "                pass\n            self.open",
    ),
    "a job that another was to have is lost on the way back": (
        MACHINE,
        "                if type(report) is Lost and not report.why.started:\n",
        "                if False:\n",
    ),
    "what others wait for stays where it is": (
        MACHINE,
        "            self._dispatcher.shrunk.append(worker)\n",
        "            pass\n",
    ),
    "work ahead where others have slots": (
        DISPATCHER,
        "        ahead = worker.waits and not worker.asked\n",
        "        ahead = not worker.asked\n",
    ),
    "the first death of a whole worker is held against its jobs": (
        BLAME,
        "        return deaths > self._rules.spared\n",
        "        return True\n",
    ),
    "no death of a whole worker is ever held against a job": (
        BLAME,
        "        return deaths > self._rules.spared\n",
        "        return False\n",
    ),
    "who joins is sent jobs before it is up": (
        MACHINE,
        "self._roster.join(event.worker, 0)",
        "self._roster.join(event.worker, 2)",
    ),
    "who joins and never comes up is waited for": (
        MACHINE,
        "            self._clocks.set(worker, Clock.START, event.limit)\n",
        "            pass\n",
    ),
    "given up though somebody is there": (
        ROSTER,
        "        if manned:\n            self.clocks.forget_absence()\n",
        "",
    ),
    "jobs that were dropped are still there": (
        QUEUE,
        "            queue.extend(kept)\n",
        "            queue.extend(kept or [job])\n",
    ),
    "a follower is sent where only some of what it needs is": (
        ROSTER,
        "return worker if all(id in worker.jobs for id in ids) else None",
        "return worker",
    ),
    "a follower is sent with others than it needs": (
        QUEUE,
        "            if not all(id in before or id in has for id in job.after):\n",
        "            if False:\n",
    ),
    "a follower that cannot run is forgotten": (
        MACHINE,
        "            self._tell += [Lost(job.id, NOT_BEGUN) for job in dispatcher.strays]\n",
        "",
    ),
    "a follower is kept that follows nobody any more": (
        RETURNS,
        "        self._dispatcher.strays += self._queue.requeue(kept)\n",
        (
            "        waiting = self._queue.jobs\n"
            "        waiting.extendleft(reversed(kept))\n        waiting.rotate(-1)\n"
        ),
    ),
    "followers go where others wait for slots": (
        DISPATCHER,
        "if not (worker.waits and worker.takes_more and",
        "if not (worker.takes_more and",
    ),
    "followers stay where others wait for slots": (
        DISPATCHER,
        "waiting = dict.fromkeys([*followers, *worker.spare])",
        "waiting = dict.fromkeys(worker.spare)",
    ),
    "followers go to who is about to end": (
        DISPATCHER,
        " and worker.state in LIVING) or worker.asked",
        ") or worker.asked",
    ),
    "who follows what has ended is not seen": (
        WORKERS,
        "            if left > 0:\n",
        "            if left >= 0:\n",
    ),
    "devices are handed out twice": (
        ACCOUNT,
        "used = {name for promise in self.promises.values() for name in promise.devices}",
        "used = set[str]()",
    ),
    "more memory is promised than there is": (
        ACCOUNT,
        "memory = needs.memory + sum(one.memory for one in taken)",
        "memory = needs.memory",
    ),
    "more cores are promised than there are": (
        PROMISES,
        "return account.there.cpus - account.cpus - plain",
        "return account.there.cpus - account.cpus",
    ),
    "jobs that need nothing begin where all cores are promised": (
        DISPATCHER,
        "limited = bool(rules.workers) and not self.promises.is_idle",
        "limited = False",
    ),
    "a promise outlives its job": (
        PROMISES,
        "            if worker is None or id not in worker.jobs:\n",
        "            if worker is None:\n",
    ),
    "a suspect with needs is promised nothing": (
        DISPATCHER,
        "            self._promise(fresh, job)\n",
        "            self._send(fresh, [job], self._queue.times.expected(job.call))\n",
    ),
}
FOUND = (AssertionError, AttributeError, LookupError, RecursionError, pytest.fail.Exception)


# Where those are that take long to find; if the machine changes, they are found all the same.
HINTS = {
    "a worker is killed for a cancelled job that it has not begun": 241,
    "a job that began behind another's back has no limit": 170,
    "jobs go to who was asked for its own": 29,
    "a cancelled job that runs on is left alone": 179,
    "a job is killed by the limit of another": 191,
    "jobs are recalled twice": 161,
    "a place is kept free for a suspect that nobody wants any more": 34,
    "what was not recalled is run elsewhere too": 106,
    "a time limit is forgotten when the job has not begun": 81,
    "no death of a whole worker is ever held against a job": 57,
    "followers go where others wait for slots": 303,
    "followers stay where others wait for slots": 966,
    "devices are handed out twice": 32,
    "followers go to who is about to end": 70,
}


@pytest.mark.parametrize("bug", BUGS)
def test_found(bug: str) -> None:
    part, old, new = BUGS[bug]
    watched = Watched({part: [(old, new)]})
    with pytest.raises(FOUND):
        _play(watched, HINTS.get(bug, 0))


def _play(watched: Watched, hint: int) -> None:
    for seed in (hint, *range(SEEDS)):
        play(watched, seed)

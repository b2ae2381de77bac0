"""Bugs are planted in the scheduler, one at a time, and the state machine finds each.

It does so by the runs that `test_none_is_found` lets the scheduler itself go through.

What is replaced must be in the source, or the test fails: so this stays in step.
"""

from __future__ import annotations

import pytest

from tests.core.scheduler_model import Watched
from tests.core.scheduler_play import play
from tests.core.test_scheduler_machine import Machine

RUNS = 600  # each of the bugs is found within 262

SCHEDULER, NEEDS, FOLLOWERS, LEVELS = "scheduler", "dependencies", "followers", "levels"

# What goes wrong: where, what is replaced, by what.
BUGS: dict[str, tuple[str, str, str]] = {
    "an attempt that ended stays in flight": (
        SCHEDULER,
        "                flying.remove(id)\n",
        "                pass\n",
    ),
    "attempts that ended together stay in flight": (
        SCHEDULER,
        "            flying.difference_update(ids)\n",
        "",
    ),
    "the ends of attempts that nobody wants any more count": (
        SCHEDULER,
        "if one is not None and one.state is RUNNING]",
        "if one is not None]",
    ),
    "an end that is told twice at once counts twice": (
        SCHEDULER,
        " and len(set(ids)) == len(ids):",
        ":",
    ),
    "the end of an attempt that nobody wants any more counts": (
        SCHEDULER,
        "            if record is not None and record.state is RUNNING:\n",
        "            if record is not None:\n",
    ),
    "one job more than there is room for": (
        SCHEDULER,
        "needs.take(needs.ready, READY, RUNNING, room)",
        "needs.take(needs.ready, READY, RUNNING, room + 1)",
    ),
    "jobs are sent ahead to no worker": (
        SCHEDULER,
        "event.count + event.ahead if event.count > 0 else 0",
        "event.count + event.ahead",
    ),
    "a job is sent twice when it was wanted twice": (
        NEEDS,
        "                record.state = then\n",
        "",
    ),
    "what is known to need nothing waits to be looked at": (
        NEEDS,
        "                if record.state is NEW:\n",
        "                if True:\n",
    ),
    "a death without guilt is paid for": (
        SCHEDULER,
        "record.losses += event.guilty",
        "record.losses += 1",
    ),
    "one loss too many": (
        SCHEDULER,
        "record.losses >= self.max_losses)",
        "record.losses > self.max_losses)",
    ),
    "a task is tried again before its time": (
        SCHEDULER,
        "            record.state = DELAYED\n            self._delays.add(id[0])\n",
        "            self._dependencies.make_ready(id[0], record)\n",
    ),
    "what waits for its time is stuck": (
        SCHEDULER,
        "        if self.delayed or self._levels.one_goes_on_aside():\n",
        "        if self._levels.one_goes_on_aside():\n",
    ),
    "a time that has come is forgotten": (
        SCHEDULER,
        "            if record is not None and record.state is DELAYED:\n",
        "            if record is not None and record.state is DELAYED and record.held > 1:\n",
    ),
    "a time that comes late begins a task again": (
        SCHEDULER,
        "            if record is not None and record.state is DELAYED:\n",
        "            if record is not None:\n",
    ),
    "what may run only once is begun again": (
        SCHEDULER,
        "once = event.begun and self.max_losses <= 1",
        "once = False",
    ),
    "an attempt that was granted is not made": (
        SCHEDULER,
        "forgiven = record.retries > 0 or event.again",
        "forgiven = record.retries > 0",
    ),
    "a final failure is tried again": (
        SCHEDULER,
        "if forgiven and not event.final:",
        "if forgiven:",
    ),
    "jobs go out before what they need is told": (
        SCHEDULER,
        (
            "        if needs.settled or needs.cancelled:\n            self._report(actions)\n"
            "        if needs.ready or needs.followers:\n            self._submit(actions)\n"
        ),
        (
            "        if needs.ready or needs.followers:\n            self._submit(actions)\n"
            "        if needs.settled or needs.cancelled:\n            self._report(actions)\n"
        ),
    ),
    "values go that tasks not grown yet refer to": (
        SCHEDULER,
        "if needs.next(needs.new, NEW) is not None:",
        "if not needs.idle:",
    ),
    "values go that a module's main may refer to": (
        SCHEDULER,
        "                if not levels.is_held_up():\n                    self._sweep(actions)\n",
        "                self._sweep(actions)\n",
    ),
    "two modules at once": (
        LEVELS,
        (
            "        if len(self.computing) - len(self.beside) >= len(self.waits):\n"
            "            return True\n"
        ),
        "",
    ),
    "a module is computed on top of one that does not need it": (
        SCHEDULER,
        "            if wait < self._levels.waits[-1]:\n",
        "            if wait < 0:\n",
    ),
    "what only gathers waits for a blocked module that does not need it": (
        NEEDS,
        "_ANY_WAIT if record.hidden else record.wait",
        "record.wait",
    ),
    "a module that a blocked one waits for has to wait its turn": (
        NEEDS,
        "                stack.extend(record.needs)\n",
        "",
    ),
    "an unfolded task keeps what it needed to run": (
        SCHEDULER,
        "            self._dependencies.leave(before)\n",
        "",
    ),
    "a task is run again when what it returned is done": (
        NEEDS,
        "                    ended.append((user, waiting))\n",
        "                    self.make_ready(user, waiting)\n",
    ),
    "what a task waits for as well is not waited for": (
        NEEDS,
        "        record.missing += missing\n",
        "        record.missing = record.missing or missing\n",
    ),
    "what is over is kept for the sake of a task that waits for more": (
        NEEDS,
        "        self.leave(over)\n",
        "",
    ),
    "a patient task fails with the first that fails": (
        NEEDS,
        "                if not waiting.root:\n",
        "                if waiting.root:\n",
    ),
    "a patient task is done in spite of what failed": (
        NEEDS,
        "                elif waiting.root > 0:\n",
        "                elif waiting.root > 10**9:\n",
    ),
    "a patient task forgets what failed before it was told of it": (
        NEEDS,
        "        if root and record.root == PATIENT:\n            record.root = root\n",
        "",
    ),
    "a module that pauses is ready at once": (
        SCHEDULER,
        "            record.state = DELAYED\n            self._delays.add(event.id[0])\n",
        "            self._dependencies.make_ready(event.id[0], record)\n",
    ),
    "a need that has failed before is waited for": (
        NEEDS,
        "root = root or known.root",
        "missing += 1",
    ),
    "a task fails twice because of two needs": (
        NEEDS,
        "                continue  # by another of its needs\n",
        "                pass\n",
    ),
    "a task that goes on after failures is run in spite of them": (
        NEEDS,
        "        if record.root > 0:\n",
        "        if record.root > 0 and record.state is not WAITING:\n",
    ),
    "who follows is told of a failure only at its end": (
        FOLLOWERS,
        "                    or record.root > 0\n",
        "",
    ),
    "a failure is not told to who waits until all is over": (
        NEEDS,
        "                if self._root:\n",
        "                if not self._root:\n",
    ),
    "what nobody wants any more goes on": (
        NEEDS,
        "            if record.state not in SETTLED:\n                self.cancel(task, record)\n",
        "            if record.state not in SETTLED:\n                continue\n",
    ),
    "a circle blames who only waits for it": (
        SCHEDULER,
        "culprit = circle[0] if circle[0] == circle[-1] else task",
        "culprit = task",
    ),
    "stuck, though the blocked module has its result": (
        LEVELS,
        "            return self._asked[-1]\n",
        "            return list(self._records)\n",
    ),
    "a drop that comes twice counts twice": (
        SCHEDULER,
        "            if pins:\n",
        "            if task in self._tasks:\n",
    ),
    "tasks are still to be grown after a halt": (
        SCHEDULER,
        "        self._growing = 0\n        self._levels.clear()\n",
        "        self._levels.clear()\n",
    ),
    "what was looked at besides counts as what was to be": (
        SCHEDULER,
        "            if record.state is GROWING:\n",
        "            if record.state in (GROWING, NEW):\n",
    ),
    "a task follows what is not sent": (
        FOLLOWERS,
        "                    or record.unsent\n",
        "",
    ),
    "a task follows where it came back from": (
        FOLLOWERS,
        "            self._waits.add(task)\n",
        "            pass\n",
    ),
    "more tasks follow than may": (
        FOLLOWERS,
        "few = most - len(self.sent)",
        "few = most",
    ),
    "a suspect follows": (
        FOLLOWERS,
        "                    or record.losses\n",
        "",
    ),
    "to come back counts as an attempt": (
        SCHEDULER,
        "                record.attempt -= 1\n",
        "",
    ),
    "who follows what comes back is thought to be sent": (
        NEEDS,
        "                waiting.unsent += 1\n",
        "                pass\n",
    ),
    "who follows what has failed goes on": (
        NEEDS,
        "waiting.state in SETTLED:\n                    continue\n",
        "waiting.state in (RUNNING, *SETTLED):\n                    continue\n",
    ),
    "a follower that is lost begins before what it needs is done": (
        NEEDS,
        "        if not record.missing:\n            self.make_ready",
        "        if True:\n            self.make_ready",
    ),
    "what is known is still thought to be looked at": (
        SCHEDULER,
        "                self._growing -= 1\n                known.append((task, record))\n",
        "                known.append((task, record))\n",
    ),
    "what is known is not told to who waits for it": (
        SCHEDULER,
        "        self._dependencies.finish(known)\n",
        "        for _, record in known:\n            record.state = DONE\n",
    ),
    "what is known counts though nobody wants it any more": (
        SCHEDULER,
        (
            "            if record is not None and record.state is GROWING:\n"
            "                self._growing -= 1\n                known"
        ),
        (
            "            if record is not None:\n"
            "                self._growing -= record.state is GROWING\n                known"
        ),
    ),
    "a main that is aside holds up others": (
        LEVELS,
        "        if len(self.computing) - len(self.beside) >= len(self.waits):\n",
        "        if len(self.computing) >= len(self.waits):\n",
    ),
    "a main that ended is still aside": (
        LEVELS,
        "        self.beside.pop(id, None)\n",
        "",
    ),
    "stuck, though a main goes on aside": (
        SCHEDULER,
        "        if self.delayed or self._levels.one_goes_on_aside():\n",
        "        if self.delayed:\n",
    ),
    "what a main waits for aside is forgotten": (
        LEVELS,
        "            self.beside[id] = awaits\n",
        "            self.beside[id] = ()\n",
    ),
    "who waits below is not aside when another thread drives": (
        LEVELS,
        "        for level, id in enumerate(stack, 1):\n",
        "        for level, id in enumerate(stack[-1:], 1):\n",
    ),
    "a halt leaves mains aside": (
        LEVELS,
        "        self.beside.clear()\n",
        "",
    ),
    "what is stuck is given up before what a main waits for aside": (
        LEVELS,
        "            return list(self.beside.values())[-1]\n",
        "            return list(self._records)\n",
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_found(bug: str) -> None:
    part, old, new = BUGS[bug]
    watched = Watched({part: [(old, new)]})
    machine = type("Machine", (Machine,), {"watched": watched})
    with pytest.raises((AssertionError, KeyError)):
        _play(machine)


@pytest.mark.slow
def test_none_is_found() -> None:
    _play(Machine)


def _play(machine: type[Machine]) -> None:
    for seed in range(RUNS):
        play(machine, seed)

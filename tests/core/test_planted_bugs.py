"""Bugs are planted in the scheduler, one at a time, and the state machine finds each.

What is replaced must be in the source, or the test fails: so this stays in step.
"""

from __future__ import annotations

import hypothesis
import pytest

from tests.core.scheduler_model import Watched
from tests.core.test_scheduler_machine import Machine, run

SCHEDULER, NEEDS = "scheduler", "dependencies"
EXAMPLES = 1500  # most are found within 50
AT_ONCE = 30

# What goes wrong: where, what is replaced, by what.
BUGS: dict[str, tuple[str, str, str]] = {
    "an attempt that ended stays in flight": (
        SCHEDULER,
        "            self._flying.remove(id)\n",
        "            if id not in self._flying:\n                raise KeyError\n",
    ),
    "the end of an attempt that nobody wants any more counts": (
        SCHEDULER,
        "return record if record is not None and record.state is RUNNING else None",
        "return record",
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
        "            record.state = DELAYED\n",
        "            self._dependencies.make_ready(id[0], record)\n",
    ),
    "what waits for its time is stuck": (
        SCHEDULER,
        "return not self.delayed and needs.next(needs.ready, READY) is None",
        "return needs.next(needs.ready, READY) is None",
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
            "        if needs.ready:\n            self._submit(actions)\n"
        ),
        (
            "        if needs.ready:\n            self._submit(actions)\n"
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
        "                if not self._main_goes_on():\n                    self._sweep(actions)\n",
        "                self._sweep(actions)\n",
    ),
    "two modules at once": (
        SCHEDULER,
        "        if len(self._computing) >= len(self._waits):\n            return True\n",
        "",
    ),
    "a module is computed on top of one that does not need it": (
        SCHEDULER,
        "            if wait < self._waits[-1]:\n",
        "            if wait < 0:\n",
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
    "what nobody wants is cancelled in spite of keep_going": (
        NEEDS,
        "                if self.keep_going:\n                    continue\n",
        "",
    ),
    "a circle blames who only waits for it": (
        SCHEDULER,
        "culprit = circle[0] if circle[0] == circle[-1] else task",
        "culprit = task",
    ),
    "stuck, though the blocked module has its result": (
        SCHEDULER,
        "for task in self._asked[-1] if blocked else list(tasks):",
        "for task in list(self._pins):",
    ),
    "a drop that comes twice counts twice": (
        SCHEDULER,
        "            if pins:\n",
        "            if task in self._tasks:\n",
    ),
    "tasks are still to be grown after a halt": (
        SCHEDULER,
        "        self._growing = 0\n        self._computing.clear()\n",
        "        self._computing.clear()\n",
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_found(bug: str) -> None:
    part, old, new = BUGS[bug]
    watched = Watched({part: [(old, new)]})
    machine = type("Machine", (Machine,), {"watched": watched})
    with pytest.raises((AssertionError, KeyError)):
        _search(machine)


def _search(machine: type[Machine]) -> None:
    # Each start begins with small examples, which find little: so few of those, and many starts.
    for seed in range(EXAMPLES // AT_ONCE):
        run(hypothesis.seed(seed)(machine), AT_ONCE, shrink=False)

"""The scheduler: a state machine that decides, and does nothing else.

It knows tasks by number.  It has no values, clocks, threads, sockets or logs:
`handle(event)` changes its state and returns the actions that the driver must
carry out.  The same events give the same actions, so a recorded run replays as
a unit test.  States, transitions, events and actions stand in `_engine.machine.states`,
who needs whom in `dependencies`, what is sent behind what it needs in `followers`, and
which modules may be computed while others wait in `levels`.

How it works
    A task is *demanded* by a root or by a task that needs it.  Nothing is known
    of it until it is *grown*: only then are its inputs looked at, and what they
    refer to is demanded in turn.  A task whose needs are all done becomes *ready*;
    one that is known to need nothing is so from the start.  Ready tasks leave in
    the order last in, first out, which finishes one branch before the next begins;
    ready modules, which make more tasks, only while there is room for more jobs,
    so a wide graph does not pile up.  A task that returns references is *unfolded*:
    it gives its slot back and is done when what it returned is done.  So nesting
    cannot deadlock.

What nobody holds
    A task is held by pins and by unsettled tasks that need it.  When nobody holds
    it, its value is released; if it is not settled, it is cancelled.  Neither may
    happen while some demanded task is not grown, or a module's main goes on:
    nobody knows then who else needs it.  So tasks are grown at once, some at each
    event to let results in, and what nobody holds is put aside until it is sure.

Budgets
    `retries` pays for exceptions of the user's code, `max_losses` for deaths of
    workers.  A job that was lost without guilt (it only waited in the worker
    that died) pays nothing; but with one loss allowed, what may have begun is
    never begun again.  A task whose next death would be its last is a suspect:
    its job asks to be run alone.  After an exception the next attempt may have to wait
    for its time, which only the driver knows: until then the task is *delayed*, and
    takes no room.

Followers
    Where the backend takes them, a task that waits for one need only, which is with the
    backend, is sent right behind that, to run where it is made: a *follower*.  The
    backend gives it back, not begun, if it cannot run there; then it waits as others
    do, unless its needs came back too.  So many may be on their way as were of use
    lately, and never so many that nothing else finds room.

What was refused
    A priority queue: a stack gives depth first for nothing, and is put in order where
    somebody has given priorities.  A state "cancelling":
    a cancelled task is settled at once, and its job is only in flight.  To grow
    only what there is room for: a value would be released, or a task cancelled,
    that tasks not grown yet refer to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fancypipe_core._engine.machine.dependencies import Dependencies
from fancypipe_core._engine.machine.followers import Followers
from fancypipe_core._engine.machine.levels import Levels
from fancypipe_core._engine.machine.records import Record, chain, check_records, sentence
from fancypipe_core._engine.machine.states import (
    SETTLED,
    Action,
    Apart,
    Aside,
    CameBack,
    Cancel,
    Compute,
    Demand,
    Drop,
    Due,
    Event,
    Extended,
    Failed,
    Grow,
    Grown,
    Halt,
    Id,
    Known,
    Level,
    Paused,
    Release,
    Retried,
    Returned,
    Room,
    Settled,
    State,
    Stuck,
    Submit,
    Unfolded,
    WorkerLost,
)

__all__ = ["Scheduler"]

# Global names of the members: an attribute of an Enum costs ten times as much.
NEW, GROWING, WAITING, READY, DELAYED, RUNNING, UNFOLDED, DONE, FAILED, CANCELLED = State

OVER = (*SETTLED, None)

_GROW_AT_ONCE = 256


class Scheduler:
    """The machine.

    Args:
        max_losses: How often the workers of one task may die before it fails.
        keep_going: Whether a task fails only when all that it needs is over: so what does not need
            the failure is run all the same.
        make: Returns a new record for a task: NEW, or READY if it is known to need nothing.
            The machine keeps it until it is released.
        follow: Whether tasks may be sent to follow what they need.

    Attributes:
        strays: Attempts of which an end was told that were not under way: whoever looks at
            them takes them out.
    """

    def __init__(
        self,
        *,
        max_losses: int = 3,
        keep_going: bool = False,
        make: Callable[[int], Record] = lambda _task: Record(),
        follow: bool = False,
    ) -> None:
        self.max_losses = max_losses
        self.keep_going = keep_going
        self._dependencies = Dependencies(keep_going, make, follow)
        self._followers = Followers()
        self._tasks = self._dependencies.records
        self._pins: dict[int, int] = {}
        self._levels = Levels(self._tasks)
        self._flying: set[Id] = set()
        self._delays: set[int] = set()  # who is delayed; and some who were, until we look
        self._growing = 0
        self._room = 0
        self._retried: list[Action] = []
        self.strays: list[Id] = []

    def handle(self, event: Event) -> list[Action]:
        """Take an event; return what to do, in this order."""
        _HANDLERS[type(event)](self, event)
        needs = self._dependencies
        actions, self._retried = self._retried, []
        # First what is settled: values must be there before jobs are made of them.
        if needs.settled or needs.cancelled:
            self._report(actions)
        if needs.ready or needs.followers:
            self._submit(actions)
        levels = self._levels
        more = needs.new or needs.modules or self._growing or levels.computing
        if not (more or len(levels.waits) > 1) or not self._expand(actions, event):
            if needs.idle:
                self._sweep(actions)
            if not self._flying and needs.unsettled and self._is_stuck():
                self._give_up(actions)
                if not levels.is_held_up():
                    self._sweep(actions)
        return actions

    # ---- what is asked of it ----

    @property
    def in_flight(self) -> int:
        """How many jobs are with the backend."""
        return len(self._flying)

    @property
    def computing(self) -> int:
        """How many modules' mains are under way."""
        return len(self._levels.computing)

    def computes(self, id: Id) -> bool:
        """Tell whether this attempt at a module is under way, wanted or not."""
        return id in self._levels.computing

    @property
    def level(self) -> int:
        """How many modules are blocked in a wait for a result."""
        return len(self._levels.waits) - 1

    @property
    def mains_go_on(self) -> bool:
        """Whether a main goes on beside the one that drives, or is about to."""
        levels = self._levels
        return bool(levels.computing) and (levels.is_held_up() or levels.one_goes_on_aside())

    @property
    def delayed(self) -> int:
        """How many tasks wait for the time of their next attempt."""
        if self._delays:
            self._delays = {task for task in self._delays if self.state(task) is DELAYED}
        return len(self._delays)

    @property
    def free(self) -> int:
        """How many more jobs there is room for; 0 or less if there is none."""
        return self._room - len(self._flying)

    @property
    def backlog(self) -> int:
        """How many tasks could be with the backend if there were room, or are not looked at yet."""
        needs = self._dependencies
        return len(needs.ready) + len(needs.new) + self._growing

    def under_way(self) -> list[Id]:
        """Return the jobs that are with the backend, in the order of their numbers."""
        return sorted(self._flying)

    @property
    def unsettled(self) -> int:
        """How many known tasks have not come to their end."""
        return self._dependencies.unsettled

    def state(self, task: int) -> State | None:
        """Return a task's state; None once it was released, or if it was never demanded."""
        record = self._tasks.get(task)
        return None if record is None else record.state

    def waits_for_room(self, task: int) -> bool:
        """Tell whether a task is, or may be, a job that is next when there is room."""
        record = self._tasks.get(task)
        if record is None:
            return False
        if record.local or record.priority < 0:
            return False
        return record.state in (NEW, GROWING, READY)

    def expects(self, id: Id) -> bool:
        """Tell whether the end of this attempt still matters to anybody."""
        if id in self._flying or id in self._levels.computing:
            record = self._tasks.get(id[0])
            return record is not None and record.state is RUNNING
        return False

    def follows(self, id: Id) -> bool:
        """Tell whether this attempt was sent to follow what it needs, and has not ended."""
        return self._followers.follows(id)

    def culprits(self, task: int) -> set[int]:
        """Return a failed task and those because of which it failed, where a task waits for all."""
        because, found = self._dependencies.because, {task}
        todo = [task]
        while todo:
            new = set(because.get(todo.pop(), ())) - found
            found |= new
            todo += new
        return found

    def blamed(self) -> set[int]:
        """Return the failed tasks because of which known ones have failed, or will."""
        found: set[int] = set()
        for task, record in self._tasks.items():
            if record.root > 0:
                found.add(record.root)
                if self.keep_going:
                    found |= self.culprits(task)
        return found

    def forget(self, tasks: Iterable[int]) -> None:
        """Nobody will ask for the culprits of these any more."""
        for task in tasks:
            self._dependencies.because.pop(task, None)

    def attempt(self, task: int) -> int:
        """Return the number of a task's latest attempt, 0 before the first."""
        record = self._tasks.get(task)
        return 0 if record is None else record.attempt

    def suspect(self, id: Id) -> bool:
        """Tell whether one more death of this attempt's worker is the task's last."""
        record = self._tasks.get(id[0])
        return record is not None and record.losses >= max(1, self.max_losses - 1)

    def explain(self, task: int) -> str:
        """Say in a sentence why a task is where it is."""
        text = sentence(self._tasks, task)
        record = self._tasks.get(task)
        if record is None or record.state is not READY:
            return text
        if record.local:
            return f"{text}: {len(self._levels.computing)} modules are under way in the client"
        return f"{text}: {len(self._flying)} jobs in flight, {self._room} allowed"

    def check(self) -> None:
        """Verify every invariant; for tests and `--debug`.

        Raises:
            AssertionError: One does not hold; the text names the task.
        """
        tasks, needs = self._tasks, self._dependencies
        check_records(tasks, self._flying.union(self._levels.computing), self._pins)
        states = [record.state for record in tasks.values()]
        assert needs.unsettled == sum(state not in SETTLED for state in states), "unsettled"
        assert self._growing == states.count(GROWING), "growing"
        assert self.delayed == states.count(DELAYED), "delayed"
        assert not needs.settled, f"not reported: {needs.settled}"
        assert not needs.cancelled, f"not reported: {needs.cancelled}"
        self._levels.check()
        for task, record in tasks.items():
            unsent = [n for n in record.needs if tasks[n].state not in SETTLED]
            unsent = [n for n in unsent if needs.follow and not needs.is_sent(tasks[n])]
            if record.state not in OVER and record.state is not UNFOLDED:
                assert record.unsent == len(unsent), f"{task}: {unsent} are not sent"
            if not record.held:
                assert task in needs.idle, f"{task}: nobody holds it, and nobody knows"

    # ---- events ----

    def _demand(self, event: Demand) -> None:
        for task in event.tasks:
            self._pins[task] = self._pins.get(task, 0) + 1
        wait = self._levels.demand(event.level, event.tasks) if event.level else 0
        self._dependencies.hold(event.tasks, wait)

    def _drop(self, event: Drop) -> None:
        for task in event.tasks:
            pins = self._pins.pop(task, 0)
            if pins > 1:
                self._pins[task] = pins - 1
            if pins:
                self._dependencies.leave((task,))

    def _grown(self, event: Grown) -> None:
        # The first is on top of the stack of what is ready.
        for task, needs, local, retries, bad, delayed in reversed(event.tasks):
            record = self._tasks.get(task)
            if record is None:
                continue
            if record.state is GROWING:
                self._growing -= 1
            elif record.state is NEW:
                record.state = GROWING  # it was looked at with the one that needs it
            else:
                continue
            record.local = local
            record.retries = retries
            record.delayed = delayed
            if bad:
                self._dependencies.fail(task, task)
            elif needs:
                self._dependencies.wait_for(task, record, needs, WAITING)
            else:
                self._dependencies.make_ready(task, record)

    def _known(self, event: Known) -> None:
        known = []
        for task in event.tasks:
            record = self._tasks.get(task)
            if record is not None and record.state is GROWING:
                self._growing -= 1
                known.append((task, record))
        self._dependencies.finish(known)

    def _take_room(self, event: Room) -> None:
        self._room = event.count + event.ahead if event.count > 0 else 0
        self._followers.most = max(1, event.ahead // 2) if event.ahead else 0

    def _returned(self, event: Returned) -> None:
        if self._followers.sent:
            self._followers.ran(event.ids)
        self._dependencies.finish(self._land(event.ids))

    def _unfolded(self, event: Unfolded) -> None:
        record = self._landed(event.id)
        if record is not None:
            before = record.needs
            self._dependencies.forget(event.id[0], record)
            self._dependencies.came_back(record)
            self._dependencies.wait_for(event.id[0], record, event.needs, UNFOLDED)
            # What it needed to run is not needed any more.
            self._dependencies.leave(before)

    def _extended(self, event: Extended) -> None:
        record = self._tasks.get(event.task)
        if record is not None and record.state is UNFOLDED:
            self._dependencies.wait_for_more(event.task, record, event.needs)

    def _paused(self, event: Paused) -> None:
        record = self._landed(event.id)
        if record is not None:
            record.state = DELAYED
            self._delays.add(event.id[0])

    def _failed(self, event: Failed) -> None:
        record = self._landed(event.id)
        if record is None:
            return
        forgiven = record.retries > 0 or event.again
        if forgiven and not event.final:
            record.retries = max(0, record.retries - 1)
            self._again(event.id, record, record.delayed)
        else:
            self._dependencies.fail(event.id[0], event.id[0])

    def _lost(self, event: WorkerLost) -> None:
        record = self._landed(event.id)
        if record is None:
            return
        record.losses += event.guilty
        # What may run only once is not begun again, whoever's fault the loss is.
        once = event.begun and self.max_losses <= 1
        if once or (event.guilty and record.losses >= self.max_losses):
            self._dependencies.fail(event.id[0], event.id[0])
        else:
            self._again(event.id, record)

    def _due(self, event: Due) -> None:
        for task in event.tasks:
            self._delays.discard(task)
            record = self._tasks.get(task)
            if record is not None and record.state is DELAYED:
                self._dependencies.line_up(task, record)

    def _level(self, event: Level) -> None:
        self._levels.set(event.level)

    def _aside(self, event: Aside) -> None:
        self._levels.set_aside(event.id, event.awaits)

    def _apart(self, _event: Apart) -> None:
        self._levels.set_all_aside()

    def _halt(self, _event: Halt) -> None:
        self._growing = 0
        self._levels.clear()
        for task, record in list(self._tasks.items()):
            if record.state not in SETTLED:
                self._dependencies.cancel(task, record)

    def _landed(self, id: Id) -> Record | None:
        """Take an attempt out of flight; None if it is stale or not wanted any more."""
        for _, record in self._land((id,)):
            return record
        return None

    def _land(self, ids: Sequence[Id]) -> list[tuple[int, Record]]:
        """Take attempts out of flight; return the tasks of those that are still wanted."""
        flying, tasks, sent = self._flying, self._tasks, self._followers.sent
        levels = self._levels
        if len(ids) > 1 and flying.issuperset(ids) and len(set(ids)) == len(ids):
            # As below, for all at once.
            flying.difference_update(ids)
            if sent:
                sent.difference_update(ids)
            known = [(task, tasks.get(task)) for task, _ in ids]
            return [(task, one) for task, one in known if one is not None and one.state is RUNNING]
        landed = []
        for id in ids:
            if id in flying:
                flying.remove(id)
            elif id in levels.computing:
                levels.ended(id)
            else:
                self.strays.append(id)  # it is stale
                continue
            if sent:
                sent.discard(id)
            # A further attempt is made only after this: so it is the latest.
            record = tasks.get(id[0])
            if record is not None and record.state is RUNNING:
                landed.append((id[0], record))
        return landed

    def _again(self, id: Id, record: Record, later: bool = False) -> None:
        self._retried.append(Retried(id, later))
        self._dependencies.came_back(record)
        if later:
            record.state = DELAYED
            self._delays.add(id[0])
        else:
            self._dependencies.line_up(id[0], record)

    def _came_back(self, event: CameBack) -> None:
        for id in event.ids:
            if self._followers.follows(id) and (record := self._landed(id)) is not None:
                # That was no attempt, and is no loss.
                record.attempt -= 1
                self._dependencies.came_back(record)
                self._followers.came_back(id[0], final=not record.unsent)
                self._dependencies.line_up(id[0], record)

    # ---- what to do next ----

    def _report(self, actions: list[Action]) -> None:
        needs = self._dependencies
        if needs.settled:
            actions.append(Settled(needs.settled))
            needs.settled = []
        if needs.cancelled:
            unwanted = [id for id in needs.cancelled if id in self._flying]
            if unwanted:
                actions.append(Cancel(unwanted))
            needs.cancelled = []

    def _submit(self, actions: list[Action]) -> None:
        needs = self._dependencies
        room = self._room - len(self._flying)
        batch: list[Id] = []
        if needs.has_priorities and room > 0:
            needs.line_up_by_priority()
            needs.passed += min(room, len(needs.ready))
        if needs.follow:
            batch, after = self._followers.take(needs, room, len(self._flying))
            if batch:
                self._flying.update(batch)
                actions.append(Submit(batch, after))
            return
        for task, record in needs.take(needs.ready, READY, RUNNING, room):
            record.attempt += 1
            batch.append((task, record.attempt))
        if batch:
            self._flying.update(batch)
            actions.append(Submit(batch))

    def _expand(self, actions: list[Action], event: Event) -> bool:
        """Grow tasks or compute a module; tell whether one of these is under way."""
        room = self._room - len(self._flying)
        starving = room > 0 or not self._flying
        needs = self._dependencies
        if needs.new and not self._growing and (starving or not self._is_enough(event)):
            self._grow(actions, room)
        if self._growing or self._levels.is_held_up():
            return True
        return bool(needs.modules) and self._compute(actions, starving)

    def _is_enough(self, event: Event) -> bool:
        """Whether, with work for all, results are to be taken before more is grown."""
        many = isinstance(event, Grown) and len(event.tasks) >= _GROW_AT_ONCE
        return many and len(self._levels.waits) == 1

    def _grow(self, actions: list[Action], room: int) -> None:
        needs = self._dependencies
        most = min(room, _GROW_AT_ONCE) if room > 0 else _GROW_AT_ONCE
        grow = [task for task, _ in needs.take(needs.new, NEW, GROWING, most)]
        if grow:
            self._growing = len(grow)
            # A chain is looked at in one turn; of what is wide each turn has many anyway.
            actions.append(Grow(grow, _GROW_AT_ONCE - 1 if len(grow) == 1 else 0))

    def _compute(self, actions: list[Action], starving: bool) -> bool:
        """Compute the next module, if there is reason to."""
        needs, modules = self._dependencies, self._dependencies.modules
        while modules:
            wait = max(modules)
            if wait < self._levels.waits[-1]:
                return False  # nothing that the blocked module waits for
            record = needs.next(modules[wait], READY)
            if record is None:
                del modules[wait]
                continue
            # With work for all: only what is more urgent than the jobs.
            job = needs.next(needs.ready, READY)
            if not starving and wait <= (job.wait if job is not None else 0):
                return False
            record.state = RUNNING
            record.attempt += 1
            id = (modules[wait].pop(), record.attempt)
            self._levels.computing.append(id)
            actions.append(Compute(id))
            return True
        return False

    def _sweep(self, actions: list[Action]) -> None:
        """Let go of what nobody holds, if all is known that may be needed."""
        needs = self._dependencies
        if needs.next(needs.new, NEW) is not None:
            return
        released = needs.sweep()
        self._report(actions)
        if released:
            actions.append(Release(released))

    def _is_stuck(self) -> bool:
        """Whether nothing can begin, where nothing is under way."""
        needs = self._dependencies
        if self.delayed or self._levels.one_goes_on_aside():
            return False
        return needs.next(needs.ready, READY) is None

    def _give_up(self, actions: list[Action]) -> None:
        """Fail what waits for itself: what is demanded and cannot go on now never will."""
        tasks = self._tasks
        # What others than the blocked module wait for may have to wait for it.
        for task in self._levels.awaited():
            record = tasks.get(task)
            # Who is patient has to be looked at again: it waits for more than one.
            while record is not None and record.state not in SETTLED:
                circle = chain(tasks, task)
                culprit = circle[0] if circle[0] == circle[-1] else task
                self._dependencies.fail(culprit, culprit)
                actions.append(Stuck([culprit], circle))
        self._report(actions)


_HANDLERS: dict[type, Callable[[Scheduler, Any], None]] = {
    Demand: Scheduler._demand,
    Drop: Scheduler._drop,
    Grown: Scheduler._grown,
    Known: Scheduler._known,
    Room: Scheduler._take_room,
    Returned: Scheduler._returned,
    Unfolded: Scheduler._unfolded,
    Extended: Scheduler._extended,
    Paused: Scheduler._paused,
    Failed: Scheduler._failed,
    CameBack: Scheduler._came_back,
    WorkerLost: Scheduler._lost,
    Due: Scheduler._due,
    Level: Scheduler._level,
    Aside: Scheduler._aside,
    Apart: Scheduler._apart,
    Halt: Scheduler._halt,
}

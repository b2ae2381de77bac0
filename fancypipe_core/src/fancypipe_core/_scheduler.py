"""The scheduler: a state machine that decides, and does nothing else.

It knows tasks by number.  It has no values, clocks, threads, sockets or logs:
`handle(event)` changes its state and returns the actions that the driver must
carry out.  The same events give the same actions, so a recorded run replays as
a unit test.

How it works
    A task is *demanded* by a root or by a task that needs it.  Nothing is known
    of it until it is *grown*: only then are its inputs looked at, and what they
    refer to is demanded in turn.  Growing goes depth first and only while there
    is room for more jobs, so a wide graph does not pile up in memory.  A task
    whose needs are all done becomes *ready*; ready tasks leave in the order last
    in, first out, which finishes one branch before the next begins.  A task that
    returns references is *unfolded*: it gives its slot back and is done when
    what it returned is done.  So nesting cannot deadlock.

    States, transitions, events and actions stand in `_table`.

Budgets
    `retries` pays for exceptions of the user's code, `max_losses` for deaths of
    workers.  A job that was lost without guilt (it only waited in the worker
    that died) pays nothing.

Levels
    A module that waits for a result inside its `main` blocks the driver's
    thread; while it does, only modules that this result needs may be computed
    on top of it, or two modules could wait for each other's frames.  Demands
    carry a level: how many modules are blocked.  Jobs know no levels.

What was refused
    A priority queue: a stack gives depth first for nothing.  A state "cancelling":
    a cancelled task is settled at once, and its job is only in flight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fancypipe_core._table import (
    SETTLED,
    Action,
    Cancel,
    Compute,
    Demand,
    Done,
    Drop,
    Event,
    Failed,
    Grow,
    Grown,
    Halt,
    Id,
    Level,
    Lost,
    Release,
    Retried,
    Settled,
    SettledTask,
    Slots,
    State,
    Stuck,
    Submit,
    Unfolded,
)

__all__ = ["Scheduler"]

# Global names of the members: an attribute of an Enum costs ten times as much.
NEW, GROWING, WAITING, READY, RUNNING, UNFOLDED, DONE, FAILED, CANCELLED = State

_GROW_AT_ONCE = 256


class _Task:
    """One task's record."""

    __slots__ = (
        "attempt", "held", "level", "local", "losses", "missing",
        "needs", "pinned", "retries", "root", "state", "users",
    )  # fmt: skip

    def __init__(self, level: int) -> None:
        self.state = NEW
        self.level = level
        self.attempt = 0
        self.retries = 0
        self.losses = 0
        self.local = False
        self.missing = 0  # needs that are not done
        self.held = 0  # unsettled users, and pins
        self.pinned = 0
        self.needs: Sequence[int] = ()
        self.users: list[int] = []
        self.root = 0


class Scheduler:
    """The machine.

    Args:
        max_losses: How often the workers of one task may die before it fails.
        keep_going: Whether tasks that only failed ones need are run all the same.
    """

    def __init__(self, *, max_losses: int = 3, keep_going: bool = False) -> None:
        self.max_losses = max_losses
        self.keep_going = keep_going
        self._tasks: dict[int, _Task] = {}
        self._new: list[int] = []
        self._ready: list[int] = []
        self._modules: dict[int, list[int]] = {}
        self._flying: set[Id] = set()
        self._computing: list[Id] = []
        self._growing = 0
        self._room = 0
        self._level = 0
        self._unsettled = 0
        self._settled: list[SettledTask] = []
        self._released: list[int] = []
        self._cancelled: list[Id] = []
        self._retried: list[Action] = []
        self._unwanted: list[int] = []
        self._handlers: dict[type, Callable[[Any], None]] = {
            Demand: self._demand, Drop: self._drop, Grown: self._grown, Slots: self._slots,
            Done: self._done, Unfolded: self._unfolded, Failed: self._failed, Lost: self._lost,
            Level: self._set_level, Halt: self._halt,
        }  # fmt: skip

    def handle(self, event: Event) -> list[Action]:
        """Take an event; return what to do, in this order."""
        self._handlers[type(event)](event)
        actions, self._retried = self._retried, []
        # First what is settled: values must be there before jobs are made of them.
        self._report_settled(actions)
        self._dispatch(actions)
        if self._released:
            actions.append(Release(self._released))
            self._released = []
        if self._cancelled:
            actions.append(Cancel(self._cancelled))
            self._cancelled = []
        return actions

    def _report_settled(self, actions: list[Action]) -> None:
        if self._settled:
            actions.append(Settled(self._settled))
            self._settled = []

    # ---- what is asked of it ----

    @property
    def in_flight(self) -> int:
        """How many jobs are with the backend."""
        return len(self._flying)

    @property
    def unsettled(self) -> int:
        """How many known tasks have not come to their end."""
        return self._unsettled

    def state(self, task: int) -> State | None:
        """Return a task's state; None once it was released, or if it was never demanded."""
        record = self._tasks.get(task)
        return None if record is None else record.state

    def expects(self, id: Id) -> bool:
        """Tell whether the end of this attempt still matters to anybody."""
        record = self._tasks.get(id[0])
        return (
            record is not None
            and record.state is RUNNING
            and record.attempt == id[1]
            and (id in self._flying or id in self._computing)
        )

    def attempt(self, task: int) -> int:
        """Return the number of a task's latest attempt, 0 before the first."""
        record = self._tasks.get(task)
        return 0 if record is None else record.attempt

    def explain(self, task: int) -> str:
        """Say in a sentence why a task is where it is."""
        record = self._tasks.get(task)
        if record is None:
            return f"task {task} is not known: never demanded, or settled and released"
        text = f"task {task} {record.state.value}"
        if record.state in (WAITING, UNFOLDED):
            open_needs = [n for n in record.needs if self.state(n) not in SETTLED]
            text += ": " + ", ".join(f"{n} ({self._tasks[n].state.value})" for n in open_needs[:5])
            if len(open_needs) > 5:
                text += f" and {len(open_needs) - 5} more"
        elif record.state is READY:
            text += f": {len(self._flying)} jobs in flight, {self._room} allowed"
        elif record.state is RUNNING:
            text += f": attempt {record.attempt}"
        elif record.state is FAILED and record.root != task:
            text += f": because of task {record.root}"
        return text

    # ---- events ----

    def _demand(self, event: Demand) -> None:
        for task in event.tasks:
            record = self._known(task, event.level)
            record.pinned += 1
            record.held += 1
            if event.level > record.level:
                self._raise_level(task, event.level)

    def _drop(self, event: Drop) -> None:
        for task in event.tasks:
            record = self._tasks.get(task)
            if record is not None and record.pinned:
                record.pinned -= 1
                self._let_go(task, record)

    def _grown(self, event: Grown) -> None:
        tasks = self._tasks
        for task, needs, local, retries, bad in event.tasks:
            record = tasks.get(task)
            if record is None or record.state is not GROWING:
                continue
            self._growing -= 1
            record.local = local
            record.retries = retries
            if bad:
                self._fail(task, record, task)
            else:
                self._wait_for(task, record, needs, READY)

    def _slots(self, event: Slots) -> None:
        self._room = event.count + event.ahead if event.count > 0 else 0

    def _done(self, event: Done) -> None:
        for id in event.ids:
            record = self._landed(id)
            if record is not None:
                self._finish(id[0], record)

    def _unfolded(self, event: Unfolded) -> None:
        record = self._landed(event.id)
        if record is not None:
            self._wait_for(event.id[0], record, event.needs, DONE)

    def _failed(self, event: Failed) -> None:
        record = self._landed(event.id)
        if record is None:
            return
        if record.retries > 0 and not event.final:
            record.retries -= 1
            self._again(event.id, record)
        else:
            self._fail(event.id[0], record, event.id[0])

    def _lost(self, event: Lost) -> None:
        record = self._landed(event.id)
        if record is None:
            return
        record.losses += event.guilty
        if record.losses < self.max_losses:
            self._again(event.id, record)
        else:
            self._fail(event.id[0], record, event.id[0])

    def _set_level(self, event: Level) -> None:
        self._level = event.level

    def _halt(self, event: Halt) -> None:
        for task, record in list(self._tasks.items()):
            if record.state not in SETTLED:
                self._cancel(task, record)

    # ---- how tasks move ----

    def _known(self, task: int, level: int) -> _Task:
        record = self._tasks.get(task)
        if record is None:
            record = self._tasks[task] = _Task(level)
            self._unsettled += 1
            self._new.append(task)
        return record

    def _wait_for(self, task: int, record: _Task, needs: Sequence[int], then: State) -> None:
        """Make a task wait for `needs`; `then` is where it goes when all are done."""
        missing = 0
        root = 0
        before = record.needs
        tasks = self._tasks
        # The last demanded is grown first: so that is the first of the needs.
        for need in reversed(needs):
            known = tasks.get(need)
            if known is None:
                known = tasks[need] = _Task(record.level)
                self._unsettled += 1
                self._new.append(need)
            elif known.level < record.level:
                self._raise_level(need, record.level)
            known.held += 1
            known.users.append(task)
            state = known.state
            if state is FAILED or state is CANCELLED:
                root = root or known.root or need
            elif state is not DONE:
                missing += 1
        record.needs = needs
        record.missing = missing
        record.state = WAITING if then is READY else UNFOLDED
        if then is DONE:
            # What it needed to run is not needed any more.
            self._leave(task, before)
        if root:
            self._fail(task, record, root)
        elif not missing:
            if then is READY:
                self._make_ready(task, record)
            else:
                self._finish(task, record)

    def _make_ready(self, task: int, record: _Task) -> None:
        record.state = READY
        if record.local:
            self._modules.setdefault(record.level, []).append(task)
        else:
            self._ready.append(task)

    def _landed(self, id: Id) -> _Task | None:
        """Take an attempt out of flight; None if it is stale or not wanted any more."""
        if id in self._flying:
            self._flying.discard(id)
        elif id in self._computing:
            self._computing.remove(id)
        else:
            return None
        record = self._tasks.get(id[0])
        if record is None or record.state is not RUNNING or record.attempt != id[1]:
            return None
        return record

    def _again(self, id: Id, record: _Task) -> None:
        self._retried.append(Retried(id))
        self._make_ready(id[0], record)

    def _finish(self, task: int, record: _Task) -> None:
        """Settle a task as done, and whatever is done by that."""
        stack = [(task, record)]
        tasks = self._tasks
        while stack:
            task, record = stack.pop()
            record.state = DONE
            self._unsettled -= 1
            self._settled.append(SettledTask(task, DONE, 0))
            for user in record.users:
                waiting = tasks.get(user)
                if waiting is None or waiting.state is not WAITING and waiting.state is not UNFOLDED:
                    continue
                waiting.missing -= 1
                if not waiting.missing:
                    if waiting.state is WAITING:
                        self._make_ready(user, waiting)
                    else:
                        stack.append((user, waiting))
            record.users = []
            self._leave(task, record.needs)
            record.needs = ()
            if not record.held:
                self._release(task)

    def _fail(self, task: int, record: _Task, root: int) -> None:
        """Settle a task as failed, and all that need it."""
        stack = [(task, record)]
        while stack:
            task, record = stack.pop()
            if record.state in SETTLED:
                continue
            users, needs = self._settle(task, record, FAILED, root)
            for user in users:
                waiting = self._tasks.get(user)
                if waiting is not None and waiting.state in (WAITING, UNFOLDED):
                    stack.append((user, waiting))
            self._leave(task, needs)
            if not record.held:
                self._release(task)

    def _cancel(self, task: int, record: _Task) -> None:
        """Settle a task as cancelled, and all that only it wanted."""
        if record.state is GROWING:
            self._growing -= 1
        elif record.state is RUNNING:
            id = (task, record.attempt)
            if id in self._flying:
                self._cancelled.append(id)
        _, needs = self._settle(task, record, CANCELLED, 0)
        self._leave(task, needs)
        if not record.held:
            self._release(task)

    def _settle(
        self, task: int, record: _Task, state: State, root: int
    ) -> tuple[list[int], Sequence[int]]:
        record.state = state
        record.root = root
        self._unsettled -= 1
        self._settled.append(SettledTask(task, state, root))
        users, record.users = record.users, []
        needs, record.needs = record.needs, ()
        return users, needs

    def _leave(self, task: int, needs: Iterable[int]) -> None:
        """`task` does not need these any more; let go of what nobody else holds."""
        for need in needs:
            record = self._tasks.get(need)
            if record is not None:
                self._let_go(need, record)

    def _let_go(self, task: int, record: _Task) -> None:
        record.held -= 1
        if record.held:
            return
        if record.state in SETTLED:
            self._release(task)
        elif not self.keep_going:
            self._unwanted.append(task)
            if len(self._unwanted) == 1:
                # Not by recursion: a chain of needs may be as long as it likes.
                for other in self._unwanted:
                    unwanted = self._tasks.get(other)
                    if unwanted is not None and not unwanted.held and unwanted.state not in SETTLED:
                        self._cancel(other, unwanted)
                self._unwanted.clear()

    def _release(self, task: int) -> None:
        del self._tasks[task]
        self._released.append(task)

    def _raise_level(self, task: int, level: int) -> None:
        stack = [task]
        while stack:
            task = stack.pop()
            record = self._tasks.get(task)
            if record is None or record.level >= level or record.state in SETTLED:
                continue
            if record.state is READY and record.local:
                self._modules[record.level].remove(task)
                self._modules.setdefault(level, []).append(task)
            record.level = level
            stack.extend(record.needs)

    # ---- what to do next ----

    def _dispatch(self, actions: list[Action]) -> None:
        tasks = self._tasks
        room = self._room - len(self._flying)
        ready = self._ready
        batch: list[Id] = []
        while room > 0 and ready:
            task = ready.pop()
            record = tasks.get(task)
            if record is None or record.state is not READY:
                continue
            record.state = RUNNING
            record.attempt += 1
            batch.append((task, record.attempt))
            room -= 1
        if batch:
            self._flying.update(batch)
            actions.append(Submit(batch))
        if room > 0 or not self._flying:
            self._compute_or_grow(actions, room)
        if self._unsettled and not (self._flying or self._growing or ready):
            self._look_for_stuck(actions)

    def _compute_or_grow(self, actions: list[Action], room: int) -> None:
        tasks = self._tasks
        for level in sorted(self._modules, reverse=True):
            if level < self._level:
                break
            modules = self._modules[level]
            while modules:
                task = modules.pop()
                record = tasks.get(task)
                if record is not None and record.state is READY:
                    record.state = RUNNING
                    record.attempt += 1
                    id = (task, record.attempt)
                    self._computing.append(id)
                    actions.append(Compute(id))
                    # One at a time: what it makes comes before its siblings.
                    return
        if self._growing:
            return
        new = self._new
        grow: list[int] = []
        limit = min(max(room, 1), _GROW_AT_ONCE)
        while new and len(grow) < limit:
            task = new.pop()
            record = tasks.get(task)
            if record is not None and record.state is NEW:
                record.state = GROWING
                grow.append(task)
        if grow:
            self._growing += len(grow)
            actions.append(Grow(grow))

    def _look_for_stuck(self, actions: list[Action]) -> None:
        """Nothing is under way.  If what is demanded can still not go on, it never will."""
        if len(self._computing) > self._level or any(
            self._modules[level] for level in self._modules if level >= self._level
        ):
            return
        if not self._room:
            ready = any(record.state is READY for record in self._tasks.values())
            if ready:
                return
        stuck = [
            task
            for task, record in self._tasks.items()
            if record.pinned and record.level >= self._level and record.state not in SETTLED
        ]
        if not stuck:
            return
        circle = self._circle(stuck[-1])
        for task in stuck:
            record = self._tasks[task]
            if record.state not in SETTLED:
                self._fail(task, record, task)
        actions.append(Stuck(stuck, circle))
        self._report_settled(actions)

    def _circle(self, task: int) -> list[int]:
        """Follow needs that are not settled until one comes twice."""
        seen: dict[int, int] = {}
        chain: list[int] = []
        while task not in seen:
            seen[task] = len(chain)
            chain.append(task)
            record = self._tasks[task]
            following = [n for n in record.needs if self.state(n) not in SETTLED]
            if not following:
                return chain
            task = following[0]
        return [*chain[seen[task] :], task]

    # ---- invariants ----

    def check(self) -> None:
        """Verify every invariant; for tests and `--debug`.

        Raises:
            AssertionError: One does not hold; the text names the task.
        """
        held: Counter[int] = Counter()
        for task, record in self._tasks.items():
            state, needs = record.state, record.needs
            unsettled_needs = [n for n in needs if self.state(n) not in SETTLED]
            if state in (WAITING, UNFOLDED):
                assert record.missing == len(unsettled_needs) > 0, f"{task}: missing {record.missing}"
                assert all(task in self._tasks[n].users for n in unsettled_needs), f"{task}: not a user"
            if state in (READY, RUNNING):
                assert not unsettled_needs, f"{task} is {state.name} but needs {unsettled_needs}"
                assert all(self.state(n) is DONE for n in needs), f"{task}: a value it needs is gone"
            if state in SETTLED:
                assert not needs and not record.users, f"{task}: settled, but tied"
                assert record.held, f"{task}: settled and not held, but not released"
            in_flight = (task, record.attempt) in self._flying or (task, record.attempt) in self._computing
            assert state is not RUNNING or in_flight, f"{task}: running, but nowhere"
            assert state is not READY or record.attempt == 0 or not in_flight, f"{task}: ready and running"
            held.update(needs)
        for task, record in self._tasks.items():
            assert record.held == held[task] + record.pinned, f"{task}: held {record.held}"
        states = Counter(record.state for record in self._tasks.values())
        assert self._unsettled == sum(n for s, n in states.items() if s not in SETTLED)
        assert self._growing == states[GROWING], "growing"
        assert set(held) <= set(self._tasks), "needs of a task that is not known"
        assert not self._settled and not self._released and not self._cancelled and not self._unwanted

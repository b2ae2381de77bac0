"""What the scheduler must do: every action is held against what is known of the tasks.

It shares no code with the scheduler but the table.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from fancypipe_core._engine.machine.states import (
    TRANSITIONS,
    Action,
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
from tests import watched
from tests.core.scheduler_graph import Frame, Graph, Task

__all__ = ["Model", "Watched"]

# In the order in which they import each other.
PARTS = ("records", "dependencies", "followers", "levels", "scheduler")


class Watched(watched.Watched):
    """The scheduler's modules, compiled anew, and the steps of its tasks.

    Args:
        changes: For a module's name, what to replace in its source by what.
    """

    def __init__(self, changes: Mapping[str, Sequence[tuple[str, str]]] | None = None) -> None:
        names = [f"fancypipe_core._engine.machine.{part}" for part in PARTS]
        super().__init__(names, watched.Kind("records", "Record", "wait"), TRANSITIONS, changes)


class Model(Graph):
    """A run, as far as the scheduler is told of it.

    Args:
        watched: The scheduler's modules.
        rnd: Decides what happens.
        keep_going: As the scheduler's.
        max_losses: As the scheduler's.
        at_once: How many tasks the scheduler may grow at once.
        follow: As the scheduler's.
        apart: Whether each main has a thread of its own, from the start.
    """

    def __init__(
        self,
        watched: Watched,
        rnd: Random,
        keep_going: bool,
        max_losses: int,
        at_once: int,
        follow: bool,
        apart: bool,
    ) -> None:
        super().__init__(rnd)
        vars(watched.module)["_GROW_AT_ONCE"] = self.at_once = at_once
        self.scheduler = watched.module.Scheduler(
            max_losses=max_losses, keep_going=keep_going, make=self._record, follow=follow
        )
        self.follow = follow
        self.most = 0  # followers in flight
        self.early: set[Id] = set()  # these
        self.new_record = watched.module.Record
        self.new_gatherer = type("Gatherer", (self.new_record,), {"__slots__": (), "hidden": True})
        self.keep_going = keep_going
        self.max_losses = max_losses
        self.pins: Counter[int] = Counter()
        self.room = 0
        self.frames: list[Frame] = []  # each on top of the one before
        self.beside: list[Frame] = []  # those that are aside
        self.apart = apart
        self.ended: list[Id] = []
        self.roots: set[int] = set()  # the tasks that failed themselves
        self.retried: list[Id] = []
        self.queue: deque[Action] = deque()
        self.computing: list[Id] = []  # what was to be computed, and is not over
        self.halted = False
        self.sound = True

    def _record(self, number: int) -> Any:
        task = self.tasks[number]
        record = self.new_gatherer() if task.gathers else self.new_record()
        record.priority = task.priority
        if task.at_once:
            record.state, record.retries, record.delayed = State.READY, task.retries, task.delayed
        return record

    @property
    def running(self) -> Frame | None:
        """The module whose main goes on, if one does."""
        return self.frames[-1] if self.frames and self.frames[-1].root is None else None

    @property
    def can_wait(self) -> bool:
        """Whether a module's main goes on that may wait for a result."""
        running = self.running
        return running is not None and not self.tasks[running.id[0]].gathers

    @property
    def level(self) -> int:
        return sum(frame.root is not None for frame in self.frames)

    @property
    def has_its_result(self) -> bool:
        """Whether the topmost module can go on."""
        root = self.frames[-1].root if self.frames else None
        return root is not None and self.tasks[root].end is not None

    @property
    def going_on(self) -> list[Frame]:
        """Those that are aside and wait for nothing, or have what they wait for."""
        return [
            one for one in self.beside if one.root is None or self.tasks[one.root].end is not None
        ]

    def handle(self, event: Event) -> None:
        """Give an event to the scheduler, and hold what it does against what we know."""
        self.sound = False
        self._expect(event)
        actions = self.scheduler.handle(event)
        self.scheduler.check()
        for action in actions:
            if isinstance(action, Settled):
                ends = self._ends_now()
                for number, state, root in action.tasks:
                    assert ends.pop(number, State.CANCELLED) is state
                    self._see_settled(number, state, root)
                assert not ends, f"{ends}, and it is not told"
            else:
                self._see(action)
        ends = self._ends_now()
        assert not ends, f"{ends}, and it is not told"
        assert not self.retried, f"{self.retried} were to be tried again"
        for frame in self.frames:
            if frame.root is not None:
                frame.wanted = self.closure([frame.root, *frame.wanted])
        self.queue.extend(actions)
        self.sound = True

    def accepts(self, id: Id) -> Task | None:
        """Take an attempt off the list; return its task if its end counts."""
        self.early.discard(id)
        if id in self.flying:
            self.flying.remove(id)
        elif self.frames and self.frames[-1].id == id:
            self.frames.pop()
            self.computing.remove(id)
        elif id in self.computing:
            self.beside = [frame for frame in self.beside if frame.id != id]
            self.computing.remove(id)
        else:
            return None
        self.ended.append(id)
        task = self.tasks[id[0]]
        task.under_way = False
        return task if task.end is None else None

    def _expect(self, event: Event) -> None:  # noqa: C901, PLR0912 - a branch for each event
        if isinstance(event, Demand):
            for number in event.tasks:
                self.pins[number] += 1
                self.tasks[number].known = True
        elif isinstance(event, Drop):
            self.pins.subtract(number for number in event.tasks if self.pins[number])
        elif isinstance(event, Room):
            self.room = event.count and event.count + event.ahead
            self.most = max(1, event.ahead // 2) if event.ahead else 0
        elif isinstance(event, Grown):
            for number, *_ in reversed(event.tasks):
                if self.tasks[number].known:  # by the one behind it, unless that is over
                    self._expect_grown(self.tasks[number])
        elif isinstance(event, Known):
            for number in event.tasks:
                self._expect_known(self.tasks[number])
        elif isinstance(event, Due):
            for number in event.tasks:
                if number in self.tasks:
                    self.tasks[number].waits = False
        elif isinstance(event, Halt):
            self.halted = True
        elif isinstance(event, Extended):
            self._expect_more(self.tasks[event.task], event.needs)
        elif isinstance(event, Paused):
            task = self.accepts(event.id)
            if task is not None:
                task.waits = True
        elif isinstance(event, Returned):
            for id in event.ids:
                task = self.accepts(id)
                if task is not None:
                    task.value = True
        elif isinstance(event, CameBack):
            for id in event.ids:
                if id in self.early and (task := self.accepts(id)) is not None:
                    task.attempt -= 1
                    needs = [n for n in task.inputs if self.tasks[n].end is not State.DONE]
                    task.refused |= all(self.is_flying(n) for n in needs)
        elif isinstance(event, (Unfolded, Failed, WorkerLost)):
            task = self.accepts(event.id)
            if task is not None:
                self._expect_end(task, event)

    def _expect_grown(self, task: Task) -> None:
        if task.end is None:
            task.grown = True
            if task.bad:
                self.roots.add(task.number)
            else:
                self._learn(task, task.inputs)

    def _expect_known(self, task: Task) -> None:
        """What it would have needed is nobody's affair."""
        if task.end is None:
            task.grown = task.value = True
            task.inputs = ()

    def _expect_more(self, task: Task, needs: Sequence[int]) -> None:
        assert task.returned is not None
        assert task.end is None
        task.let_go |= {n for n in task.returned if self.tasks[n].end is not None}
        task.returned = (*(n for n in task.returned if n not in task.let_go), *needs)
        self._learn(task, needs)

    def _expect_end(self, task: Task, event: Unfolded | Failed | WorkerLost) -> None:
        if isinstance(event, Unfolded):
            task.returned = tuple(event.needs)
            self._learn(task, event.needs)
            return
        if isinstance(event, Failed):
            forgiven = task.failures < task.retries
            task.failures += forgiven
            over = event.final or not (forgiven or event.again)
        else:
            task.losses += event.guilty
            once = event.begun and self.max_losses == 1
            over = once or (event.guilty and task.losses >= self.max_losses)
        if over:
            self.roots.add(task.number)
        else:
            self.retried.append(event.id)
            task.waits = task.delayed and isinstance(event, Failed)

    def _learn(self, task: Task, needs: Sequence[int]) -> None:
        for frame in self.frames:
            if task.number in frame.wanted:
                frame.wanted.update(needs)
        for number in needs:
            assert not self.tasks[number].released, f"{number} is needed, and was released"
            self.tasks[number].known = True

    def _ends_now(self) -> dict[int, State]:
        """Who is done or has failed, and is not reported."""
        ends: dict[int, State] = {}
        more = not self.halted
        while more:
            more = False
            for task in self.tasks.values():
                if task.end is not None or task.number in ends or not task.known:
                    continue
                of = [self.tasks[n].end or ends.get(n) for n in task.waits_on]
                of += [self.tasks[n].end for n in task.let_go]
                waits = task.grown and not task.value
                if self.keep_going:
                    waits = waits and None not in of
                if task.number in self.roots or (waits and State.FAILED in of):
                    ends[task.number] = State.FAILED
                elif task.value or (task.returned is not None and set(of) <= {State.DONE}):
                    ends[task.number] = State.DONE
                more = more or task.number in ends
        return ends

    def _see_settled(self, number: int, state: State, root: int) -> None:
        task = self.tasks[number]
        assert task.known, f"{number} is settled, and nobody wanted it"
        assert task.end is None, f"{number} is settled again"
        if state is State.FAILED:
            assert root in self.roots, f"{number} failed because of {root}, which did not fail"
            below, todo = set(), [number]
            while todo:
                below.add(one := todo.pop())
                todo += (self.tasks[one].let_go | set(self.tasks[one].waits_on)) - below
            assert root in below, f"{number} failed because of {root}, which it does not need"
            if self.keep_going and root != number:
                self._see_culprits(number, below)
        elif state is State.CANCELLED and not self.halted:
            wanted = self.closure(n for n, pins in self.pins.items() if pins)
            assert number not in wanted, f"{number} is wanted, and cancelled"
        task.end = state

    def _see_culprits(self, number: int, below: set[int]) -> None:
        """All that failed because of others are led back to those that failed themselves."""
        culprits = self.scheduler.culprits(number)
        assert culprits <= below, f"{number} failed because of {culprits - below}"
        failed, todo = set[int](), [number]
        while todo:
            failed.add(one := todo.pop())
            needs = self.tasks[one].let_go | set(self.tasks[one].waits_on)
            if one not in self.roots:
                todo += {n for n in needs if self.tasks[n].end is State.FAILED} - failed
        assert failed <= culprits, f"{number}: {failed} told as {culprits}"

    def _see_stuck(self, action: Stuck) -> None:
        assert not self.flying, "stuck, with jobs in flight"
        assert not self.waiting, f"stuck, and {self.waiting} wait for their time"
        assert self.running is None, "stuck, while a main goes on"
        assert not self.going_on, "stuck, while a main goes on aside"
        (culprit,), circle = action.tasks, action.circle
        assert culprit not in self._ends_now(), f"{culprit} is stuck, and over"
        for before, after in itertools.pairwise(circle):
            assert after in self.tasks[before].waits_on, f"{before} does not need {after}"
        if len(circle) > 1 and circle[0] == circle[-1]:
            assert culprit in circle
        else:
            assert circle[-1] in {id[0] for id in self.computing}, "no circle"
            assert self.pins[culprit], f"{culprit} waits for a main, and nobody asked for it"
        self.roots.add(culprit)

    def _see(self, action: Action) -> None:  # noqa: C901 - a branch for each action
        if isinstance(action, Stuck):
            self._see_stuck(action)
        elif isinstance(action, Grow):
            for number in action.tasks:
                assert not self.tasks[number].grown, f"{number} is grown again"
        elif isinstance(action, Submit):
            for id in action.ids:
                if id[0] in action.after:
                    self._see_follower(id, action.after[id[0]])
                else:
                    self._see_attempt(id, local=False)
                self.flying.append(id)
            assert len(self.flying) <= self.room, f"{self.flying} in flight, room for {self.room}"
        elif isinstance(action, Compute):
            self._see_attempt(action.id, local=True)
            in_line = len(self.computing) - len(self.beside)
            assert in_line == self.level, f"at once: {self.computing}, {action.id}"
            if self.frames:
                top = self.frames[-1]
                assert top.root is not None
                wanted = self.closure([top.root, *top.wanted])
                free = self.tasks[action.id[0]].gathers
                assert free or action.id[0] in wanted, (
                    f"{action.id} on {top.id}, which does not want it"
                )
            self.computing.append(action.id)
        elif isinstance(action, Retried):
            assert action.id in self.retried, f"{action.id} is tried again"
            assert action.later is self.tasks[action.id[0]].waits
            self.retried.remove(action.id)
        elif isinstance(action, Cancel):
            for id in action.ids:
                assert id in self.flying, f"{id} is cancelled, and not in flight"
        elif isinstance(action, Release):
            self._see_released(action)

    def _see_attempt(self, id: Id, local: bool) -> None:
        task = self.tasks[id[0]]
        task.refused = False
        assert self.is_ready(task), f"{id} has an attempt, and is not ready"
        assert task.local is local
        assert id[1] == task.attempt + 1, f"{id} after attempt {task.attempt}"
        gone = [number for number in task.inputs if self.tasks[number].released]
        assert not gone, f"{id} needs {gone}, which are released"
        task.attempt += 1
        task.under_way = True

    def _see_follower(self, id: Id, after: Sequence[Id]) -> None:
        task = self.tasks[id[0]]
        assert self.follow, f"{id} follows, and the backend does not take that"
        busy = task.under_way or task.waits or task.local
        assert not busy, f"{id} cannot be sent"
        assert not task.refused, f"{id} is sent again to follow what it was given back by"
        assert not task.losses, f"{id} is a suspect, and follows"
        assert id[1] == task.attempt + 1, f"{id} after attempt {task.attempt}"
        needs = [n for n in task.inputs if self.tasks[n].end is not State.DONE]
        assert list(after) == [(n, self.tasks[n].attempt) for n in needs], f"{id} follows {after}"
        assert needs, f"{id} follows nobody"
        assert all(self.is_flying(n) for n in needs), f"{id} follows who is not sent"
        assert not any(self.tasks[n].released for n in task.inputs), f"{id} needs what is released"
        self.early.add(id)
        assert len(self.early) <= self.most or len(self.early) == 1, f"{self.early} follow at once"
        task.attempt += 1
        task.under_way = True

    def _see_released(self, action: Release) -> None:
        goes_on = len(self.computing) - len(self.beside) > self.level or self.has_its_result
        assert not goes_on, "released, while a main goes on that may refer to it"
        needed = self.closure(t.number for t in self.tasks.values() if t.known and t.end is None)
        for number in action.tasks:
            assert self.tasks[number].end is not None, f"{number} is released, and not settled"
            assert not self.tasks[number].released, f"{number} is released again"
            assert not self.pins[number], f"{number} is released, and demanded"
            assert number not in needed, f"{number} is released, and needed"
            self.tasks[number].released = True

"""A world for the scheduler: tasks, a driver and a backend that behave as badly as they may.

`World` knows of each task what it will need before the scheduler does, carries
out actions as the driver does, and holds every action against what it knows.  It
shares no code with the scheduler but the table.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from importlib import util
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any
from unittest.mock import patch

from fancypipe_core._engine.machine import scheduler as _scheduler
from fancypipe_core._engine.machine import states
from fancypipe_core._engine.machine.states import (
    TRANSITIONS,
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
    GrownTask,
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

SOURCE = Path(_scheduler.__file__).parent
# In the order in which they import each other.
PARTS = ("records", "dependencies", "followers", "levels", "scheduler")
MOST_TASKS = 40


class Watched:
    """The scheduler's modules, compiled anew.

    Args:
        changes: For a module's name, what to replace in its source by what.

    Attributes:
        steps: The transitions that tasks have made.
    """

    def __init__(self, changes: Mapping[str, Sequence[tuple[str, str]]] | None = None) -> None:
        self.steps: set[tuple[State, State]] = set()
        parts: dict[str, ModuleType] = {}
        for name in PARTS:
            source = (SOURCE / f"{name}.py").read_text("utf-8")
            for old, new in (changes or {}).get(name, ()):
                assert source.count(old) == 1, f"{name} has {source.count(old)} times:\n{old}"
                source = source.replace(old, new)
            spec = util.spec_from_loader(f"fancypipe_core._engine.machine.{name}", None)
            assert spec is not None
            part = util.module_from_spec(spec)
            with patch.dict(sys.modules, parts):
                exec(compile(source, f"<{name}, changed>", "exec"), part.__dict__)
            if name == "records":
                vars(part)["Record"] = self._watch(part.Record)
            parts[part.__name__] = part
        self.module = parts["fancypipe_core._engine.machine.scheduler"]

    def _watch(self, record: Any) -> Any:
        steps, slot = self.steps, record.state

        def write(self: Any, state: State) -> None:
            before = slot.__get__(self) if hasattr(self, "wait") else None
            if before not in (None, state):
                assert state in TRANSITIONS[before], f"from {before.name} to {state.name}"
                steps.add((before, state))
            slot.__set__(self, state)

        return type("Record", (record,), {"__slots__": (), "state": property(slot.__get__, write)})


class Task:
    """What the world knows of a task; `inputs` from the day it was made."""

    def __init__(self, number: int, inputs: Sequence[int], rnd: Random) -> None:
        self.number = number
        self.inputs = tuple(inputs)
        self.local = rnd.random() < 0.4
        self.gathers = self.local and number % 3 == 0  # it waits for nothing itself
        self.retries = rnd.choice((0, 1, 1, 2))
        self.delayed = rnd.random() < 0.6
        self.bad = rnd.random() < 0.03
        self.is_kept = number % 9 == 5 and not self.gathers  # by an earlier run
        self.fate = rnd.choice((Unfolded, Failed, WorkerLost, None))  # how its attempts often end
        self.returned: tuple[int, ...] | None = None
        # Whether it is known from the start that it needs nothing.
        self.at_once = not (inputs or self.local or self.bad) and rnd.random() < 0.5
        self.grown = self.at_once
        self.known = self.under_way = self.value = self.released = False
        self.let_go: set[int] = set()  # of what it returned, since it is over
        self.waits = False  # for the time of its next attempt
        self.attempt = self.failures = self.losses = 0
        self.priority = (0, 0, 2, 0, -1)[number % 5]
        self.refused = False  # it was sent to follow, and came back though its needs did not
        self.end: State | None = None

    @property
    def waits_on(self) -> tuple[int, ...]:
        return self.inputs if self.returned is None else self.returned


class Frame:
    """A module whose main goes on; blocked if it waits for a result."""

    def __init__(self, id: Id) -> None:
        self.id = id
        self.root: int | None = None
        self.wanted: set[int] = set()  # by this wait, and by those on top of it that are over
        self.kept: list[int] = []  # what it has waited for last, if it is aside


class World:
    """A run.

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
        vars(watched.module)["_GROW_AT_ONCE"] = self.at_once = at_once
        self.scheduler = watched.module.Scheduler(
            max_losses=max_losses, keep_going=keep_going, make=self._record, follow=follow
        )
        self.follow = follow
        self.most = 0  # followers in flight
        self.early: set[Id] = set()  # these
        self.new_record = watched.module.Record
        self.new_gatherer = type("Gatherer", (self.new_record,), {"__slots__": (), "hidden": True})
        self.rnd = rnd
        self.keep_going = keep_going
        self.max_losses = max_losses
        self.tasks: dict[int, Task] = {}
        self.pins: Counter[int] = Counter()
        self.room = 0
        self.flying: list[Id] = []  # with the backend
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

    # ---- making tasks ----

    def make(self, returned_by: int | None = None) -> tuple[int, ...]:
        """Make some tasks; return those that are referred to."""
        rnd = self.rnd
        shared = rnd.choice((0, 0.2, 0.5))
        alive = [n for n in self.tasks if rnd.random() < shared and self.can_refer_to(n)]
        most = rnd.choice((3, 12)) if len(self.tasks) < MOST_TASKS else 0
        first = len(self.tasks) + 1
        made = list(range(first, first + rnd.randint(min(1, most), most)))
        for number in made:
            visible = [*alive, *range(first, number)]
            if rnd.random() < 0.02:  # it needs what is made of it
                visible += [number, made[-1], *filter(None, [returned_by])]
            inputs = rnd.sample(visible, rnd.randint(0, min(3, len(visible))))
            self.tasks[number] = Task(number, list(dict.fromkeys(inputs)), rnd)
        refer = [*made, *alive]
        return tuple(rnd.sample(refer, min(len(refer), rnd.choice((1, 2, 8)))))

    def can_refer_to(self, number: int) -> bool:
        """Whether a task is there, and all that it would need."""
        needed = [number] if self.tasks[number].known else self.closure([number])
        return not any(self.tasks[n].released for n in needed)

    def closure(self, tasks: Iterable[int]) -> set[int]:
        """What is needed by these, as far as it is not settled; with what settled ones it needs."""
        found: set[int] = set()
        todo = list(tasks)
        while todo:
            task = self.tasks[todo.pop()]
            if task.number not in found:
                found.add(task.number)
                if task.end is None:
                    todo += task.waits_on
        return found

    @property
    def extensible(self) -> list[Task]:
        """The tasks that have unfolded and are not over."""
        return [one for one in self.tasks.values() if one.returned is not None and not one.end]

    def is_ready(self, task: Task) -> bool:
        over = task.end is not None or task.value or task.returned is not None
        return (
            task.grown
            and not over
            and not task.under_way
            and not task.waits
            and all(self.tasks[n].end is State.DONE for n in task.inputs)
        )

    # ---- events ----

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

    def is_flying(self, number: int) -> bool:
        """Whether a task is with the backend."""
        task = self.tasks[number]
        return task.end is None and not task.local and (number, task.attempt) in self.flying

    def can_run(self, id: Id) -> bool:
        """Whether an attempt can end by itself: a follower only after what it needs."""
        return all(self.tasks[n].end is State.DONE for n in self.tasks[id[0]].inputs)

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

    # ---- what the scheduler wants ----

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

    # ---- the driver ----

    def carry_out(self) -> None:
        """Do what the scheduler wants, in its order, until a module's main begins."""
        while self.queue and self.running is None:
            action = self.queue.popleft()
            if isinstance(action, Grow):
                assert action.tasks
                assert len(action.tasks) + action.more <= self.at_once
                kept = [number for number in action.tasks if self.tasks[number].is_kept]
                if kept:  # who looks tasks up follows no chains
                    self.handle(Known(kept))
                    tasks = [number for number in action.tasks if number not in kept]
                else:
                    tasks = [*self._chain(action), *action.tasks]
                if tasks:
                    self.handle(Grown([self._look_at(number) for number in tasks]))
            elif isinstance(action, Compute):
                self.frames.append(Frame(action.id))
            elif isinstance(action, Submit):
                for id in action.ids:
                    if id in self.flying and self.rnd.random() < 0.02:  # it cannot be sent
                        self.handle(Failed(id, final=True))

    def _chain(self, action: Grow) -> list[int]:
        """Whom the driver looks at besides, the last first: each is needed by the one before."""
        chain: list[int] = []
        task = self.tasks[action.tasks[-1]]
        while len(chain) < action.more and not task.bad and self.rnd.random() < 0.8:
            new = [self.tasks[n] for n in task.inputs if not self.tasks[n].known]
            new = [one for one in new if not one.at_once and one.number not in chain]
            if len(new) != 1 or new[0].number in action.tasks:
                break
            (task,) = new
            chain.insert(0, task.number)
        return chain

    def _look_at(self, number: int) -> GrownTask:
        task = self.tasks[number]
        if task.bad:
            return GrownTask(number, bad=True)
        return GrownTask(number, task.inputs, task.local, task.retries, False, task.delayed)

    def wait(self, frame: Frame) -> None:
        """A module waits for a result."""
        self.handle(Level(self.level + 1))
        (root, *_) = self.make()
        frame.root = root
        self.handle(Demand([root], self.level))
        self.carry_out()

    def go_on(self) -> None:
        """The module on top has its result, or does not want it any more."""
        frame = self.frames[-1]
        root, frame.root = frame.root, None
        assert root is not None
        if len(self.frames) > 1:
            self.frames[-2].wanted |= frame.wanted
        frame.wanted = set()
        level, drop = Level(self.level), Drop([root])
        for event in self.rnd.choice(((level, drop), (drop, level))):
            self.handle(event)

    # ---- mains in threads of their own ----

    @property
    def going_on(self) -> list[Frame]:
        """Those that are aside and wait for nothing, or have what they wait for."""
        return [
            one for one in self.beside if one.root is None or self.tasks[one.root].end is not None
        ]

    def step_aside(self, frame: Frame) -> None:
        """A main that goes on holds up others no more."""
        self.frames.remove(frame)
        self.beside.append(frame)
        self.handle(Aside(frame.id))

    def take_over(self) -> None:
        """Another thread drives from now on: all mains are aside."""
        for frame in self.frames:
            frame.kept = [] if frame.root is None else [frame.root]
        self.beside += self.frames
        self.frames, self.apart = [], True
        self.handle(Apart())

    def wait_aside(self, frame: Frame) -> None:
        """One that is aside, or is so from now on, waits for a result."""
        if frame in self.frames:
            self.frames.remove(frame)
            self.beside.append(frame)
        (root, *_) = self.make()
        before, frame.kept, frame.root = frame.kept, [root], root
        self.handle(Demand([root]))
        self.handle(Aside(frame.id, [root]))
        self.handle(Drop(before))

    def go_on_aside(self, frame: Frame) -> None:
        """One has what it has waited for, and keeps it."""
        frame.root = None
        self.handle(Aside(frame.id))

    def end_aside(self, frame: Frame, event: Event) -> None:
        """One ends: what it has waited for is let go of."""
        self.handle(event)
        self.handle(Drop(frame.kept))

    # ---- what must be true whenever the driver waits ----

    def look(self) -> None:
        """Nothing is forgotten: whatever can go on does, whatever is over is gone."""
        for number in self.tasks:
            assert self.scheduler.explain(number)
        assert self.scheduler.in_flight == len(self.flying)
        assert self.scheduler.delayed == len(self.waiting)
        assert self.scheduler.computing == len(self.computing)
        goes_on = self.running is not None or self.has_its_result or bool(self.going_on)
        assert self.scheduler.mains_go_on == goes_on
        known = [task for task in self.tasks.values() if task.known]
        held = {n for n, pins in self.pins.items() if pins}
        grown = [task for task in known if task.end is None and task.grown]
        held.update(n for task in grown for n in task.waits_on)
        going = [t for t in known if t.end is None and t.number in held]
        ready = [task for task in going if self.is_ready(task)]
        free = len(self.flying) < self.room
        assert not free or all(task.local for task in ready), (
            "there is room, and who is ready waits"
        )
        if self.running is not None or self.has_its_result:
            return
        new = [task.number for task in going if not task.grown]
        if free or not self.flying or self.at_once > MOST_TASKS:
            assert not new, f"{new} do not grow"
        if free or not self.flying:
            wanted = self.closure([self.frames[-1].root or 0]) if self.frames else set(self.tasks)
            wait = [t.number for t in ready if t.local and (t.gathers or t.number in wanted)]
            assert not wait, f"{wait} are ready, and not computed"
        if not new:
            left = [t.number for t in known if t not in going and not t.released]
            left = [n for n in left if n not in held]
            assert not left, f"nobody wants {left}, and they stay"
        if self.going_on:
            return
        if not self.flying and not self.waiting and (self.room or not ready):
            roots = [self.frames[-1].root or 0] if self.frames else list(self.tasks)
            stay = [n for n in roots if self.tasks[n].known and self.tasks[n].end is None]
            assert not stay, f"{stay} wait for ever"

    @property
    def asked(self) -> list[int]:
        """What was demanded from outside, and is not dropped: not what modules wait for."""
        waits = Counter(frame.root for frame in self.frames)
        waits.update(number for frame in self.beside for number in frame.kept)
        return [n for n, pins in self.pins.items() if pins > waits[n]]

    @property
    def waiting(self) -> list[int]:
        """The tasks that wait for the time of their next attempt."""
        return [task.number for task in self.tasks.values() if task.waits and task.end is None]

    @property
    def has_its_result(self) -> bool:
        """Whether the topmost module can go on."""
        root = self.frames[-1].root if self.frames else None
        return root is not None and self.tasks[root].end is not None

    def snapshot(self) -> Any:
        """All that can be seen of the scheduler."""
        machine = self.scheduler
        seen = [(machine.state(n), machine.attempt(n), machine.explain(n)) for n in self.tasks]
        return seen, machine.in_flight, machine.unsettled

    def end(self) -> None:
        """From now on all goes well: then all that was demanded ends, and goes."""
        for _ in range(20 * MOST_TASKS):
            self.carry_out()
            self.look()
            if self.running is not None:
                self.handle(Returned([self.running.id]))
            elif self.has_its_result:
                self.go_on()
            elif self.going_on:
                self.end_aside(self.going_on[0], Returned([self.going_on[0].id]))
            elif self.flying:
                over = [id for id in self.flying if self.can_run(id)]
                self.handle(Returned(over) if over else CameBack(list(self.flying)))
            elif self.waiting:
                self.handle(Due(self.waiting))
            elif not self.room and not self.halted:
                self.handle(Room(1, 0))
            else:
                break
        else:
            raise AssertionError("it does not end")
        for number, pins in self.pins.items():
            assert not pins or self.tasks[number].end is not None
        self.handle(Drop([n for n, pins in self.pins.items() for _ in range(pins)]))
        assert not self.scheduler.unsettled
        kept = [number for number in self.tasks if self.scheduler.state(number) is not None]
        assert not kept, f"{kept} are kept for ever"


__all__ = ["MOST_TASKS", "Frame", "Task", "Watched", "World", "states"]

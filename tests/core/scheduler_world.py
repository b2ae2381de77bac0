"""A world for the scheduler: tasks, a driver and a backend that behave as badly as they may.

`World` carries out actions as the driver does; what it knows of the tasks is in `scheduler_graph`,
and what the scheduler must do with them in `scheduler_model`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from fancypipe_core._engine.machine.states import (
    Apart,
    Aside,
    CameBack,
    Compute,
    Demand,
    Drop,
    Due,
    Event,
    Failed,
    Grow,
    Grown,
    GrownTask,
    Known,
    Level,
    Returned,
    Room,
    Submit,
)
from tests.core.scheduler_graph import MOST_TASKS, Frame
from tests.core.scheduler_model import Model

__all__ = ["World"]


class World(Model):
    """A run, and who drives it."""

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

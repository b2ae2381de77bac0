"""The tasks of the scheduler's world: what each will need, known before the scheduler knows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from fancypipe_core._engine.machine.states import Failed, Id, State, Unfolded, WorkerLost

__all__ = ["MOST_TASKS", "Frame", "Graph", "Task"]

MOST_TASKS = 40


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


class Graph:
    """The tasks.

    Args:
        rnd: Decides what there is.
    """

    def __init__(self, rnd: Random) -> None:
        self.rnd = rnd
        self.tasks: dict[int, Task] = {}
        self.flying: list[Id] = []  # with the backend

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

    def is_flying(self, number: int) -> bool:
        """Whether a task is with the backend."""
        task = self.tasks[number]
        return task.end is None and not task.local and (number, task.attempt) in self.flying

    def can_run(self, id: Id) -> bool:
        """Whether an attempt can end by itself: a follower only after what it needs."""
        return all(self.tasks[n].end is State.DONE for n in self.tasks[id[0]].inputs)

    @property
    def waiting(self) -> list[int]:
        """The tasks that wait for the time of their next attempt."""
        return [task.number for task in self.tasks.values() if task.waits and task.end is None]

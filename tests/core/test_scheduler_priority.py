"""Among tasks that are ready, the higher priority goes first, and the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest

from fancypipe_core import run, task
from fancypipe_core._engine.machine.records import READY, Record
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.machine.states import Demand, Returned, Room, Submit


def scheduler(priorities: dict[int, int], follow: bool) -> Scheduler:
    def make(number: int) -> Record:
        record = Record()
        record.state = READY
        record.priority = priorities.get(number, 0)
        return record

    return Scheduler(make=make, follow=follow)


def sent(actions: Sequence[object]) -> list[int]:
    return [id[0] for action in actions if isinstance(action, Submit) for id in action.ids]


@pytest.mark.parametrize("follow", [False, True])
def test_the_higher_goes_first_and_equals_as_ever(follow: bool) -> None:
    plain, machine = scheduler({}, follow), scheduler({3: 5, 4: -1, 6: 5}, follow)
    orders = []
    for one in (plain, machine):
        order = sent(one.handle(Demand([1, 2, 3, 4, 5, 6])))
        for number in count(1):
            order += sent(one.handle(Room(number, 0)))
            one.check()
            if len(order) == 6:
                break
        orders.append(order)
    assert orders == [[1, 2, 3, 4, 5, 6], [3, 6, 1, 2, 5, 4]]


@pytest.mark.parametrize("follow", [False, True])
def test_what_has_less_goes_on_while_others_keep_coming(follow: bool) -> None:
    machine = scheduler(dict.fromkeys(range(100, 400), 9), follow)
    machine.handle(Room(1, 0))
    machine.handle(Demand([100]))
    machine.handle(Demand([1, 2, 3]))
    running, ended = 100, []
    for number in range(101, 200):
        machine.handle(Demand([number]))
        actions = machine.handle(Returned([(running, 1)]))
        ended.append(running)
        (running,) = sent(actions)
        machine.check()
    assert {1, 2, 3} <= set(ended)
    assert [ended.index(n) for n in (3, 2, 1)] == [8, 16, 24]


@task
def note(name: str, file: str) -> str:
    with open(file, "a", encoding="ascii") as out:
        out.write(name)
    return name


def test_priorities_hold_in_a_run(tmp_path: Path) -> None:
    file = str(tmp_path / "order")
    tasks = [note(name, file) for name in "abcd"]
    tasks[2] = tasks[2].with_options(priority=2)
    tasks[1] = tasks[1].with_options(priority=-1)
    assert run(tasks, backend="serial") == list("abcd")
    assert Path(file).read_text(encoding="ascii") == "cadb"

"""What nobody holds, and modules that wait for a result in their main: more short stories."""

from __future__ import annotations

import pytest

from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.machine.states import (
    Action,
    Cancel,
    Compute,
    Demand,
    Drop,
    Event,
    Failed,
    Grow,
    Grown,
    GrownTask,
    Halt,
    Level,
    Release,
    Returned,
    Room,
    Settled,
    SettledTask,
    State,
    Stuck,
    Submit,
    Unfolded,
)
from tests.core.test_scheduler import Story, released, settled, submitted


class Steps(Story):
    """A story in which all that an event causes to grow has grown before the next."""

    def send(self, *events: Event) -> list[Action]:
        return [action for event in events for action in super(Steps, self).send(event)]


def computed(actions: list[Action]) -> list[int]:
    return [action.id[0] for action in actions if isinstance(action, Compute)]


# ---- what nobody holds ----


def test_what_nobody_wants_any_more_is_cancelled_and_takes_its_slot_to_its_end() -> None:
    story = Steps({1: (4, 3, 2), 4: (5,)})
    assert submitted(story.send(Room(2, 0), Demand([1]))) == [(3, 1), (5, 1)]
    told = story.send(Failed((5, 1)))
    assert settled(told) == {
        **dict.fromkeys((5, 4, 1), State.FAILED),
        **dict.fromkeys((2, 3), State.CANCELLED),
    }
    assert Cancel([(3, 1)]) in told
    assert not story.scheduler.expects((3, 1))
    assert story.scheduler.in_flight == 1
    assert story.send(Returned([(3, 1)])) == []
    assert story.scheduler.in_flight == 0


def test_what_somebody_else_wants_goes_on() -> None:
    story = Steps({1: (2, 3), 4: (3,)})
    story.send(Room(2, 0), Demand([1, 4]), Failed((2, 1)))
    assert story.states(1, 3) == [State.FAILED, State.RUNNING]
    assert submitted(story.send(Returned([(3, 1)]))) == [(4, 1)]


def test_a_value_goes_with_its_last_user_and_not_before() -> None:
    story = Steps({1: (2, 3), 2: (4,), 3: (4,)})
    story.send(Room(1, 0), Demand([1]), Returned([(4, 1)]))
    (id,) = submitted(story.log)[1:]
    assert released(story.send(Returned([id]))) == []
    assert released(story.send(Returned([(5 - id[0], 1)]))) == [4]
    assert sorted(released(story.send(Returned([(1, 1)])))) == [2, 3]
    assert released(story.send(Demand([1]), Drop([1]))) == []
    assert released(story.send(Drop([1]))) == [1]


def test_an_unfolded_task_lets_its_inputs_go() -> None:
    story = Steps({1: (2,)})
    story.send(Room(1, 0), Demand([1]), Returned([(2, 1)]))
    assert released(story.send(Unfolded((1, 1), [3]))) == [2]


def test_no_value_goes_that_tasks_not_grown_yet_refer_to() -> None:
    """All users of a shared input that are known are over; there will be more."""
    machine = Scheduler()
    machine.handle(Room(1, 0))
    machine.handle(Demand([2, 1]))
    machine.handle(Grown([GrownTask(2)]))
    machine.handle(Grown([GrownTask(1, range(10, 600), local=True)]))
    assert machine.in_flight == 1
    machine.handle(Drop([2]))
    gone: list[int] = []
    most = 0
    while machine.unsettled:
        # What is known is finished first; only then is more grown.
        events: list[Event] = [Returned(list(_flying(machine)))] if machine.in_flight else []
        growing = [n for n in range(1, 600) if machine.state(n) is State.GROWING]
        most = max(most, len(growing))
        events += [Grown([GrownTask(n, [2]) for n in growing])] if growing else []
        actions = [action for event in events for action in machine.handle(event)]
        machine.check()
        gone += released(actions)
        for action in actions:
            if isinstance(action, Compute):
                assert gone == [], "nothing before the last user was done"
                gone += released(machine.handle(Returned([action.id])))
    assert most == 256, "some at a time, while all workers work"
    assert 2 in gone


def _flying(machine: Scheduler) -> list[tuple[int, int]]:
    ids = [(task, machine.attempt(task)) for task in range(600)]
    return [id for id in ids if machine.expects(id)][:1]


def test_what_is_wanted_again_in_time_goes_on_where_it_was() -> None:
    """Nobody wants 3 and 4 for a moment, while others are not grown."""
    machine = Scheduler()
    machine.handle(Room(1, 0))
    machine.handle(Demand([1]))
    machine.handle(Grown([GrownTask(1)]))
    machine.handle(Demand([3]))
    machine.handle(Grown([GrownTask(3)]))
    (grow,) = machine.handle(Demand(range(100, 500)))
    assert isinstance(grow, Grow)
    machine.handle(Demand([4]))
    assert machine.handle(Drop([3, 4])) == [], "it is not sure"
    assert machine.handle(Room(2, 0)) == [], "3 is ready, and not wanted"
    assert machine.handle(Demand([3])) == [Submit([(3, 1)])]
    assert machine.handle(Grown([GrownTask(task, [1]) for task in grow.tasks])) == [], "enough"
    assert machine.handle(Room(2, 0)) == [Grow([*range(356, 500)])], "4 is new, and not wanted"
    assert machine.handle(Demand([4])) == []
    assert machine.handle(Grown([GrownTask(n, [1]) for n in range(356, 500)])) == [Grow([4], 255)]
    machine.check()


@pytest.mark.parametrize("end", [Returned([(5000, 1)]), Failed((5000, 1)), Drop([1]), Halt()])
def test_a_chain_of_any_length_comes_to_its_end(end: Event) -> None:
    machine = Scheduler()
    machine.handle(Room(1, 0))
    actions = machine.handle(Demand([1]))
    while isinstance(actions[0], Grow):
        (task,) = actions[0].tasks
        needs = [task + 1] if task < 5000 else []
        actions = machine.handle(Grown([GrownTask(task, needs)]))
    assert actions == [Submit([(5000, 1)])]
    actions = machine.handle(end)
    if isinstance(end, Returned):
        assert actions == [Settled([SettledTask(5000, State.DONE, 0)]), Submit([(4999, 1)])]
    else:
        assert len(settled(actions)) == 5000
        assert machine.unsettled == 0
    machine.check()


def test_a_chain_of_unfolded_tasks_is_done_at_once() -> None:
    machine = Scheduler()
    machine.handle(Room(1, 0))
    machine.handle(Demand([1]))
    machine.handle(Grown([GrownTask(1)]))
    for task in range(1, 5000):
        machine.handle(Unfolded((task, 1), [task + 1]))
        assert machine.handle(Grown([GrownTask(task + 1)])) == [Submit([(task + 1, 1)])]
    actions = machine.handle(Returned([(5000, 1)]))
    assert list(settled(actions)) == list(range(5000, 0, -1))
    assert sorted(released(actions)) == list(range(2, 5001))


# ---- modules that wait ----


def test_only_what_a_blocked_module_waits_for_is_computed_on_top_of_it() -> None:
    story = Steps({10: (11,)}, local=(1, 2, 10, 11))
    assert computed(story.send(Room(1, 0), Demand([2, 1]))) == [1]
    assert computed(story.send(Level(1), Demand([10], 1))) == [11]
    assert computed(story.send(Returned([(11, 1)]))) == [10]
    assert computed(story.send(Returned([(10, 1)]))) == []
    assert computed(story.send(Level(0), Drop([10]))) == [], "the main of 1 goes on"
    assert computed(story.send(Returned([(1, 1)]))) == [2]


def test_a_module_that_was_ready_before_is_computed_when_a_blocked_one_waits_for_it() -> None:
    story = Steps({10: (3,), 3: (2,)}, local=(1, 2, 10))
    assert computed(story.send(Room(1, 0), Demand([3, 1]))) == [1]
    assert story.states(2, 3) == [State.READY, State.WAITING]
    assert computed(story.send(Level(1), Demand([10], 1))) == [2]
    assert submitted(story.send(Returned([(2, 1)]))) == [(3, 1)]
    assert computed(story.send(Returned([(3, 1)]))) == [10]


def test_what_a_blocked_module_waits_for_does_not_wait_for_room() -> None:
    story = Steps({1: (), 10: (11,)}, local=(1, 10, 11))
    assert submitted(story.send(Room(1, 0), Demand(range(20, 30)), Demand([1]))) == [(20, 1)]
    assert computed(story.log) == []
    story.send(Room(100, 0))
    assert computed(story.log) == [1]
    story.send(Room(1, 0))
    assert computed(story.send(Demand(range(30, 40)), Level(1), Demand([10], 1))) == [11]
    assert computed(story.send(Returned([(11, 1)]))) == [10]
    assert story.scheduler.in_flight == 10


def test_what_an_earlier_wait_has_left_is_not_computed_on_top_of_a_later_one() -> None:
    needs = {10: (11, 12), 12: (13,), 20: (22,)}
    story = Steps(needs, local=(1, 2, 10, 12, 20))
    story.send(Room(4, 0), Demand([12]), Demand([1]), Level(1), Demand([10], 1))
    assert settled(story.send(Failed((11, 1))))[10] is State.FAILED
    story.send(Level(0), Drop([10]), Demand([2]))
    assert computed(story.send(Returned([(1, 1)]))) == [2]
    story.send(Level(1), Demand([20], 1))
    assert computed(story.send(Returned([(13, 1)]))) == []
    assert story.states(12) == [State.READY]
    assert computed(story.send(Returned([(22, 1)]))) == [20]
    story.send(Returned([(20, 1)]), Level(0), Drop([20]))
    assert computed(story.send(Returned([(2, 1)]))) == [12]


def test_a_value_stays_while_the_main_that_waited_for_it_goes_on() -> None:
    """`a.result()`, then `return process(a)`: a runs once."""
    story = Steps({10: (3,), 4: (3,)}, local=(1, 10))
    story.send(Room(1, 0), Demand([1]), Level(1), Demand([10], 1), Returned([(3, 1)]))
    told = story.send(Returned([(10, 1)]))
    told += story.send(Drop([10]), Level(0))
    assert released(told) == []
    assert submitted(story.send(Unfolded((1, 1), [4]))) == [(4, 1)]
    assert sorted(released(story.log)) == [10]
    assert released(story.send(Returned([(4, 1)]))) == [3, 4]


def test_a_module_that_waits_for_itself_is_told_so() -> None:
    story = Steps({10: (3,), 3: (1,)}, local=(1, 10))
    told = story.send(Room(1, 0), Demand([1]), Level(1), Demand([10], 1))
    assert Stuck([10], [10, 3, 1]) in told
    assert settled(told) == {10: State.FAILED}
    assert story.states(1) == [State.RUNNING]
    story.send(Level(0), Drop([10]))
    assert settled(story.send(Returned([(1, 1)])))[1] is State.DONE


# ---- circles ----


def test_a_task_that_returns_itself_fails() -> None:
    story = Steps({1: (2,)})
    story.send(Room(1, 0), Demand([1]))
    told = story.send(Unfolded((2, 1), [2]))
    assert told[0] == Stuck([2], [2, 2])
    assert settled(told) == {2: State.FAILED, 1: State.FAILED}
    assert released(told) == [2]


@pytest.mark.parametrize("keep_going", [False, True])
def test_circles_end_also_where_nobody_wants_them(keep_going: bool) -> None:
    story = Steps({1: (2, 3, 5), 3: (4,), 4: (3,), 5: (6,), 6: (5,)}, keep_going=keep_going)
    story.send(Room(1, 0), Demand([1]))
    story.send(Failed((2, 1)))
    assert story.scheduler.unsettled == 0
    assert len([action for action in story.log if isinstance(action, Stuck)]) == 2
    assert released(story.send(Drop([1]))) == [1]


def test_a_halt_ends_circles_too() -> None:
    story = Steps({1: (2, 7), 2: (3,), 3: (2,)})
    story.send(Room(1, 0), Demand([1]))
    assert settled(story.send(Halt())) == dict.fromkeys((1, 2, 3, 7), State.CANCELLED)
    assert sorted(released(story.log)) == [2, 3, 7]
    assert Release([1]) in story.send(Drop([1]))

"""Mains that have a thread of their own: others are computed beside them."""

from __future__ import annotations

from fancypipe_core._engine.machine.states import (
    Apart,
    Aside,
    Demand,
    Drop,
    Failed,
    Halt,
    Level,
    Paused,
    Returned,
    Room,
    State,
    Stuck,
    Unfolded,
)
from tests.core.test_scheduler import released, settled, submitted
from tests.core.test_scheduler_waits import Steps, computed


def test_the_next_module_waits_until_the_first_is_aside() -> None:
    story = Steps({}, local=(1, 2, 3))
    assert computed(story.send(Room(1, 0), Demand([3, 2, 1]))) == [1]
    assert story.scheduler.mains_go_on
    assert computed(story.send(Aside((1, 1)))) == [2]
    assert computed(story.send(Aside((1, 1)))) == [], "it is aside already"
    assert computed(story.send(Aside((2, 1)))) == [3]
    assert settled(story.send(Returned([(2, 1)]))) == {2: State.DONE}
    assert settled(story.send(Returned([(1, 1)]))) == {1: State.DONE}
    assert story.scheduler.computing == 1
    assert settled(story.send(Returned([(3, 1)]))) == {3: State.DONE}
    assert not story.scheduler.mains_go_on


def test_one_that_waits_for_a_result_holds_up_nobody() -> None:
    story = Steps({10: (3,)}, local=(1, 2, 10))
    assert computed(story.send(Room(2, 0), Demand([1, 2]))) == [1]
    told = story.send(Demand([10]), Aside((1, 1), [10]))
    assert submitted(told) == [(3, 1)]
    assert computed(told) == [2]
    told = story.send(Unfolded((2, 1), [4]), Returned([(3, 1)]))
    assert submitted(told) == [(4, 1)]
    assert computed(told) == [10]
    story.send(Returned([(10, 1)]), Aside((1, 1)), Returned([(1, 1)]))
    assert story.states(1, 2, 10) == [State.DONE, State.UNFOLDED, State.DONE]


def test_what_nobody_holds_goes_beside_a_main() -> None:
    story = Steps({4: (3,)}, local=(1,))
    story.send(Room(1, 0), Demand([1]), Aside((1, 1)), Demand([4]), Returned([(3, 1)]))
    assert released(story.send(Returned([(4, 1)]), Drop([4]))) == [3, 4]
    story.send(Demand([5]))
    assert story.states(5) == [State.RUNNING]
    story.send(Drop([5]))
    assert story.states(5) == [None]


def test_all_that_are_under_way_are_aside() -> None:
    """1 waits for 10, on top of which 10 goes on; then another thread drives."""
    story = Steps({}, local=(1, 2, 10))
    story.send(Room(1, 0), Demand([2, 1]), Level(1))
    assert computed(story.send(Demand([10], 1))) == [10]
    assert computed(story.send(Apart())) == [2]
    story.send(Unfolded((2, 1), [3]), Returned([(3, 1)]))
    assert story.states(2) == [State.DONE]
    assert story.scheduler.mains_go_on
    assert settled(story.send(Returned([(10, 1)]))) == {10: State.DONE}
    assert story.scheduler.mains_go_on, "1 has what it waits for"
    assert settled(story.send(Drop([10]), Returned([(1, 1)])))[1] is State.DONE


def test_nobody_is_stuck_while_a_main_goes_on() -> None:
    story = Steps({10: (1,)}, local=(1, 2, 10))
    story.send(Room(1, 0), Demand([2, 1]), Aside((1, 1)), Demand([10]))
    assert story.states(10) == [State.WAITING]
    story.send(Aside((2, 1), [10]))
    assert settled(story.log) == {}
    story.send(Returned([(1, 1)]))
    assert story.states(10) == [State.RUNNING]


def test_those_that_wait_for_each_other_are_told_one_by_one() -> None:
    story = Steps({}, local=(1, 2))
    story.send(Room(1, 0), Demand([2, 1]), Demand([2]), Aside((1, 1), [2]), Demand([1]))
    told = story.send(Aside((2, 1), [1]))
    assert [action for action in told if isinstance(action, Stuck)] == [Stuck([1], [1])]
    assert story.states(1, 2) == [State.FAILED, State.RUNNING]
    assert settled(story.send(Aside((2, 1)), Failed((2, 1)))) == {2: State.FAILED}
    story.send(Returned([(1, 1)]))
    assert story.scheduler.computing == 0


def test_a_pause_a_failure_and_a_halt_end_it() -> None:
    story = Steps({}, local=(1, 2, 3))
    story.send(Room(1, 0), Demand([3, 2, 1]))
    story.send(Aside((1, 1)), Aside((2, 1)), Paused((1, 1)), Failed((2, 1), final=True))
    assert story.states(1, 2, 3) == [State.DELAYED, State.FAILED, State.RUNNING]
    story.send(Aside((1, 1)), Aside((2, 1)))
    assert story.scheduler.computing == 1
    story.send(Aside((3, 1)), Halt())
    assert story.scheduler.computing == 0
    story.scheduler.check()

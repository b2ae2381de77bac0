"""The scheduler, told in short stories."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.machine.states import (
    SETTLED,
    TRANSITIONS,
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

Needs = Mapping[int, tuple[int, ...]]


class Story:
    """A scheduler, and a driver that looks inputs up in a dict."""

    def __init__(self, needs: Needs, *, local: tuple[int, ...] = (), **settings: int) -> None:
        self.scheduler = Scheduler(**settings)  # type: ignore[arg-type]
        self.needs = needs
        self.local = local
        self.log: list[Action] = []

    def send(self, *events: Event) -> list[Action]:
        """Send events, answer `Grow`; return the other actions."""
        queue: list[Action] = []
        for event in events:
            queue += self.scheduler.handle(event)
        told: list[Action] = []
        while queue:
            action = queue.pop(0)
            if isinstance(action, Grow):
                grown = [
                    GrownTask(task, self.needs.get(task, ()), task in self.local)
                    for task in action.tasks
                ]
                queue += self.scheduler.handle(Grown(grown))
            else:
                told.append(action)
        self.scheduler.check()
        self.log += told
        return told

    def states(self, *tasks: int) -> list[State | None]:
        return [self.scheduler.state(task) for task in tasks]


def settled(actions: list[Action]) -> dict[int, State]:
    return {
        task: state
        for action in actions
        if isinstance(action, Settled)
        for task, state, _ in action.tasks
    }


def submitted(actions: list[Action]) -> list[tuple[int, int]]:
    return [id for action in actions if isinstance(action, Submit) for id in action.ids]


def released(actions: list[Action]) -> list[int]:
    return [task for action in actions if isinstance(action, Release) for task in action.tasks]


def test_one_branch_is_finished_before_the_next_begins() -> None:
    story = Story({1: (2, 3), 2: (4,), 3: (5,)})
    assert submitted(story.send(Room(1, 0), Demand([1]))) == [(4, 1)]
    assert submitted(story.send(Returned([(4, 1)]))) == [(2, 1)]
    told = story.send(Returned([(2, 1)]))
    assert submitted(told) == [(5, 1)]
    assert released(told) == [4]
    story.send(Returned([(5, 1)]))
    told = story.send(Returned([(3, 1)]))
    assert submitted(told) == [(1, 1)]
    assert settled(story.send(Returned([(1, 1)]))) == {1: State.DONE}
    assert released(story.log) == [4, 5, 2, 3]
    assert released(story.send(Drop([1]))) == [1]
    assert story.scheduler.unsettled == 0


@pytest.mark.fault(21)
def test_a_recursion_needs_one_slot() -> None:
    story = Story({})
    told = story.send(Room(1, 0), Demand([1]))
    for depth in range(1, 500):
        assert submitted(told) == [(depth, 1)]
        told = story.send(Unfolded((depth, 1), [depth + 1]))
    told = story.send(Returned([(500, 1)]))
    assert settled(told) == dict.fromkeys(range(1, 501), State.DONE)
    assert story.states(1) == [State.DONE]


def test_no_more_jobs_than_there_is_room_for() -> None:
    story = Story({1: tuple(range(2, 12))})
    assert len(submitted(story.send(Room(2, 1), Demand([1])))) == 3
    assert len(submitted(story.send(Room(2, 3)))) == 2
    assert submitted(story.send(Room(0, 100))) == []
    assert story.scheduler.in_flight == 5


def test_two_budgets() -> None:
    story = Story({}, max_losses=2)
    story.scheduler.handle(Room(1, 0))
    story.scheduler.handle(Demand([1]))
    assert submitted(story.scheduler.handle(Grown([GrownTask(1, (), False, 1)]))) == [(1, 1)]
    told = story.send(Failed((1, 1)))
    assert told[0] == Retried((1, 1))
    assert submitted(told) == [(1, 2)]
    assert submitted(story.send(WorkerLost((1, 2), guilty=True))) == [(1, 3)]
    assert submitted(story.send(WorkerLost((1, 3), guilty=False))) == [(1, 4)]
    assert settled(story.send(WorkerLost((1, 4), guilty=True))) == {1: State.FAILED}


def test_another_attempt_may_be_granted_where_none_is_left() -> None:
    story = Story({})
    story.send(Room(1, 0), Demand([1]))
    assert submitted(story.send(Failed((1, 1), again=True))) == [(1, 2)]
    assert submitted(story.send(Failed((1, 2), again=True))) == [(1, 3)]
    assert settled(story.send(Failed((1, 3)))) == {1: State.FAILED}


@pytest.mark.parametrize(
    ("max_losses", "suspected"), [(1, []), (2, [2]), (3, [3]), (5, [5])], ids=str
)
def test_who_may_lose_only_once_more_is_a_suspect(max_losses: int, suspected: list[int]) -> None:
    story = Story({}, max_losses=max_losses)
    story.send(Room(1, 0), Demand([1]))
    found = []
    for attempt in range(1, max_losses + 1):
        if story.scheduler.suspect((1, attempt)):
            found.append(attempt)
        story.send(WorkerLost((1, attempt), guilty=True))
    assert found == suspected


@pytest.mark.fault(1)
def test_a_failure_is_told_to_all_that_need_it_with_its_root() -> None:
    story = Story({1: (2, 4), 2: (3,)})
    story.send(Room(1, 0), Demand([1]))
    told = story.send(Failed((3, 1)))
    roots = {task: root for a in told if isinstance(a, Settled) for task, _, root in a.tasks}
    assert {task: roots[task] for task in (1, 2, 3)} == {1: 3, 2: 3, 3: 3}
    assert settled(told)[4] is State.CANCELLED, "nobody wants it any more"


def test_keep_going_runs_what_does_not_need_the_failure() -> None:
    story = Story({1: (2, 3)}, keep_going=True)
    story.send(Room(1, 0), Demand([1]))
    told = story.send(Failed((2, 1)))
    assert submitted(told) == [(3, 1)]
    assert settled(story.send(Returned([(3, 1)])))[3] is State.DONE
    assert story.scheduler.unsettled == 0


@pytest.mark.fault(72, 73)
def test_messages_that_come_late_or_twice_change_nothing() -> None:
    story = Story({1: (2,)})
    story.send(Room(1, 0), Demand([1]))
    story.send(WorkerLost((2, 1), guilty=True))
    for event in (
        Returned([(2, 1)]),
        Failed((2, 1)),
        WorkerLost((2, 1), True),
        Unfolded((2, 1), [9]),
    ):
        assert story.send(event) == []
    assert not story.scheduler.expects((2, 1))
    assert story.scheduler.expects((2, 2))
    story.send(Returned([(2, 2)]))
    assert story.send(Returned([(2, 2)])) == []


def test_halt_cancels_everything_and_waits_for_what_is_in_flight() -> None:
    story = Story({1: (2, 3)})
    story.send(Room(1, 0), Demand([1]))
    told = story.send(Halt())
    assert settled(told) == dict.fromkeys((1, 2, 3), State.CANCELLED)
    assert Cancel([(2, 1)]) in told
    assert story.scheduler.in_flight == 1
    assert story.send(WorkerLost((2, 1), guilty=False)) == []
    assert story.scheduler.in_flight == 0


def test_modules_take_no_slot() -> None:
    story = Story({1: (2,)}, local=(1, 2))
    told = story.send(Room(1, 0), Demand([1]))
    assert [a.id for a in told if isinstance(a, Compute)] == [(2, 1)]
    told = story.send(Unfolded((2, 1), [3]))
    assert submitted(told) == [(3, 1)]
    told = story.send(Returned([(3, 1)]))
    assert [a.id for a in told if isinstance(a, Compute)] == [(1, 1)]


def test_a_circle_is_found_and_named() -> None:
    story = Story({1: (2,), 2: (3,), 3: (2,)})
    told = story.send(Room(1, 0), Demand([1]))
    (stuck,) = [action for action in told if isinstance(action, Stuck)]
    assert stuck.circle[0] == stuck.circle[-1]
    assert set(stuck.circle) == {2, 3}
    assert settled(told)[1] is State.FAILED


def test_it_explains_itself() -> None:
    story = Story({1: (2,), 3: ()})
    story.send(Room(1, 0), Demand([1, 3]))
    assert "waits for its needs: 2 (" in story.scheduler.explain(1)
    assert "attempt 1" in story.scheduler.explain(2)
    assert "1 jobs in flight, 1 allowed" in story.scheduler.explain(3)
    assert "is not known" in story.scheduler.explain(99)


def test_the_table_is_whole() -> None:
    assert set(TRANSITIONS) == set(State)
    for state, ways in TRANSITIONS.items():
        assert (not ways) == (state in SETTLED)
        assert all(reason for reason in ways.values())


@pytest.mark.fault(24)
def test_what_may_run_only_once_is_not_begun_again_whoever_died() -> None:
    story = Story({}, max_losses=1)
    story.send(Room(2, 0), Demand([1, 2]))
    assert submitted(story.send(WorkerLost((1, 1), guilty=False, begun=False))) == [(1, 2)]
    assert settled(story.send(WorkerLost((2, 1), guilty=False, begun=True))) == {2: State.FAILED}

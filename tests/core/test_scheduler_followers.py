"""Tasks that are sent to follow what they need, each as a short story."""

from __future__ import annotations

from fancypipe_core._engine.machine.states import (
    Action,
    CameBack,
    Cancel,
    Demand,
    Failed,
    Id,
    Retried,
    Returned,
    Room,
    State,
    Submit,
    Unfolded,
    WorkerLost,
)
from tests.core.test_scheduler import Needs, Story, settled, submitted


def story_of(needs: Needs, *demanded: int, ahead: int = 40) -> Story:
    story = Story(needs, follow=True)
    story.send(Room(2, ahead), Demand(demanded or [max(needs)]))
    return story


def after(actions: list[Action]) -> dict[int, tuple[Id, ...]]:
    return {t: ids for a in actions if isinstance(a, Submit) for t, ids in a.after.items()}


CHAIN = {2: (1,), 3: (2,), 4: (3,)}


def test_a_chain_is_sent_at_once() -> None:
    story = story_of(CHAIN)
    assert submitted(story.log) == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert after(story.log) == {2: ((1, 1),), 3: ((2, 1),), 4: ((3, 1),)}
    assert settled(story.send(Returned([(1, 1), (2, 1), (3, 1), (4, 1)])))[4] is State.DONE


def test_nothing_follows_where_the_backend_does_not_take_that() -> None:
    story = Story(CHAIN)
    assert submitted(story.send(Room(2, 40), Demand([4]))) == [(1, 1)]


def test_a_branch_is_sent_before_the_next_begins() -> None:
    story = story_of({2: (1,), 3: (2,), 5: (4,), 6: (5,), 7: (3, 6)})
    assert [task for task, _ in submitted(story.log)] == [1, 2, 3, 4, 5, 6]
    assert after(story.log)[6] == ((5, 1),)


def test_nothing_follows_several_which_may_be_on_several_workers() -> None:
    story = story_of({3: (1, 2)})
    assert after(story.log) == {}
    actions = story.send(Returned([(1, 1)]))
    assert after(actions) == {3: ((2, 1),)}, "one is left"


def test_only_what_is_not_done_is_followed() -> None:
    story = Story({3: (1, 2)}, follow=True)
    story.send(Room(1, 0), Demand([3]))
    story.send(Returned([(1, 1)]))
    assert after(story.log) == {}
    assert after(story.send(Room(1, 2))) == {3: ((2, 1),)}


def test_what_is_ready_finds_room_beside_followers() -> None:
    chain = {n: (n - 1,) for n in range(2, 100)}
    story = story_of(chain, ahead=4)
    assert len(submitted(story.log)) == 3, "two follow"
    assert submitted(story.send(Demand([200, 201, 202]))) == [(200, 1), (201, 1), (202, 1)]


def test_who_comes_back_waits_and_its_attempt_does_not_count() -> None:
    story = story_of(CHAIN)
    told = story.send(CameBack([(2, 1), (3, 1), (4, 1)]))
    assert not [action for action in told if isinstance(action, (Retried, Submit))]
    assert story.states(2, 3, 4) == [State.WAITING] * 3
    told = story.send(Returned([(1, 1)]))
    assert submitted(told) == [(2, 1), (3, 1), (4, 1)], "3 and 4 came back because of 2"
    assert after(told) == {3: ((2, 1),), 4: ((3, 1),)}


def test_who_came_back_when_its_needs_are_done_goes_at_once() -> None:
    story = story_of({2: (1,)})
    story.send(Returned([(1, 1)]))
    assert submitted(story.send(CameBack([(2, 1)]))) == [(2, 1)]


def test_who_follows_what_fails_fails_and_is_not_waited_for() -> None:
    story = story_of(CHAIN)
    told = story.send(Failed((1, 1), final=True))
    assert settled(told) == dict.fromkeys((1, 2, 3, 4), State.FAILED)
    (cancel,) = [action for action in told if isinstance(action, Cancel)]
    assert sorted(cancel.ids) == [(2, 1), (3, 1), (4, 1)]
    story.send(CameBack([(2, 1), (3, 1), (4, 1)]))
    assert story.scheduler.in_flight == 0


def test_who_follows_what_unfolds_waits_for_that() -> None:
    story = story_of({2: (1,)})
    story.send(Unfolded((1, 1), [9]), CameBack([(2, 1)]))
    assert story.states(1, 2) == [State.UNFOLDED, State.WAITING]
    assert submitted(story.send(Returned([(9, 1)]))) == [(2, 1)]


def test_losses_of_followers_count_as_those_of_others() -> None:
    story = story_of({2: (1,)})
    story.send(WorkerLost((1, 1), guilty=False), WorkerLost((2, 1), guilty=True))
    assert story.states(1, 2) == [State.RUNNING, State.WAITING], "and it follows nobody any more"
    assert submitted(story.send(Returned([(1, 2)]))) == [(2, 2)]


def test_fewer_follow_where_they_come_back() -> None:
    wide = dict.fromkeys(range(2, 202), (1,))
    story = story_of(wide, *wide, ahead=80)
    sent = [id for id in submitted(story.log) if id[0] > 1]
    assert len(sent) == 40
    for _ in range(3):
        sent = submitted(story.send(CameBack(sent)))
    assert len(sent) <= 2, "40 came back, and then some more"


def test_it_says_who_is_followed() -> None:
    assert "attempt 1, sent to follow 1" in story_of({2: (1,)}).scheduler.explain(2)

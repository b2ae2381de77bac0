"""Decisions of the pool machine on followers: jobs that run where their needs are made."""

from __future__ import annotations

from collections.abc import Sequence

from fancypipe_core.backend import NOT_BEGUN, Done, Err, Job, JobId, Live, Lost
from fancypipe_core.toolkit.pool import Pool
from fancypipe_core.toolkit.pool.states import (
    Action,
    Cancel,
    Died,
    Ended,
    Kill,
    RecallJobs,
    Start,
    Submit,
    Tell,
    Up,
)
from tests.pool.test_pool_decisions import (
    CALL,
    CRASH,
    a_pool,
    done,
    hosts,
    job,
    learn,
    sent,
    told,
)


def follower(number: int, *needs: int) -> Job:
    return Job((number, 1), CALL, Live(None), after=tuple((need, 1) for need in needs))


def given_back(actions: Sequence[Action]) -> list[int]:
    events = [event for action in actions if isinstance(action, Tell) for event in action.events]
    return [e.id[0] for e in events if isinstance(e, Lost) and e.why == NOT_BEGUN]


def lost(number: int) -> Lost:
    return Lost((number, 1), NOT_BEGUN)


def two_workers(seconds: float = 0.00001) -> Pool:
    """Return a pool with two workers that are up, where a task takes so long."""
    pool = a_pool(2)
    pool.ask(Submit([job(901), job(902)]), 0.0)
    pool.handle([Up(1), Up(2)], 0.0)
    pool.handle([Ended(1, [done(901)]), Ended(2, [done(902)])], 0.0)
    learn(pool.queue.times, seconds)
    return pool


def test_a_chain_goes_to_one_worker_at_once() -> None:
    pool = two_workers()
    chain = [job(1), *[follower(number, number - 1) for number in range(2, 101)]]
    actions = pool.ask(Submit(chain), 0.0)
    assert {worker for worker, _ in sent(actions)} == {1}
    assert [n for _, numbers in sent(actions) for n in numbers] == list(range(1, 101))
    assert not told(actions)


def test_a_chain_starts_no_second_worker() -> None:
    pool = a_pool(2)
    actions = pool.ask(Submit([job(1), follower(2, 1), follower(3, 2)]), 0.0)
    assert not [action for action in actions if isinstance(action, Start)]
    assert sent(actions) == [(1, [1])], "nothing is known of it: it travels singly"
    assert given_back(actions) == [2, 3]


def test_a_follower_goes_to_the_worker_that_runs_what_it_needs() -> None:
    pool = two_workers()
    pool.ask(Submit([job(1), job(2)]), 0.0)
    assert sent(pool.ask(Submit([follower(3, 2)]), 0.0)) == [(2, [3])]


def test_a_follower_whose_needs_run_apart_comes_back() -> None:
    pool = two_workers()
    pool.ask(Submit([job(1), job(2)]), 0.0)
    actions = pool.ask(Submit([follower(3, 1, 2), follower(4, 3), follower(5, 99)]), 0.0)
    assert given_back(actions) == [3, 4, 5]
    assert not sent(actions)
    assert sent(pool.ask(Submit([job(3)]), 0.0)), "the same id may come again"


def test_subtrees_stay_together() -> None:
    pool = two_workers()
    jobs = []
    for leaf in range(1, 200, 3):
        jobs += [job(leaf), job(leaf + 1), follower(leaf + 2, leaf, leaf + 1)]
    actions = pool.ask(Submit(jobs), 0.0)
    assert len({worker for worker, _ in sent(actions)}) == 2, "they are shared out"
    assert len(given_back(actions)) <= 1, "but for the one that is cut through"


def test_followers_take_no_slot() -> None:
    """What follows runs after what it needs: a worker of several slots has room beside it."""
    pool = Pool(a_pool(1).rules._replace(workers=0, kills=False, in_order=False, fresh=False))
    pool.handle([Up(1, 2)], 0.0)
    pool.ask(Submit([job(1), follower(2, 1)]), 0.0)
    assert sent(pool.ask(Submit([job(3)]), 0.0)) == [(1, [3])]


def test_long_followers_wait_in_the_engine() -> None:
    pool = two_workers(0.1)
    actions = pool.ask(Submit([job(1), *[follower(number, 1) for number in range(2, 10)]]), 0.0)
    assert sent(actions) == [(1, [1])]
    assert given_back(actions) == list(range(2, 10)), "others run them when 1 is done"


def test_a_chain_is_not_recalled_for_who_is_idle() -> None:
    pool = two_workers()
    pool.ask(Submit([job(1), follower(2, 1), follower(3, 2)]), 0.0)
    assert pool.due is None or pool.due > 0.5, "nobody can help"
    assert not [a for a in pool.handle([], 0.01) if isinstance(a, RecallJobs)]


def test_followers_of_what_is_done_are_recalled_for_who_is_idle() -> None:
    pool = two_workers()
    pool.ask(Submit([job(1), *[follower(number, 1) for number in range(2, 6)]]), 0.0)
    pool.handle([Ended(1, [done(1)])], 0.0)
    (recall,) = [a for a in pool.handle([], pool.due or 0.0) if isinstance(a, RecallJobs)]
    assert recall.ids == [(3, 1), (4, 1), (5, 1)]
    actions = pool.handle([Ended(1, [lost(3), lost(4), lost(5)])], 0.01)
    assert given_back(actions) == [3, 4, 5], "their values are not where they would run"


def test_what_is_recalled_with_its_needs_stays_together() -> None:
    pool = two_workers()
    pool.ask(Submit([job(1)]), 0.0)
    pool.ask(Submit([job(2)]), 0.0)
    pool.ask(Submit([job(5), follower(6, 5)]), 0.0)
    pool.handle([Ended(2, [done(2)])], 0.0)
    (recall,) = [a for a in pool.handle([], pool.due or 0.0) if isinstance(a, RecallJobs)]
    assert recall.ids == [(5, 1), (6, 1)]
    actions = pool.handle([Ended(1, [lost(5), lost(6)])], 0.01)
    assert sent(actions) == [(2, [5, 6])]
    assert not told(actions)


def test_a_death_gives_followers_back() -> None:
    pool = two_workers()
    pool.ask(Submit([job(1), follower(2, 1), follower(3, 2)]), 0.0)
    actions = pool.handle([Died(1, CRASH, running=(2, 1))], 0.0)
    events = [event for action in actions if isinstance(action, Tell) for event in action.events]
    whys: dict[JobId, tuple[bool, bool]] = {
        event.id: (event.why.started, event.why.guilty)
        for event in events
        if isinstance(event, Lost)
    }
    assert whys == {(1, 1): (True, False), (2, 1): (True, True), (3, 1): (False, False)}


def test_a_follower_that_comes_back_is_no_refusal() -> None:
    pool = two_workers()
    bad = Err("E", "failed", "", "", None, "here", 1)
    for number in range(1, 60, 2):
        pool.ask(Submit([job(number), follower(number + 1, number)]), 0.0)
        (at,) = [worker for worker in (1, 2) if (number, 1) in pool.jobs(worker)]
        pool.handle([Ended(at, [Done((number, 1), bad, 0.0)])], 0.0)
        actions = pool.handle([Ended(at, [lost(number + 1)])], 0.0)
        assert given_back(actions) == [number + 1]
        assert not [action for action in actions if isinstance(action, Kill)]


def test_who_is_cancelled_takes_its_followers_along() -> None:
    pool = a_pool(1)
    pool.ask(Submit([job(1), job(2), follower(3, 2), job(4)]), 0.0)
    assert given_back(pool.ask(Cancel([(2, 1)]), 0.0)) == [2, 3]


def test_a_suspect_follows_nobody() -> None:
    pool = two_workers()
    pool.ask(Submit([job(1)]), 0.0)
    suspect = Job((2, 1), CALL, Live(None), alone=True, after=((1, 1),))
    assert given_back(pool.ask(Submit([suspect]), 0.0)) == [2]


def test_where_others_wait_for_slots_followers_come_back_though_their_needs_are_done() -> None:
    pool = hosts()
    learn(pool.queue.times, 0.00001)
    pool.handle([Up(1, 3)], 0.0)
    pool.ask(Submit([job(1), follower(2, 1), follower(3, 1), job(4), job(5)]), 0.0)
    actions = pool.handle([Up(1, 2, waits=False), Ended(1, [done(1)])], 0.1)
    (recall,) = [action for action in actions if isinstance(action, RecallJobs)]
    assert {2, 3} <= {task for task, _ in recall.ids}, "nobody knows which of them began first"

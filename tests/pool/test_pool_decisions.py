"""Single decisions of the pool machine, each as a short story."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fancypipe_core.backend import (
    NOT_BEGUN,
    Call,
    Certificate,
    Done,
    Job,
    JobId,
    Live,
    Lost,
    Note,
    Ok,
    Payload,
    Slots,
)
from fancypipe_core.toolkit.pool import Pool, Rules
from fancypipe_core.toolkit.pool.queue import Queue
from fancypipe_core.toolkit.pool.start_backoff import Starts
from fancypipe_core.toolkit.pool.states import (
    Action,
    Cancel,
    Died,
    Ended,
    GiveUp,
    Joined,
    Kill,
    Look,
    NotStarted,
    Recall,
    RecallJobs,
    RoundTrip,
    Seen,
    Send,
    Start,
    Submit,
    Tell,
    Up,
)
from fancypipe_core.toolkit.times import Times

CALL = Call("task", Live(None))
OTHER = Call("other", Live(None))
CRASH = Certificate("signal", "SIGSEGV", "here", 1)


def job(number: int, *, call: Call = CALL, limit: float | None = None, alone: bool = False) -> Job:
    return Job((number, 1), call, Live(None), limit, alone)


def done(number: int, seconds: float = 0.1) -> Done:
    return Done((number, 1), Ok(Live(None)), seconds)


def learn(times: Times, seconds: float, call: Call = CALL, often: int = 40) -> None:
    times.learn([(job(1, call=call), done(1, seconds))] * often)


def sent(actions: list[Action]) -> list[tuple[int, list[int]]]:
    return [
        (action.worker, [job.id[0] for job in action.jobs])
        for action in actions
        if isinstance(action, Send)
    ]


def having(actions: list[Action]) -> dict[int, list[int]]:
    """Return what each worker was sent in all."""
    there: dict[int, list[int]] = {}
    for worker, numbers in sent(actions):
        there.setdefault(worker, []).extend(numbers)
    return there


def told(actions: list[Action]) -> list[JobId]:
    events = [event for action in actions if isinstance(action, Tell) for event in action.events]
    return [event.id for event in events if isinstance(event, (Done, Lost))]


def a_pool(workers: int = 2, **rules: float) -> Pool:
    pool = Pool(Rules(workers)._replace(**rules))  # type: ignore[arg-type]
    pool.open(0.0)
    return pool


def test_long_jobs_wait_in_the_queue_and_short_ones_at_the_workers() -> None:
    pool = a_pool()
    first = pool.ask(Submit([job(n) for n in range(1, 1001)]), 0.0)
    assert sent(first) == [(1, [1]), (2, [2])], "nothing is known of them yet"
    pool.handle([Up(1), Up(2)], 0.1)
    learn(pool.queue.times, 0.00001)
    (worker, numbers), *_ = sent(pool.handle([Ended(1, [done(1, 0.00001)])], 0.2))
    assert worker == 1
    assert 400 < len(numbers) <= 500, "by the hundred, and no more than its share"


@pytest.mark.parametrize(("seconds", "waiting"), [(0.01, 2), (0.09, 2), (0.5, 1)])
def test_behind_a_job_of_some_time_one_waits_at_the_worker(seconds: float, waiting: int) -> None:
    """It never waits for the way there, unless that is nothing beside what it does."""
    pool = a_pool(next=0.1)
    learn(pool.queue.times, seconds)
    there = having(pool.ask(Submit([job(n) for n in range(1, 101)]), 0.1))
    assert {worker: len(numbers) for worker, numbers in there.items()} == {1: waiting, 2: waiting}
    pool.handle([Up(1), Up(2)], 0.1)
    actions = pool.handle([Ended(1, [done(1, seconds)])], 0.2)
    assert [(worker, len(numbers)) for worker, numbers in sent(actions)] == [(1, 1)]


def test_what_waits_behind_a_job_that_takes_longer_goes_to_who_is_idle() -> None:
    pool = a_pool(next=0.1)
    learn(pool.queue.times, 0.01)
    there = having(pool.ask(Submit([job(n) for n in range(1, 5)]), 0.1))
    assert len(there[1]) == len(there[2]) == 2
    pool.handle([Up(1), Up(2)], 0.1)
    pool.handle([Ended(2, [done(number, 0.01) for number in there[2]])], 0.2)
    due = pool.due
    assert due is not None
    recalled = [one.ids for one in pool.handle([], due) if isinstance(one, RecallJobs)]
    assert recalled == [[(there[1][1], 1)]]


def test_what_waits_behind_a_long_job_goes_to_who_follows_one_that_dies() -> None:
    """It came there while the other was about to die, and had nothing that is to run again."""
    pool = a_pool(next=0.1)
    there = having(pool.ask(Submit([job(1), job(2)]), 0.0))
    assert there == {1: [1], 2: [2]}
    pool.handle([Up(1), Up(2)], 0.1)
    actions = pool.ask(Cancel([(2, 1)]), 0.2)
    assert having(pool.ask(Submit([job(3)]), 0.2)) == {1: [3]}
    now = 0.2
    while not any(isinstance(one, Kill) for one in actions):
        now = max(now, pool.due or now)
        looks = [one for one in actions if isinstance(one, Look)]
        seen = [Seen(one.worker, (one.worker, 1), True, True, False) for one in looks]
        actions = pool.handle(seen, now)
    why = Certificate("cancelled", "SIGKILL", "h", 1, started=True, guilty=False)
    actions += pool.handle([Died(2, why, (2, 1))], now)
    (started,) = [one.worker for one in actions if isinstance(one, Start)]
    actions = pool.handle([Up(started)], now)
    while not any(isinstance(one, RecallJobs) for one in actions):
        assert pool.due is not None, "it would wait for the long one"
        now = max(now, pool.due)
        actions = pool.handle([], now)
    assert [one.ids for one in actions if isinstance(one, RecallJobs)] == [[(3, 1)]]


def test_of_large_values_no_hundreds_wait_at_a_worker() -> None:
    """They take no time to compute, but on the way, and memory at both ends."""
    pool = a_pool(1)
    pool.handle([Up(1)], 0.0)
    pool.ask(Submit([job(n) for n in range(1, 101)]), 0.0)
    large = Ok((Payload(b"", (bytes(8_000_000),)),))
    now, most = 0.0, 0
    for number in range(1, 61):
        now += 0.01
        actions = pool.handle([Ended(1, [Done((number, 1), large, 0.0001)])], now)
        most = max([most, *(len(numbers) for _, numbers in sent(actions))])
    assert most <= 2


def test_a_definition_is_known_by_its_own_pace() -> None:
    times = Times()
    for _ in range(40):
        learn(times, 0.00001, often=1)
        learn(times, 1.0, OTHER, often=1)
    learn(times, 0.5, often=1)
    assert times.expected(CALL) < 0.001, "one outlier makes no task long"
    assert times.expected(OTHER) == pytest.approx(1.0, rel=0.01)


def hosts(**rules: float) -> Pool:
    """A pool of workers that come by themselves."""
    some = Rules(
        0, kills=False, in_order=False, fresh=False, least_ahead=1, most_ahead=1.0,
        first=30.0, away=60.0, spared=2,
    )  # fmt: skip
    pool = Pool(some._replace(**rules))  # type: ignore[arg-type]
    pool.open(0.0)
    return pool


def given_back(number: int) -> Lost:
    return Lost((number, 1), Certificate("cancelled", "not begun", "h", 1, False, False))


def test_who_joins_has_jobs_when_it_is_up_and_not_before() -> None:
    pool = hosts()
    pool.handle([Joined(1, 5.0)], 0.0)
    assert sent(pool.ask(Submit([job(1)]), 1.0)) == []
    pool.handle([Joined(1, 5.0)], 4.0)  # its code is still on the way
    assert pool.handle([], 8.0) == []
    (kill,) = pool.handle([], 9.0)
    assert isinstance(kill, Kill)
    assert kill.reason == "start"
    pool.handle([Died(1, CRASH), Joined(2, 5.0)], 9.0)
    assert sent(pool.handle([Up(2)], 10.0)) == [(2, [1])]


def test_who_is_stopped_again_and_again_and_works_in_between_is_not_frozen() -> None:
    """As programs do that keep others from taking too much of a processor."""
    pool = a_pool(1, frozen=3.0)
    learn(pool.queue.times, 0.0001)
    pool.handle([Up(1)], 0.0)
    pool.ask(Submit([job(n) for n in range(1, 40)]), 0.0)
    seen = Seen(1, (39, 1), begun=True, works=True, stopped=True)
    for turn in range(1, 20):
        pool.handle([Ended(1, [done(turn)])], turn - 0.5)
        actions = pool.handle([], turn + 0.1)
        assert any(isinstance(action, Look) for action in actions), f"turn {turn}"
        actions = pool.handle([seen], turn + 0.1)
        assert not any(isinstance(action, Kill) for action in actions), f"turn {turn}"


@pytest.mark.parametrize("pool", [hosts(), a_pool(1)], ids=["hosts", "processes"])
def test_who_returns_all_that_it_is_given_is_given_up(pool: Pool) -> None:
    """Else the same job goes there and back for ever."""
    pool.handle([Up(1)], 0.0)
    actions = pool.ask(Submit([job(1)]), 0.0)
    for turn in range(1, 5):
        assert sent(actions)[-1:] == [(1, [1])], f"turn {turn}"
        actions = pool.handle([Ended(1, [given_back(1)])], 0.1 * turn)
    actions = pool.handle([Ended(1, [given_back(1)])], 0.6)
    kill = next(action for action in actions if isinstance(action, Kill))
    assert (kill.worker, kill.reason) == (1, "protocol")
    assert "returned jobs that were not recalled" in kill.why
    pool.check()


def test_who_returns_each_job_once_since_an_input_is_gone_is_not_given_up() -> None:
    pool = hosts()
    pool.handle([Up(1, 8)], 0.0)
    pool.ask(Submit([job(n) for n in range(1, 9)]), 0.0)
    gone = Certificate("gone", "an input is gone", "h", 1, False, False)
    for turn in range(1, 9):
        actions = pool.handle([Ended(1, [Lost((turn, 1), gone)])], 0.1 * turn)
        assert sent(actions)[-1:] == [(1, [turn])]
    actions = [
        action
        for turn in range(1, 6)
        for action in pool.handle([Ended(1, [Lost((turn, 1), gone)])], 1.0 + 0.1 * turn)
    ]
    kill = next(action for action in actions if isinstance(action, Kill))
    assert "returned jobs that were not recalled" in kill.why
    pool.check()


def test_what_is_recalled_is_no_refusal() -> None:
    pool = hosts()
    pool.handle([Up(1)], 0.0)
    actions = pool.ask(Submit([job(1), job(2)]), 0.0)
    for turn in range(1, 10):
        pool.ask(Recall([(2, 1)]), 0.1 * turn)
        actions = pool.handle([Ended(1, [given_back(2)])], 0.1 * turn + 0.05)
        assert not any(isinstance(action, Kill) for action in actions)
        pool.ask(Submit([job(2)]), 0.1 * turn + 0.06)


def test_each_slot_has_one_job_ahead_however_long_they_take() -> None:
    pool = hosts()
    learn(pool.queue.times, 3600.0)
    pool.ask(Submit([job(n) for n in range(1, 20)]), 0.0)
    assert sent(pool.handle([Up(1, 2)], 0.0)) == [(1, [1, 2, 3, 4])]


def test_who_is_far_away_has_more_ahead_than_who_is_near() -> None:
    pool = hosts()
    learn(pool.queue.times, 0.01)
    pool.handle([Up(1), RoundTrip(1, 0.1), Up(2), RoundTrip(2, 0.001)], 0.0)
    found = sent(pool.ask(Submit([job(n) for n in range(1, 200)]), 0.0))
    assert {worker: len(numbers) for worker, numbers in found} == {1: 20, 2: 2}


def test_no_work_ahead_where_others_have_slots() -> None:
    pool = hosts()
    pool.handle([Up(1, 2, waits=False), RoundTrip(1, 0.5)], 0.0)
    assert sent(pool.ask(Submit([job(n) for n in range(1, 9)]), 0.0)) == [(1, [1, 2])]


def test_when_all_workers_are_gone_there_is_room_for_what_waits_for_the_next() -> None:
    pool = hosts()
    pool.handle([Up(1, 2)], 0.0)
    pool.ask(Submit([job(1), job(2)]), 0.0)
    actions = pool.handle([Died(1, CRASH, all_begun=True)], 1.0)
    events = [event for action in actions if isinstance(action, Tell) for event in action.events]
    assert [event.count for event in events if isinstance(event, Slots)] == [1]
    pool.ask(Submit([job(1)]), 1.0)
    assert sent(pool.handle([Up(2, 2)], 2.0)) == [(2, [1])]


def test_what_waits_where_others_come_is_recalled_and_goes_elsewhere() -> None:
    pool = hosts()
    pool.handle([Up(1, 2)], 0.0)
    pool.ask(Submit([job(n) for n in range(1, 5)]), 0.0)
    actions = pool.handle([Up(1, 1, waits=False)], 1.0)
    assert [one for one in actions if isinstance(one, RecallJobs)] == [
        RecallJobs(1, [(2, 1), (3, 1), (4, 1)])
    ]
    # The second runs already, and goes on.
    assert told(pool.handle([Ended(1, [given_back(3), given_back(4)])], 1.1)) == []
    assert sent(pool.handle([Up(2, 2)], 1.2)) == [(2, [3, 4])]


def test_what_nobody_wants_and_is_given_back_is_told() -> None:
    pool = hosts()
    pool.handle([Up(1, 1)], 0.0)
    pool.ask(Submit([job(1), job(2)]), 0.0)
    (action,) = pool.ask(Recall([(2, 1)]), 0.1)
    assert action == RecallJobs(1, [(2, 1)])
    assert told(pool.handle([Ended(1, [given_back(2)])], 0.2)) == [(2, 1)]


def test_a_whole_workers_death_is_held_against_a_task_when_that_is_no_accident_any_more() -> None:
    pool = hosts()
    for number in range(1, 4):
        pool.ask(Submit([job(1)]), 0.0)
        pool.handle([Up(number)], 0.0)
        (lost,) = (
            event
            for action in pool.handle([Died(number, CRASH, all_begun=True)], 1.0)
            if isinstance(action, Tell)
            for event in action.events
            if isinstance(event, Lost)
        )
        assert lost.why.started, "it may have run"
        assert lost.why.guilty == (number == 3)


@pytest.mark.parametrize("rules", [{}, {"fresh": False}])
def test_a_worker_that_left_is_no_tasks_fault(rules: dict[str, Any]) -> None:
    pool = Pool(Rules(0, kills=False, in_order=False, first=30.0, away=30.0)._replace(**rules))
    for number in range(1, 12):
        pool.handle([Up(number, 2)], 0.0)
        pool.ask(Submit([job(1), job(2)]), 0.0)
        why = Certificate("left", "preempted", "node1", 0)
        actions = pool.handle([Died(number, why, all_begun=True)], 1.0)
        assert not pool.queue.suspects, "both may go on beside others"
        events = [event for one in actions if isinstance(one, Tell) for event in one.events]
        lost = [event.why for event in events if isinstance(event, Lost)]
        assert [(one.reason, one.started, one.guilty) for one in lost] == [
            ("left", True, False)
        ] * 2


def test_nobody_comes() -> None:
    pool = hosts()
    assert pool.due == 30.0
    pool.handle([Joined(1, 60.0)], 10.0)
    assert any(isinstance(action, GiveUp) for action in pool.handle([], 30.0))


def test_nobody_is_left() -> None:
    pool = hosts()
    pool.handle([Up(1)], 0.0)
    pool.handle([Died(1, CRASH)], 100.0)
    due = [pool.due]
    pool.ask(Submit([job(1)]), 200.0)
    assert [*due, pool.due] == [None, 260.0]
    assert any(isinstance(action, GiveUp) for action in pool.handle([], 260.0))


def whole(**rules: Any) -> Pool:
    """An engine of others, with no limit but that for being without any worker."""
    whole = Rules(1, slots=0, kills=False, in_order=False, away=60.0, start=1e9)
    pool = Pool(whole._replace(**rules))
    pool.open(0.0)
    pool.handle([Up(1, 2)], 0.0)
    return pool


def warnings(actions: Sequence[Action]) -> list[str]:
    events = [event for one in actions if isinstance(one, Tell) for event in one.events]
    return [event.text for event in events if isinstance(event, Note)]


def test_an_engine_without_workers_is_not_waited_for_without_end() -> None:
    pool = whole()
    pool.ask(Submit([job(1)]), 10.0)
    assert pool.due is None, "a job may take as long as it likes"
    pool.handle([Up(1, 2, manned=False)], 20.0)
    said = warnings(pool.handle([], 25.0))
    limit = "within 60 s (the setting backend_start_limit)"
    assert said == [
        f"no worker is there, and work waits (1 under way); if none comes {limit}, the run ends"
    ]
    assert not pool.handle([], 79.0)
    assert pool.handle([], 80.0) == [GiveUp("no worker could be used", away=True)]
    assert warnings(pool.handle([], 85.0))
    assert pool.handle([], 140.0) == [GiveUp("no worker could be used", away=True)], "and again"


def test_an_engine_whose_workers_come_again_is_not_given_up() -> None:
    pool = whole()
    pool.ask(Submit([job(1)]), 10.0)
    pool.handle([Up(1, 2, manned=False)], 20.0)
    pool.handle([Up(1, 2)], 22.0)
    assert pool.due is None
    pool.handle([Up(1, 2, manned=False)], 30.0)
    assert warnings(pool.handle([], 35.0))
    assert pool.due == 90.0, "counted anew"


def test_an_engine_that_is_lost_and_does_not_come_up_again_is_given_up() -> None:
    pool = whole()
    pool.ask(Submit([job(1)]), 10.0)
    pool.handle([Died(1, CRASH, all_begun=True)], 20.0)
    pool.ask(Submit([job(2)]), 21.0)
    actions: list[Action] = []
    while pool.due is not None and pool.due < 90.0:
        actions += pool.handle([], pool.due)
    assert any(isinstance(action, Start) for action in actions)
    assert warnings(actions)
    assert GiveUp("no worker could be used", away=True) in actions


def test_what_was_tried_since_an_engine_is_lost_is_said_and_not_what_failed_before() -> None:
    pool = whole()
    pool.ask(Submit([job(1)]), 10.0)
    pool.handle([Died(1, CRASH, all_begun=True)], 20.0)
    pool.ask(Submit([job(2)]), 20.0)
    (start,) = [one for one in pool.handle([], 21.0) if isinstance(one, Start)]
    pool.handle([NotStarted(start.worker, "no scheduler at head:1")], 22.0)
    (start,) = [one for one in pool.handle([], 23.0) if isinstance(one, Start)]
    (said,) = warnings(pool.handle([], 25.0))
    assert said.endswith("; the last attempt: it could not be started: no scheduler at head:1")
    assert pool.last_failure == "it could not be started: no scheduler at head:1"
    pool.handle([Up(start.worker, 2)], 27.0)
    pool.handle([Ended(start.worker, [done(2)])], 28.0)
    assert not pool.last_failure


def test_what_was_tried_is_known_also_after_so_many_attempts_that_it_is_hopeless() -> None:
    pool = whole(bad_starts=1)
    pool.handle([Died(1, CRASH, all_begun=True)], 20.0)
    (start,) = [one for one in pool.ask(Submit([job(1)]), 20.0) if isinstance(one, Start)]
    actions = pool.handle([NotStarted(start.worker, "no scheduler")], 30.0)
    actions += pool.handle([], 30.1)
    assert [one.away for one in actions if isinstance(one, GiveUp)] == [False]
    assert pool.last_failure == "it could not be started: no scheduler"


def test_an_engine_without_workers_and_without_work_is_left_alone() -> None:
    pool = whole()
    pool.ask(Submit([job(1)]), 10.0)
    pool.handle([Up(1, 2, manned=False)], 20.0)
    pool.handle([Ended(1, [done(1)])], 21.0)
    assert pool.due is None


def test_a_worker_far_away_has_work_ahead_though_jobs_are_long() -> None:
    pool = Pool(Rules(0, kills=False, in_order=False, fresh=False, least_ahead=1))
    pool.handle([Up(7, 2)], 0.0)
    assert sent(pool.ask(Submit([job(n) for n in range(9)]), 0.0)) == [(7, [0, 1, 2, 3])]


@pytest.mark.fault(31)
def test_a_death_costs_what_ran_and_nothing_else() -> None:
    pool = a_pool(1)
    pool.handle([Up(1), Ended(1)], 0.1)
    learn(pool.queue.times, 0.00001)
    assert sent(pool.ask(Submit([job(n) for n in range(1, 5)]), 0.2)) == [(1, [1, 2, 3, 4])]
    actions = pool.handle([Died(1, CRASH, (2, 1))], 0.3)
    (tell,) = [action for action in actions if isinstance(action, Tell)]
    assert [(e.id, e.why.guilty) for e in tell.events if isinstance(e, Lost)] == [
        ((1, 1), False),  # it had run, and its result went with the worker
        ((2, 1), True),
    ]
    assert sent(actions) == [(2, [3, 4])], "these go to the next, as if never sent"


@pytest.mark.parametrize("wish", [Recall, Cancel])
def test_who_dies_of_what_was_recalled_too_late_is_held_against_it(
    wish: type[Recall | Cancel],
) -> None:
    pool = a_pool(1)
    pool.handle([Up(1), Ended(1)], 0.1)
    pool.ask(Submit([job(1)]), 0.2)
    pool.ask(wish([(1, 1)]), 0.3)
    (tell,) = [a for a in pool.handle([Died(1, CRASH, (1, 1))], 0.4) if isinstance(a, Tell)]
    (lost,) = [event for event in tell.events if isinstance(event, Lost)]
    expected = ("signal", True) if wish is Recall else ("cancelled", False)
    assert (lost.why.reason, lost.why.guilty) == expected


def test_jobs_behind_a_busy_worker_go_to_the_idle_one() -> None:
    pool = a_pool()
    learn(pool.queue.times, 0.001)
    sent_first = sent(pool.ask(Submit([job(1), job(2), job(3), job(4)]), 0.1))
    assert sent_first == [(1, [1, 2]), (2, [3, 4])]
    pool.handle([Up(1), Up(2), Ended(2, [done(3, 0.001), done(4, 0.001)])], 0.2)
    assert RecallJobs(1, [(2, 1)]) in pool.handle([], 0.203)
    # It is busy and does not answer: what stands behind the job that it runs has not begun.
    assert Look(1) in pool.handle([], 0.24)
    assert sent(pool.handle([Seen(1, (1, 1), True, True)], 0.24)) == [(2, [2])]


def test_who_does_not_answer_can_be_asked_for_more() -> None:
    """A cancelled job stands behind one that keeps the interpreter; so do others."""
    pool = a_pool()
    learn(pool.queue.times, 0.001)
    pool.ask(Submit([job(n) for n in range(1, 7)]), 0.1)
    assert pool.jobs(1) == {(1, 1), (2, 1), (3, 1)}
    pool.handle([Up(1), Up(2), Ended(2, [done(n, 0.001) for n in (4, 5)])], 0.2)
    pool.ask(Cancel([(2, 1)]), 0.2)
    assert Look(1) in pool.handle([], 0.23)
    assert told(pool.handle([Seen(1, (1, 1), True, True)], 0.23)) == [(2, 1)]
    pool.handle([Ended(2, [done(6, 0.001)])], 0.24)
    assert RecallJobs(1, [(3, 1)]) in pool.handle([], 0.25)
    pool.handle([], 0.28)
    assert sent(pool.handle([Seen(1, (1, 1), True, True)], 0.28)) == [(2, [3])]
    more = pool.ask(Submit([job(7), job(8)]), 0.3)
    assert {worker for worker, _ in sent(more)} == {2}, "it may yet run what comes"


def test_what_was_not_begun_comes_first_again() -> None:
    pool = a_pool(1)
    learn(pool.queue.times, 0.00001)
    pool.handle([Up(1)], 0.1)
    pool.ask(Submit([job(1), job(2), job(3)]), 0.2)
    pool.handle([Ended(1, [Lost((number, 1), NOT_BEGUN) for number in (2, 3)])], 0.3)
    assert pool.explain((3, 1)).startswith("job (3, 1) is number 3 at a worker")


@pytest.mark.fault(12)
def test_a_limit_is_of_the_job_that_runs() -> None:
    pool = a_pool(1)
    pool.handle([Up(1)], 0.1)
    pool.ask(Submit([job(1, limit=5.0)]), 0.2)
    for second in range(1, 5):
        pool.handle([Seen(1, (1, 1), True, True)] if second > 1 else [], 0.2 + second)
    assert Look(1) in pool.handle([], 5.3)
    assert Kill(1, "timeout") in pool.handle([Seen(1, (1, 1), True, True)], 5.3)


@pytest.mark.fault(83)
def test_our_own_pause_is_nobodys_fault() -> None:
    """The client was stopped for an hour; what its workers said meanwhile is read first."""
    pool = a_pool(1, frozen=20.0)
    pool.handle([Up(1)], 0.1)
    pool.ask(Submit([job(1, limit=60.0)]), 0.2)
    actions = pool.handle([], 3600.0)
    assert not [action for action in actions if isinstance(action, Kill)]
    assert told(pool.handle([Ended(1, [done(1)])], 3600.1)) == [(1, 1)]


def test_who_only_asks_judges_nobody() -> None:
    """The engine submits for a minute, and reads nothing meanwhile."""
    pool = a_pool(1, frozen=5.0)
    pool.handle([Up(1)], 0.1)
    for second in range(60):
        actions = pool.ask(Submit([job(second)]), float(second))
        assert not [action for action in actions if isinstance(action, (Kill, Look))]


@pytest.mark.fault(32)
def test_pauses_double_and_end_in_giving_up() -> None:
    rules = Rules(2, bad_starts=8)
    starts = Starts(rules)
    pauses: list[float] = []
    while not starts.hopeless:
        now = float(len(pauses))
        pauses.append(round(starts.failed(now, now, "it is ill", ("cough",)), 3))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    pool = Pool(rules._replace(bad_starts=2))
    pool.open(0.0)
    pool.ask(Submit([job(1)]), 0.0)
    assert not pool.handle([NotStarted(1, "no room")], 0.0)
    assert Start(2) in pool.handle([], 0.11), "after a pause"
    given_up = GiveUp("it could not be started: no room")
    assert given_up in pool.handle([NotStarted(2, "no room")], 0.2)


@pytest.mark.fault(32)
def test_what_is_started_together_fails_together_and_two_that_hang_are_enough() -> None:
    starts = Starts(Rules(2))
    for _ in range(100):
        starts.failed(1.0, 2.0, "it is ill")
    assert starts.failures == 1
    starts.succeeded()
    starts.failed(3.0, 63.0, "it hangs", hung=True)
    assert not starts.hopeless
    starts.failed(64.0, 124.0, "it hangs", hung=True)
    assert starts.hopeless


def test_suspects_wait_apart_and_what_comes_back_comes_first() -> None:
    queue = Queue(fresh=True)
    queue.add([job(1), job(2, alone=True), job(3)])
    assert [one.id[0] for one in queue.alone] == [2]
    taken, _ = queue.batch(1, 1, 0.0)
    assert [one.id[0] for one in taken] == [1]
    queue.requeue([job(4, alone=True), *taken, job(5)])
    assert [one.id[0] for one in queue.jobs] == [1, 5, 3]
    assert [one.id[0] for one in queue.alone] == [4, 2]
    assert queue.drop({(2, 1), (5, 1), (9, 1)}) == [(5, 1), (2, 1)]
    assert [one.id[0] for one in queue.jobs] == [1, 3]


def test_short_jobs_travel_together_and_long_ones_singly() -> None:
    queue = Queue(fresh=True)
    learn(queue.times, 0.0005)

    def cut(slots: int, *jobs: Job) -> list[list[int]]:
        return [[job.id[0] for job in batch] for batch in queue.batches(list(jobs), slots)]

    short = [job(n) for n in range(6)]
    long = job(9, call=OTHER)
    assert cut(2, *short) == [[0, 1, 2], [3, 4, 5]], "each slot gets its share"
    assert cut(1, *short) == [[0, 1, 2], [3, 4, 5]], "and so much as is short together"
    assert cut(1, short[0], long, short[1]) == [[0], [9], [1]]
    queue.add([job(10)])
    assert cut(6, *short) == [[0, 1, 2], [3, 4, 5]], "there is more for the others"


def test_where_a_call_costs_much_more_travels_together() -> None:
    queue = Queue(fresh=True, together=1.0)
    learn(queue.times, 0.3)
    jobs = [job(n) for n in range(8)]
    assert [len(batch) for batch in queue.batches(jobs, 1)] == [3, 3, 2]
    assert [len(batch) for batch in queue.batches(jobs, 4)] == [2, 2, 2, 2], "each has its share"


def test_of_a_batch_that_came_to_nothing_each_travels_singly() -> None:
    queue = Queue(fresh=True)
    learn(queue.times, 1e-5)
    jobs = [job(n) for n in range(4)]
    queue.travelled([job.id for job in jobs], {jobs[0].id})
    assert [len(batch) for batch in queue.batches(jobs, 1)] == [1, 1, 1, 1]
    for each in jobs[1:]:
        queue.travelled([each.id], {each.id})
    assert [len(batch) for batch in queue.batches(jobs, 1)] == [4]

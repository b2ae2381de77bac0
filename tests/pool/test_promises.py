"""Jobs with needs in the pool machine: who waits for whom, each as a short story."""

from __future__ import annotations

import pytest

from fancypipe_core.backend import Call, Certificate, Done, Equipment, Job, Live, Needs, Ok
from fancypipe_core.toolkit.pool import Pool, Rules
from fancypipe_core.toolkit.pool.states import Action, Cancel, Died, Ended, GiveUp, Send, Submit, Up
from tests.pool.watched import Watched

CALL = Call("task", Live(None))


def job(number: int, needs: Needs | None = None) -> Job:
    return Job((number, 1), CALL, Live(None), needs=needs)


def sent(actions: list[Action]) -> dict[int, int]:
    """Return which worker each job is sent to."""
    sends = [action for action in actions if isinstance(action, Send)]
    return {job.id[0]: send.worker for send in sends for job in send.jobs}


def end(pool: Pool, worker: int, number: int, now: float) -> list[Action]:
    done = Done((number, 1), Ok(Live(None)), 1.0)
    actions = pool.handle([Ended(worker, [done])], now)
    pool.check()
    return actions


class Story:
    """Four processes on a machine of four cores, that are all up."""

    def __init__(self, workers: int = 4) -> None:
        machine = Equipment(workers, 100, ("0", "1"))
        self.pool = Pool(Rules(workers, equipment=lambda: machine))
        self.now = 0.0
        self.at: dict[int, int] = {}
        self.devices: dict[int, tuple[str, ...]] = {}
        self._hear(self.pool.open(0.0))
        self.submit(*(job(1000 + n) for n in range(workers)))
        for number in range(1, workers + 1):
            self._hear(self.pool.handle([Up(number)], 0.0))
        for number in range(workers):
            for _ in range(40 if number == 0 else 1):  # it is known that they are long
                self.pool.queue.times.learn([(job(1), Done((1, 1), Ok(Live(None)), 1.0))])
            self.end(1000 + number)
        assert not self.at

    def _hear(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                for one in action.jobs:
                    self.at[one.id[0]] = action.worker
                    self.devices[one.id[0]] = one.devices
        self.pool.check()

    def submit(self, *jobs: Job) -> None:
        self._hear(self.pool.ask(Submit(jobs), self.now))

    def end(self, number: int) -> None:
        self.now += 0.01
        done = Done((number, 1), Ok(Live(None)), 1.0)
        self._hear(self.pool.handle([Ended(self.at.pop(number), [done])], self.now))


def test_a_job_takes_as_many_slots_as_it_needs_cores() -> None:
    story = Story()
    story.submit(job(1, Needs(3)), job(2), job(3))
    assert set(story.at) == {1, 2}
    story.end(1)
    assert set(story.at) == {2, 3}


def test_slots_that_become_free_are_kept_for_the_oldest_that_does_not_fit() -> None:
    story = Story()
    story.submit(*map(job, range(1, 5)))
    story.submit(job(5, Needs(3)), *map(job, range(6, 20)))
    assert set(story.at) == {1, 2, 3, 4}
    for number in (1, 2):  # small ones keep coming, and none of them begins
        story.end(number)
        story.submit(job(100 + number))
        assert set(story.at) <= {1, 2, 3, 4}
    story.end(3)
    assert set(story.at) == {4, 5}
    story.end(4)
    assert set(story.at) == {5, 6}  # those slots that it does not take are for others


def test_no_more_slots_are_kept_than_it_needs() -> None:
    story = Story()
    story.submit(*map(job, range(1, 5)))
    story.submit(job(5, Needs(2)), job(6), job(7))
    story.end(1)
    assert set(story.at) == {2, 3, 4}
    story.end(2)
    assert set(story.at) == {3, 4, 5}
    story.end(3)
    assert set(story.at) == {4, 5, 6}


def test_no_slot_idles_for_who_waits_for_a_device() -> None:
    story = Story()
    story.submit(job(1, Needs(gpu=2)), job(2, Needs(gpu=1)), job(3), job(4), job(5))
    assert set(story.at) == {1, 3, 4, 5}
    assert story.devices[1] == ("0", "1")
    story.submit(job(6))
    story.end(3)
    assert 6 in story.at
    story.end(1)
    assert 2 in story.at
    assert story.devices[2] == ("0",)


def test_what_comes_back_has_no_device_that_another_has() -> None:
    """Its worker did not come up: it is promised a device like any other."""
    machine = Equipment(2, 100, ("0", "1"))
    pool = Pool(Rules(2, equipment=lambda: machine))
    pool.open(0.0)
    actions = pool.ask(Submit([job(n, Needs(gpu=1)) for n in (1, 2, 3)]), 0.0)
    at = sent(actions)
    why = Certificate("start", "", "h", 1, started=False, guilty=False)
    actions = pool.handle([Died(at[1], why, None, begun=False)], 1.0)
    actions += pool.handle([], pool.due or 1.0)
    actions += pool.handle([Up(at[2])], 2.0)
    actions += end(pool, at[2], 2, 3.0)
    jobs = [one for action in actions if isinstance(action, Send) for one in action.jobs]
    assert {one.id[0] for one in jobs} == {1, 3}
    assert sorted(one.devices for one in jobs) == [("0",), ("1",)]


def test_memory_is_kept_for_who_needs_much_of_it() -> None:
    story = Story()
    story.submit(job(1, Needs(memory=40)), job(2, Needs(memory=40)))
    story.submit(job(3, Needs(memory=90)), job(4, Needs(memory=20)), job(5))
    assert set(story.at) == {1, 2, 5}
    story.end(1)
    assert 4 not in story.at  # it fits, and the older one would wait for ever
    story.end(2)
    assert 3 in story.at
    story.end(3)
    assert 4 in story.at


def test_a_small_job_passes_where_nobody_waits_longer_for_that() -> None:
    story = Story()
    story.submit(job(1, Needs(memory=70)), job(2, Needs(memory=70)), job(3, Needs(gpu=1)))
    assert set(story.at) == {1, 3}


def test_who_waits_longer_goes_first_whatever_it_needs() -> None:
    story = Story(2)
    story.submit(job(1), job(2))
    story.submit(job(3), job(4, Needs(2)), job(5))
    story.end(1)
    assert set(story.at) == {2, 3}
    story.end(2)
    assert set(story.at) == {3}
    story.end(3)
    assert set(story.at) == {4}


def own(number: int, slots: int, memory: int = 0, devices: tuple[str, ...] = ()) -> Up:
    return Up(number, slots, equipment=Equipment(slots, memory, devices))


def test_a_job_goes_to_a_machine_that_has_what_it_needs() -> None:
    pool = Pool(Rules(0, kills=False, in_order=False, fresh=False, equipment=lambda: Equipment(0)))
    pool.open(0.0)
    pool.handle([own(1, 2), own(2, 8, 100), own(3, 2, 0, ("0",))], 0.0)
    at = sent(pool.ask(Submit([job(1, Needs(4)), job(2, Needs(gpu=1)), job(3, Needs(9))]), 0.0))
    assert at == {1: 2, 2: 3}
    pool.check()
    assert pool.explain((3, 1)).startswith("job (3, 1) waits until its needs can be met (9 cpus)")
    assert sent(pool.handle([own(4, 16)], 0.0)) == {3: 4}
    pool.check()


def test_what_no_machine_has_that_is_there_has_a_limit() -> None:
    rules = Rules(0, kills=False, in_order=False, fresh=False, unmet=60.0)
    pool = Pool(rules._replace(equipment=lambda: Equipment(0)))
    pool.open(0.0)
    pool.ask(Submit([job(1, Needs(gpu=1))]), 0.0)
    assert not pool.handle([], 100.0)  # nobody is there at all: that has another limit
    pool.handle([own(1, 2)], 100.0)
    assert pool.due is not None
    assert not pool.handle([], 159.0)
    assert sent(pool.handle([own(2, 1, 0, ("0",))], 159.5)) == {1: 2}
    pool.ask(Submit([job(2), job(3, Needs(3)), job(4, Needs(gpu=1))]), 159.8)
    assert not [one for one in pool.handle([], 161.0) if isinstance(one, GiveUp)]
    assert not [one for one in pool.handle([], 219.0) if isinstance(one, GiveUp)]
    given_up = [one for one in pool.handle([], 221.0) if isinstance(one, GiveUp)]
    assert given_up == [GiveUp("task", unmet=Needs(3))]
    pool.check()


def test_nobody_is_given_up_for_a_job_that_is_not_wanted_any_more() -> None:
    rules = Rules(0, kills=False, in_order=False, fresh=False, unmet=60.0)
    pool = Pool(rules._replace(equipment=lambda: Equipment(0)))
    pool.handle([own(1, 2)], 0.0)
    pool.ask(Submit([job(1, Needs(gpu=1))]), 0.0)
    pool.ask(Cancel([(1, 1)]), 1.0)
    assert not pool.handle([], 100.0)


def test_a_machine_is_emptied_for_a_job_that_needs_much_of_it() -> None:
    pool = Pool(Rules(0, kills=False, in_order=False, fresh=False, equipment=lambda: Equipment(0)))
    pool.open(0.0)
    pool.queue.times.learn([(job(1), Done((1, 1), Ok(Live(None)), 1.0))] * 40)
    pool.handle([own(1, 2)], 0.0)
    assert set(sent(pool.ask(Submit([job(1), job(2)]), 0.0))) == {1, 2}
    assert not sent(pool.ask(Submit([job(3, Needs(2)), job(4)]), 0.0))
    assert not sent(end(pool, 1, 1, 0.1))
    assert sent(end(pool, 1, 2, 0.2)) == {3: 1}
    assert sent(end(pool, 1, 3, 0.3)) == {4: 1}


def test_what_cannot_be_met_here_has_all_that_there_is() -> None:
    story = Story()
    story.submit(job(1))
    story.submit(job(2, Needs(99, 9999, 5)))
    story.submit(job(3))
    assert set(story.at) == {1}
    story.end(1)
    assert set(story.at) == {2}
    assert story.devices[2] == ("0", "1")
    story.end(2)
    assert set(story.at) == {3}


UNMET = {
    "it is not seen that none has it": (
        "promises", "not up or any(not", "not up or any(not not"
    ),
    "it counts while nobody is there": ("promises", "return not up or any(", "return any("),
    "the limit begins anew with each look": (
        "dispatcher", "elif Clock.UNMET not in clocks.due:", "else:"
    ),
    "the limit stays when one has come": (
        "dispatcher", "            clocks.due.pop(Clock.UNMET, None)\n", "            pass\n"
    ),
    "what is not wanted any more is waited for": (
        "dispatcher", "if self._queue.needy or self.unmet is not None:", "if self._queue.needy:"
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", UNMET)
def test_bugs_planted_in_that_limit_are_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part, old, new = UNMET[bug]
    changed = Watched({part: [(old, new)]}).module.Pool
    monkeypatch.setattr("tests.pool.test_promises.Pool", changed)
    with pytest.raises(AssertionError):  # noqa: PT012 - one of the two stories shows it
        test_what_no_machine_has_that_is_there_has_a_limit()
        test_nobody_is_given_up_for_a_job_that_is_not_wanted_any_more()

"""How many jobs of a batch system there are to be: the decisions, without one."""

from __future__ import annotations

import pytest

from fancypipe_remote.client import BatchJob, Fleet, JobState


def jobs(**states: JobState) -> list[BatchJob]:
    return [BatchJob(id, state, f"job {id} {state}") for id, state in states.items()]


@pytest.mark.parametrize(
    ("work", "wanted"), [(0, 1), (1, 1), (4, 1), (5, 2), (4.5, 2), (11, 3), (12, 3), (1000, 3)]
)
def test_there_are_as_many_as_there_is_work_for(work: float, wanted: int) -> None:
    assert Fleet(slots=4, least=1, most=3).wanted(work) == wanted


def test_none_are_left_without_work_if_none_are_asked_for() -> None:
    assert Fleet(slots=4, least=0, most=3).wanted(0) == 0


def test_more_are_submitted_when_more_is_to_do() -> None:
    plan = Fleet(1, 0, 5).look(jobs(a="runs", b="waits", c="leaves", d="ended"), 4, works=True)
    assert plan == (2, [], [], "")


def test_who_waits_and_is_not_needed_is_withdrawn_the_newest_first_and_is_no_failure() -> None:
    fleet = Fleet(1, 0, 5)
    there = jobs(a="runs", b="waits", c="waits", d="waits")
    assert fleet.look(there, 2, works=True).withdraw == ["d", "c"]
    assert fleet.look(there, 0, works=True).withdraw == ["d", "c", "b"], "who runs goes on"
    assert fleet.look(there, 0, works=True, idle=True).withdraw == ["d", "c", "b", "a"]
    assert fleet.look(there, 1, works=True, idle=True).withdraw == ["d", "c", "b"]
    gone = jobs(a="runs", b="failed", c="failed", d="failed")
    assert fleet.look(gone, 1, works=False) == (0, [], [], "")


def test_a_failed_job_is_told_once_and_replaced_and_a_preempted_one_is_only_replaced() -> None:
    fleet = Fleet(1, 0, 5)
    there = jobs(a="failed", b="ended", c="runs")
    assert fleet.look(there, 2, works=True) == (1, [], ["job a failed"], "")
    assert fleet.look(there, 2, works=True) == (1, [], [], "")


def test_jobs_that_come_to_nothing_are_not_submitted_for_ever() -> None:
    fleet = Fleet(1, 0, 1)
    there: list[BatchJob] = []
    for number in range(2):
        there.append(BatchJob(f"a{number}", "failed", "it failed"))
        assert fleet.look(there, 1, works=False).start == 1
    there += jobs(last="failed")
    waits = fleet.look([*there, *jobs(other="waits")], 2, works=False)
    assert (waits.start, waits.withdraw, waits.hopeless) == (0, [], "")
    plan = fleet.look(there, 1, works=False)
    why = "3 jobs failed before a worker in them could be used; the last: job last failed"
    assert (plan.start, plan.hopeless) == (0, why)


def test_who_is_preempted_again_and_again_comes_again_and_again() -> None:
    fleet = Fleet(1, 0, 1)
    there: list[BatchJob] = []
    for number in range(10):
        there.append(BatchJob(f"a{number}", "ended", "it was preempted"))
        assert fleet.look(there, 1, works=False) == (1, [], [], "")


def test_a_worker_that_could_be_used_gives_hope_again() -> None:
    fleet = Fleet(1, 0, 1)
    there: list[BatchJob] = []
    for number in range(10):
        there.append(BatchJob(f"a{number}", "failed", "it failed"))
        plan = fleet.look(there, 1, works=number % 2 == 1)
        assert (plan.start, plan.hopeless) == (1, "")

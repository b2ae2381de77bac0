"""Rule 11: jobs whose inputs are still being made, for backends that take them."""

from __future__ import annotations

import pytest

from fancypipe_core.backend import Done, Job, Lost
from fancypipe_core.testing import _jobs as j
from fancypipe_core.testing._rig import Gate, Rig, certificate, short
from fancypipe_core.testing._rules import broken
from fancypipe_core.testing.conformance.conftest import Bench


@pytest.fixture(autouse=True)
def _follows(rig: Rig) -> None:
    if not rig.follows:
        pytest.skip(f"{rig.plugin.name} is not Following: it is sent no followers")


def end_of(rig: Rig, job: Job) -> Done | None:
    """Return how a follower has ended; None if it came back, as it may at any time."""
    (end,) = rig.end(job.id, rule=11)
    if isinstance(end, Lost):
        why = end.why
        seen = f"a follower that cannot run ended with {short(end)}"
        begun = why.started or why.guilty
        assert not begun, broken(11, seen)
        return None
    return end


def test_rule_11_a_follower_finds_the_values(rig: Rig) -> None:
    """What it needs is in its inputs, also one output of several, and what was there before."""
    for _ in range(20):  # a worker may be so quick that there is nothing left to follow
        first, parts = j.same([1, 2]), j.halves(3)
        needs = [rig.job(first), rig.job(parts)]
        task = j.same([first, parts["low"], {"x": first}, "own"])  # one twice, one in part
        last = rig.follower(task, (first, needs[0]), (parts, needs[1]))
        rig.submit(*needs, last)
        made, low = (rig.value(end) for end in rig.end(*(job.id for job in needs)))
        end = end_of(rig, last)
        if end is not None:
            value = rig.value(end)
            assert value == [made, low["low"], {"x": made}, "own"], broken(11, f"it got {value!r}")


def test_rule_11_chains_run_in_order(rig: Rig) -> None:
    """A hundred jobs, each after the one before: those that run do so in that order."""
    instance = j.same(0)
    jobs = [rig.job(instance)]
    for _ in range(100):
        after = j.same((instance,))
        jobs.append(rig.follower(after, (instance, jobs[-1])))
        instance = after
    rig.submit(*jobs)
    ends = [end_of(rig, job) for job in jobs]
    assert ends[0] is not None, broken(11, "the first follows nobody, and came back")
    came_back = False
    for end in ends:
        came_back |= end is None
        assert not came_back or end is None, broken(11, "one ran, and what it needs had not")
    order = [id for id in rig.recorder.ends if isinstance(rig.recorder.ends[id], Done)]
    assert order == sorted(order), broken(11, "an end was reported before one that it needs")


def test_rule_11_no_follower_of_what_has_no_value_begins(rig: Rig) -> None:
    """Of what fails, of what returns references, and of what nobody knows."""
    for task in (j.fails("on purpose"), j.down(2)):
        need = rig.job(task)
        last = rig.follower(j.same(task), (task, need))
        rig.submit(need, last)
        rig.end(need.id)
        end = end_of(rig, last)
        assert end is None, broken(11, f"what it needs has no value, and it: {short(end)}")
    unknown = j.same(1)
    last = rig.follower(j.same(unknown), (unknown, rig.job(unknown)))
    rig.submit(last)
    assert end_of(rig, last) is None, broken(11, "what it needs was never submitted, and it ran")


def test_rule_11_the_same_id_may_come_again(rig: Rig) -> None:
    """One that came back is sent with all its inputs."""
    unknown = j.same(1)
    last = rig.follower(j.same(unknown), (unknown, rig.job(unknown)))
    rig.submit(last)
    assert end_of(rig, last) is None
    rig.recorder.reopen(last.id)
    again = rig.job(j.same(1))
    (end,) = rig.end(*rig.submit(Job(last.id, again.call, again.inputs)), rule=11)
    assert rig.value(end) == 1


def test_rule_11_followers_can_be_recalled(rig: Rig, bench: Bench, gate: Gate) -> None:
    """While what they need runs."""
    bench.needs_another_thread("a job that runs cannot be recalled from there")
    task = gate.job(rig.limit)
    need = rig.job(task)
    chain = [rig.follower(j.same(task), (task, need))]
    rig.submit(need, *chain)
    rig.wait(gate.reached, 11, "what runs first did not begin")
    rig.backend.recall([job.id for job in chain])
    assert [end_of(rig, job) for job in chain] == [None], broken(11, "it ran, and was recalled")
    assert need.id not in rig.recorder.ends, broken(11, "a recall waited for what it needs")
    gate.open()
    rig.end(need.id)


def test_rule_11_followers_of_what_is_recalled_come_back(
    rig: Rig, bench: Bench, gate: Gate
) -> None:
    """With what they need, when that has not begun."""
    bench.needs_another_thread("a job that runs cannot be recalled from there")
    task = gate.job(rig.limit)
    busy = [rig.job(task) for _ in range(rig.slots.count)]
    first = j.same(1)
    need = rig.job(first)
    last = rig.follower(j.same(first), (first, need))
    rig.submit(*busy, need, last)
    rig.wait(gate.reached, 11, "what runs first did not begin")
    rig.backend.recall([need.id])
    (end,) = rig.end(need.id, rule=5)
    if isinstance(end, Lost):
        assert end_of(rig, last) is None, broken(11, "what it needs was recalled, and it ran")
    gate.open()
    rig.end(*(job.id for job in busy))


def test_rule_11_a_death_is_of_what_ran(rig: Rig, bench: Bench) -> None:
    """What follows it has not begun; it is told so, or had been given back before."""
    bench.needs_isolation("a death is the end of all")
    first, killer = j.same(1), j.dies("exit")
    jobs = [rig.job(first), rig.job(killer)]
    jobs.append(rig.follower(j.same([first, killer]), (first, jobs[0]), (killer, jobs[1])))
    rig.submit(*jobs)
    (end,) = rig.end(jobs[1].id)
    assert certificate(end).guilty, broken(6, f"it died, and that is {short(end)}")
    assert end_of(rig, jobs[2]) is None, broken(11, "what it needs has died, and it ran")

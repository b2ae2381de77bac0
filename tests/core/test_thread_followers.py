"""Followers on threads: who waits for whom, and where they run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancypipe_core import task
from fancypipe_core._model.ref import Instance
from fancypipe_core._plugins import discovery
from fancypipe_core.backend import NOT_BEGUN, Call, Done, Err, Job, JobId, Live, Lost, Ok
from fancypipe_core.testing._rig import Rig
from fancypipe_threads._followers import Followers

CALL = Call("test", Live(None))
INPUTS = Live(((), {}, None))
WHAT = ("submit", "submit", "ok", "ok", "fail", "gone", "recall")
LIMIT = 60.0  # seconds, on a slow machine


# ---- who waits for whom ------------------------------------------------------------------


def job(number: int, *after: int) -> Job:
    return Job((number, 1), CALL, INPUTS, after=tuple((need, 1) for need in after))


def done(id: JobId, ok: bool = True) -> Done:
    reply = Ok(Live(id[0])) if ok else Err("ValueError", "no", "", "", None, "", 0)
    return Done(id, reply, 0.0, "")


@settings(deadline=None)
@given(st.data())
def test_each_follower_begins_once_or_is_lost_once(data: st.DataObject) -> None:
    """Whatever ends, fails, is recalled or gone meanwhile; and not before all it needs is there."""
    followers = Followers()
    queued: dict[JobId, Job] = {}  # may run
    waits: dict[JobId, Job] = {}
    values: set[JobId] = set()
    over: set[JobId] = set()

    def took(begin: list[Job], lost: list[JobId]) -> None:
        for one in begin:
            assert one.id in waits, "it began twice, or was lost before"
            assert values.issuperset(one.after), "it began too early"
            queued[one.id] = waits.pop(one.id)
        for id in lost:
            assert id in waits, "it was lost twice, or has begun"
            del waits[id]
            over.add(id)

    numbers = iter(range(1, 1000))
    for _ in range(data.draw(st.integers(1, 40))):
        what = data.draw(st.sampled_from(WHAT))
        if what == "submit":
            batch = []
            known = [*queued, *waits, *over]
            for _ in range(data.draw(st.integers(1, 4))):
                known_numbers = [id[0] for id in known]
                some = (
                    st.lists(st.sampled_from(known_numbers), max_size=3) if known else st.just([])
                )
                batch.append(job(next(numbers), *data.draw(some)))
                known.append(batch[-1].id)
            queued.update({one.id: one for one in batch if not one.after})
            waits.update({one.id: one for one in batch if one.after})
            took(*followers.come(batch))
        elif what == "recall":
            ids = data.draw(st.lists(st.sampled_from([*waits, *queued, (0, 1)]), max_size=3))
            took([], followers.recall(ids))
            assert waits.keys().isdisjoint(ids), "it waits still, and was recalled"
        elif queued:
            id = data.draw(st.sampled_from([*queued]))
            del queued[id]
            over.add(id)
            if what == "gone":
                took([], followers.gone([id]))
            else:
                values.update([id] if what == "ok" else [])
                took(*followers.ended(done(id, what == "ok")))
        for one in waits.values():
            assert not over.difference(values).intersection(one.after), "it waits for what is lost"
    while queued:  # nothing waits for ever
        id = next(iter(queued))
        del queued[id]
        values.add(id)
        took(*followers.ended(done(id)))
    assert not waits


def test_what_nobody_follows_any_more_costs_nothing() -> None:
    followers = Followers()
    assert followers.come([job(0)]) == ([], [])
    assert followers.come([job(1, 0)]) == ([], [(1, 1)])  # it was not known who would be followed
    assert followers.come([job(1), job(2, 1)]) == ([], [])
    ((begun,), _) = followers.ended(done((1, 1)))
    assert begun.id == (2, 1)
    for number in range(2, 100):
        followers.ended(done((number, 1)))
    assert not followers.is_used
    assert followers.come([job(101)]) == ([], [])
    assert followers.come([job(102, 101)]) == ([], [(102, 1)])


# ---- where they run ----------------------------------------------------------------------


@task
def thread_of(before: object) -> list[int]:
    return [*(before if isinstance(before, list) else []), threading.get_ident()]


@task(timeout=0.05)
def too_long(go: threading.Event) -> None:
    assert go.wait(LIMIT)


@task
def waits(go: threading.Event) -> None:
    assert go.wait(LIMIT)


@task
def same(value: object) -> object:
    return value


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(discovery.find("threads"), 2, str(tmp_path), LIMIT) as rig:
        yield rig


def chain(rig: Rig, first: Instance[object], need: Job, length: int) -> list[Job]:
    jobs = [need]
    for _ in range(length):
        after = thread_of(first)
        jobs.append(rig.follower(after, (first, jobs[-1])))
        first = after
    return jobs


def test_a_chain_stays_in_the_thread_that_has_begun_it(rig: Rig) -> None:
    first = thread_of(0)
    jobs = chain(rig, first, rig.job(first), 50)
    ends = rig.end(*rig.submit(*jobs))
    threads = rig.value(ends[-1])
    assert len(threads) == 51
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


def test_followers_of_one_need_run_beside_each_other(rig: Rig) -> None:
    """If the first one holds its thread, the others find another."""
    go = threading.Event()
    first = same(go)
    need = rig.job(first)
    held = rig.follower(waits(first), (first, need))
    short = rig.follower(same(first), (first, need))
    rig.submit(need, held, short)
    assert rig.value(rig.end(short.id)[0]) is go
    assert held.id not in rig.recorder.ends
    go.set()
    rig.end(held.id)


def test_followers_of_what_is_let_go_of_come_back(rig: Rig) -> None:
    go = threading.Event()
    first = too_long(go)
    jobs = chain(rig, first, rig.job(first, time_limit=0.05), 3)
    ends = rig.end(*rig.submit(*jobs))
    go.set()
    assert isinstance(ends[0], Lost)
    assert ends[0].why.reason == "timeout"
    assert [end.why for end in ends[1:] if isinstance(end, Lost)] == [NOT_BEGUN] * 3


def test_a_result_does_not_wait_for_a_job_that_may_be_long(rig: Rig) -> None:
    go = threading.Event()
    quick = [same(number) for number in range(40)]
    ids = rig.submit(waits(go), *quick, waits(go))
    rig.end(*ids[1:-1])
    assert ids[-1] not in rig.recorder.ends
    go.set()
    rig.end(ids[0], ids[-1])

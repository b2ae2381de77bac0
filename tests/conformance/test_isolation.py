"""A call leaves nothing to the next, nor to the caller: no context, seed or setting."""

from __future__ import annotations

import contextvars
import random
import sys
import threading
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Session, errors, task
from fancypipe_core._base.isolation import ambient
from fancypipe_core._worker.runner import Runner
from fancypipe_core.backend import Call, Job, Live
from tests.conformance import state as s


def _states() -> Any:
    legacy: Any = np.random.get_state()
    return random.getstate(), legacy[1].tolist()


@pytest.mark.fault(88)
@pytest.mark.parametrize("kind", list(s.CHANGES))
def test_what_a_task_changes_is_as_it_was_for_the_next(single: Session, kind: str) -> None:
    before, mine = single.run(s.look()), s.state()
    single.run(s.change(kind))
    assert single.run(s.look()) == before
    assert single.run(s.look(s.change(kind))) == before, "in one run"
    with pytest.raises(errors.TaskError):
        single.run(s.change_and_fail(kind))
    assert single.run(s.look()) == before, "after a failure"
    assert s.state() == mine, "the caller"


@pytest.mark.fault(88)
@pytest.mark.parametrize("kind", ["filters", "recursion", "collector", "environment", "decimal"])
def test_the_next_of_many_short_tasks_finds_it_too(single: Session, kind: str) -> None:
    """They run within a millisecond, and nobody looks in between."""
    before = single.run(s.look())
    found = single.run([(s.change(kind), s.look()) for _ in range(20)])
    assert [one for _, one in found] == [before] * 20


@pytest.mark.fault(88)
@pytest.mark.parametrize("way", s.WAYS)
def test_a_task_that_seeds_gets_what_it_asks_for_and_others_do_not(
    session: Session, way: str
) -> None:
    mine = _states()
    # One after the other: what runs beside it in a thread draws from the same generator.
    for _ in range(3):
        first = session.run(s.seed(way))
        drawn = [session.run(s.draw(s.seed(way))) for _ in range(4)]
        assert session.run(s.seed(way)) == first, "its own draws are those of its seed"
        many = session.run([[s.seed(way), s.draw()] for _ in range(20)])
        if session.settings.backend != "threads":
            drawn += [one for _, one in many]
        for which in range(2):
            assert len({one[which] for one in drawn}) == len(drawn)
    assert _states() == mine


@pytest.mark.fault(88)
@pytest.mark.parametrize("way", ["seed", "state", "seed and go on"])
def test_beside_a_task_that_goes_on_a_seed_lasts_as_long_as_its_task(way: str) -> None:
    """In threads; and the one that goes on keeps its own seed while others end."""
    seeded, go = threading.Event(), threading.Event()

    @task
    def hold() -> tuple[float, float]:
        s.seed.main("seed")
        seeded.set()
        assert go.wait(30)
        return s.drawn()

    @task
    def pairs(i: int) -> Any:
        assert seeded.wait(30)
        return [s.idle().result() for _ in range(3)]

    @task
    def open_the_door(after: Any) -> None:
        go.set()

    with Session("threads", 2) as session:
        s.seed.main("seed")
        expected = s.drawn()
        held, _ = session.run(hold(), open_the_door([pairs(i) for i in range(4)]))
        assert held == expected
        go.clear()
        chain: Any = 0
        drawn = []
        for _ in range(5):
            chain = s.seed(way, chain)
            drawn.append(chain := s.draw(chain))
        _, _, found = session.run(hold(), open_the_door(chain), drawn)
    assert len(set(found)) == 5
    assert random.seed.__module__ == "random", "nothing of ours is left in the caller's modules"


@pytest.mark.fault(88)
def test_the_callers_seed_is_not_the_tasks(session: Session) -> None:
    drawn = []
    for _ in range(3):
        random.seed(1)
        np.random.seed(1)
        drawn.append(session.run(s.draw()))
    assert len(set(drawn)) == 3
    both = s.drawn()
    random.seed(1)
    np.random.seed(1)
    assert s.drawn() == both, "and the caller goes on with his own"


@pytest.mark.fault(88)
def test_modules_have_a_context_and_entropy_of_their_own(session: Session) -> None:
    random.seed(1)
    state = random.getstate()
    results = [session.run(s.seeding_module(), s.drawing_module()) for _ in range(3)]
    assert len({one for pair in results for one in (pair[0], pair[1][0])}) == 6
    assert [pair[1][1] for pair in results] == ["nobody"] * 3
    assert random.getstate() == state
    assert s.user.get() == "nobody"


@pytest.mark.fault(88)
def test_no_task_sees_the_callers_context_variables(session: Session) -> None:
    def inside() -> Any:
        s.user.set("the caller")
        return session.run(s.look())["context variable"], s.user.get()

    assert contextvars.copy_context().run(inside) == ("nobody", "the caller")


def test_a_nested_task_has_a_context_of_its_own(session: Session) -> None:
    assert session.run(s.nested(3)) == ("task 3", "nobody", "nested")


def test_a_task_that_runs_on_changes_nothing_of_the_callers_when_it_ends() -> None:
    """A thread cannot be killed: it ends when the caller has gone on."""
    go = threading.Event()

    @task(timeout=0.05)
    def late() -> None:
        go.wait(30)

    @task
    def quick() -> None:
        return None

    before = sys.getrecursionlimit()
    others = set(threading.enumerate())  # of a session of this module that is still open
    with Session("threads", 1) as session:
        with pytest.raises(errors.TaskTimeout):
            session.run(late())
        new = set(threading.enumerate()) - others
        (thread,) = [one for one in new if one.name == "fancypipe-worker-1"]
        try:
            sys.setrecursionlimit(before + 7)
            go.set()
            thread.join(30)
            assert not thread.is_alive()
            assert sys.getrecursionlimit() == before + 7
            session.run(quick())
            assert sys.getrecursionlimit() == before + 7
        finally:
            sys.setrecursionlimit(before)


def test_once_a_task_that_ran_on_has_ended_the_others_are_put_right_again() -> None:
    """It is no call any more, beside which nothing can be kept apart."""
    others = set(threading.enumerate())
    go = threading.Event()

    def new() -> dict[str, threading.Thread]:
        return {one.name: one for one in threading.enumerate() if one not in others}

    @task(timeout=0.05)
    def late() -> str:
        name = threading.current_thread().name
        if go.wait(30):
            return name
        raise AssertionError("nobody has let it end")

    @task
    def let_it_end() -> None:
        until = monotonic() + 30
        while "fancypipe-worker-3" not in new() and monotonic() < until:
            sleep(0.005)
        threads = new()
        go.set()
        threads.pop(threading.current_thread().name)
        for name in ("fancypipe-worker-1", "fancypipe-worker-2"):
            if name in threads:
                threads[name].join(30)

    @task
    def change(_after: object) -> int:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + 7)
        return limit

    with Session("threads", 2, keep_going=True) as session:
        changed = change(let_it_end())
        with pytest.raises(errors.RunFailed) as failed:
            session.run([late(), changed, s.look(changed)])
    _, limit, after = failed.value.results
    assert after["recursion"] == limit


def test_a_task_that_outlives_its_session_holds_up_nobody_for_ever() -> None:
    """Another session begins and ends meanwhile; once the task has ended it counts no more."""
    go, threads = threading.Event(), []

    @task(timeout=0.05)
    def late() -> None:
        threads.append(threading.current_thread())
        go.wait(30)

    @task
    def later() -> None:
        threads.append(threading.current_thread())
        go.wait(30)

    for unfinished in (late, later):
        go.clear()
        threads.clear()
        with Session("threads", 1, grace=0.0) as session:
            asked = session.submit(unfinished())
            until = monotonic() + 30
            while not threads and monotonic() < until:
                sleep(0.005)
            if unfinished is late:
                assert isinstance(asked.exception(30), errors.TaskTimeout)
        with Session("serial") as other:
            other.run(s.look())
        go.set()
        threads[0].join(30)
        assert not threads[0].is_alive()
        with Session("serial") as other:
            before = other.run(s.look())
            other.run(s.change("recursion"))
            assert other.run(s.look()) == before


@pytest.mark.fault(88)
def test_a_burst_goes_on_into_the_next_run() -> None:
    """A thread that finds the jobs of the next run before it has been idle."""
    runner = Runner("nowhere", live=True)

    def job(number: int, target: Any) -> Job:
        call = Call("one", Live(target))
        return Job((number, 1), call, Live(((), {}, None)))

    limit = sys.getrecursionlimit()
    with ambient.lent():
        token = runner.enter()
        runner.run(job(1, lambda *_: None))
    try:
        with ambient.lent():
            runner.run(job(2, lambda *_: sys.setrecursionlimit(limit + 7)))
            assert sys.getrecursionlimit() == limit
    finally:
        runner.leave(token)
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_a_session_that_waits_for_its_next_run_changes_nothing(backend: str) -> None:
    before = sys.excepthook, sys.getswitchinterval()

    def hook(*_: object) -> None:
        return None

    try:
        with Session(backend, 2) as session:
            session.run(s.look())
            sys.excepthook = hook
            sys.setswitchinterval(0.004)
            with Session(backend, 2) as other:  # its threads start, and find no work
                assert other.run(s.look())["switches"] == 0.004
            assert session.run(s.look())["switches"] == 0.004
            assert sys.excepthook is hook
    finally:
        sys.excepthook = before[0]
        sys.setswitchinterval(before[1])


@pytest.mark.fault(88)
def test_a_task_that_has_a_run_of_its_own_is_put_right_after(backend: str) -> None:
    with Session(backend, 1) as session:
        before = session.run(s.look())
        session.run(s.run_and_change("recursion"))
        session.run(s.run_and_change("hook"))
        assert session.run(s.look()) == before


def test_what_the_callers_threads_change_between_two_tasks_stays() -> None:
    """Only what a task has changed is put back."""
    with Session("serial") as session:
        session.run(s.look())
        thread = threading.Thread(target=s.CHANGES["recursion"])
        before = s.state()["recursion"]
        try:
            thread.start()
            thread.join()
            session.run(s.look())
            assert s.state()["recursion"] == 4321
        finally:
            sys.setrecursionlimit(before)

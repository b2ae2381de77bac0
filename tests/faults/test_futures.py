"""A pool behind `FuturesBackend`: its processes die anywhere; our thread dies or stands still."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors, module, task
from fancypipe_core.toolkit import futures
from tests.core.pools import POOLS, opened
from tests.faults.conftest import Plan
from tests.procs import tasks as t
from tests.waiting import wait_until

SECONDS = 60.0  # in which a run that ends must have ended, on a slow machine


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """All that is to end does so within seconds."""
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < SECONDS


def pool(kind: str, **settings: float) -> Session:
    return opened(POOLS[kind], 2, kind == "threads", freeze_limit=2.0, **settings)


@task
def square(x: int) -> int:
    return x * x


@task
def short(x: int) -> int:
    time.sleep(0.01)
    return x


# ---- our thread -------------------------------------------------------------------------


@pytest.mark.fault(36, 80)
@pytest.mark.parametrize("kind", ["threads", "spawn"])
@pytest.mark.parametrize("action", ["raise", "freeze"])
@pytest.mark.parametrize("point", ["futures.turn", "futures.ended"])
def test_our_thread_ends_the_run(kind: str, point: str, action: str, plan: Plan) -> None:
    with pool(kind, grace=0.5) as session:
        assert session.run(square(1)) == 1
        plan(f"{point}={action}")
        with pytest.raises(errors.InternalError, match="thread fancypipe-futures of") as caught:
            session.run([square(i) for i in range(10)])
    text = str(caught.value)
    assert ("has died" if action == "raise" else "does not answer; it is at") in text
    assert f'fault("{point}")' in text
    assert "please report it" in text


@pytest.mark.fault(36)
@pytest.mark.parametrize("kind", ["threads", "spawn"])
@pytest.mark.parametrize("action", ["raise", "freeze"])
def test_the_end_comes_all_the_same(
    kind: str, action: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(futures, "_CLOSE", 0.5)
    with pool(kind, grace=0.0) as session:
        assert session.run(square(2)) == 4
        plan(f"futures.end={action}")


# ---- its processes ----------------------------------------------------------------------


@pytest.mark.fault(31)
@pytest.mark.parametrize("action", ["kill", "exit", "raise"])
@pytest.mark.parametrize("point", ["batch.begin", "batch.report", "batch.answer"])
def test_a_process_that_dies_anywhere(
    point: str, action: str, plan_for_children: Plan, tmp_path: Path
) -> None:
    plan = f"{point}={action}!{tmp_path / 'fault'}"
    if point == "batch.answer":  # there is one only where a job is tried alone
        plan += f";batch.begin=kill!{tmp_path / 'first'}"
    plan_for_children(plan)
    with pool("spawn") as session:
        assert session.run([square(i) for i in range(50)]) == [i * i for i in range(50)]
    assert (tmp_path / "fault").exists()


@pytest.mark.fault(31)
def test_a_death_before_the_job_began_is_not_the_jobs(
    plan_for_children: Plan, tmp_path: Path
) -> None:
    plan_for_children(f"batch.begin=kill!{tmp_path / 'a'};batch.answer=kill!{tmp_path / 'b'}")
    # One process, so that they die in this order: while it starts, and then with the job.
    with opened(POOLS["spawn"], 1, max_losses=1) as session:
        assert session.run(t.fine(7)) == 7
    assert (tmp_path / "a").exists()
    assert (tmp_path / "b").exists()


@pytest.mark.fault(31)
def test_processes_killed_at_random() -> None:
    """All results, and no innocent task is given up."""
    over = threading.Event()

    def kill() -> None:
        dice = random.Random(7)
        for _ in range(6):
            if over.wait(0.5):
                return
            children = multiprocessing.active_children()
            if children:
                dice.choice(children).kill()

    with pool("spawn") as session:
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            assert session.run([short(i) for i in range(300)]) == list(range(300))
        finally:
            over.set()
            killer.join(SECONDS)


@pytest.mark.fault(32)
def test_workers_that_never_come_up(plan_for_children: Plan) -> None:
    plan_for_children("batch.begin=exit@1+;batch.answer=exit@1+")
    with (
        pool("spawn", max_losses=2) as session,
        pytest.raises(errors.TaskLost, match=r"no worker of the pool starts.*exit code 7"),
    ):
        session.run(t.fine(7))


@task
def large(x: int) -> bytes:
    return bytes([x]) * 1_000_000


@pytest.mark.fault(31)
@pytest.mark.parametrize("point", ["batch.put", "batch.report"])
def test_a_death_in_the_middle_of_a_large_report(
    point: str, plan_for_children: Plan, tmp_path: Path
) -> None:
    """Nobody waits for the rest: large reports do not go through the pool's pipe."""
    plan_for_children(f"{point}=kill!{tmp_path / 'fault'}")
    with pool("spawn", grace=0.0) as session:
        assert session.run([large(i) for i in range(4)]) == [
            bytes([i]) * 1_000_000 for i in range(4)
        ]
    assert (tmp_path / "fault").exists()


@task
def hold(begun: str, again: str) -> int:
    """Run until a job elsewhere is tried again; say how often this has begun."""
    with Path(begun).open("a") as file:
        file.write("x")
    wait_until(Path(again).exists)
    return len(Path(begun).read_text())


@task
def die_once(mark: str, again: str) -> str:
    """Die, but not the second time."""
    if not os.path.exists(mark):
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    Path(again).touch()
    return "done"


@module
def when_it_has_begun(begun: str, mark: str, again: str) -> Any:
    """Give another worker a job when the first has begun its own."""
    wait_until(Path(begun).exists)
    return die_once(mark, again)


@pytest.mark.fault(31)
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_death_leaves_the_other_workers_alone(tmp_path: Path, method: str) -> None:
    """A process pool breaks as a whole; so each worker has one of its own."""
    begun, mark, again = (str(tmp_path / name) for name in ("begun", "mark", "again"))
    with pool(method) as session:
        assert session.run(hold(begun, again), when_it_has_begun(begun, mark, again)) == (1, "done")

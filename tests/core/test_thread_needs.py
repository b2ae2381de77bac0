"""Tasks with needs on threads, with real ones: what they have ends with them, however that is."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fancypipe_core import Exec, Ref, Session, current, module, task
from fancypipe_core.errors import TaskTimeout

LIMIT = 20.0  # seconds, on a slow machine
_SHOW = "import os; print(os.environ.get('OMP_NUM_THREADS'))"

released = threading.Event()
begun = threading.Event()


@task(needs={"cpus": 2, "gpu": 1}, timeout=0.05)
def too_long() -> None:
    released.wait(LIMIT)


@task(needs={"cpus": 3, "gpu": 1})
def after_it(_n: int = 0) -> tuple[str, ...]:
    return current().devices


@task
def plain(n: int) -> int:
    return n


@task(needs={"cpus": 2})
def waits() -> bool:
    begun.set()
    return released.wait(LIMIT)


@module
def a_program() -> Ref[Any]:
    return Exec(sys.executable, "-c", _SHOW).with_options(needs={"cpus": 2})["stdout"]


@pytest.fixture
def session() -> Iterator[Session]:
    released.clear()
    begun.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "7")
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.delenv(name, raising=False)
        with Session("threads", workers=3) as session:
            yield session
            released.set()


def test_one_that_takes_too_long_gives_back_what_it_had(session: Session) -> None:
    with pytest.raises(TaskTimeout):
        session.run(too_long())
    assert session.run([after_it(n) for n in range(3)]) == [("7",)] * 3
    assert session.run([plain(n) for n in range(9)]) == list(range(9))


def test_one_that_waits_can_be_taken_back(session: Session) -> None:
    runs, wanted = session.submit(waits()), session.submit(waits())
    assert begun.wait(LIMIT)
    assert wanted.cancel()  # the thread that is left was kept for it, and is free again
    assert session.run([plain(n) for n in range(9)]) == list(range(9))
    released.set()
    assert runs.result(LIMIT)
    assert session.run(after_it()) == ("7",)


def test_a_session_ends_while_threads_wait_for_each_other() -> None:
    released.clear()
    begun.clear()
    with Session("threads", workers=3) as session:
        session.submit(waits())
        waiting = session.submit(waits())
        assert begun.wait(LIMIT)
        session.cancel(grace=0.0)
        released.set()
    assert waiting.done()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("fancypipe-worker")]


def test_a_program_may_start_as_many_threads_as_its_task_has_cores(session: Session) -> None:
    ours = os.environ.get("OMP_NUM_THREADS")
    assert session.run(a_program()) == ("2\n" if ours is not None else "None\n")
    assert session.run(plain(1)) == 1
    assert os.environ.get("OMP_NUM_THREADS") == ours

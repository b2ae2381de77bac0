"""A session as an executor of `concurrent.futures`; CPython's own tests are in `tests/cpython`."""

from __future__ import annotations

import operator
import threading
import traceback
from concurrent.futures import Executor, as_completed
from concurrent.futures import TimeoutError as FuturesTimeout
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors
from fancypipe_core._worker import inline
from tests.conformance import conftest
from tests.conformance import submitted as s
from tests.waiting import wait_until

BACKENDS = (*conftest.BACKENDS, "remote")
LONG = s.LONG


def greet(name: str, *, loud: bool = False) -> str:
    return f"Hello {name}{'!' if loud else ''}"


def breaks(x: int) -> int:
    return 1 // x


def test_it_calls_any_function(session: Session) -> None:
    factor = 3
    with session.executor() as executor:
        assert isinstance(executor, Executor)
        assert executor.submit(greet, "you", loud=True).result(LONG) == "Hello you!"
        assert executor.submit(lambda x: x * factor, 4).result(LONG) == 12
        assert executor.submit("a b".split).result(LONG) == ["a", "b"]
        assert executor.submit(s.double, 4).result(LONG) == 8
        assert executor.submit(greet, name=s.echo("ref")).result(LONG) == "Hello ref"
        assert list(executor.map(operator.add, range(50), range(50), chunksize=7)) == [
            2 * n for n in range(50)
        ]
        futures: dict[Any, int] = {executor.submit(breaks, n + 1): n for n in range(20)}
        assert sorted(futures[future] for future in as_completed(futures, LONG)) == list(range(20))
    assert session.run(s.double(1)) == 2


def test_an_error_is_the_functions_own(session: Session) -> None:
    executor = session.executor()
    error = executor.submit(breaks, 0).exception(LONG)
    assert type(error) is ZeroDivisionError
    assert "1 // x" in "".join(traceback.format_exception(error))
    results = executor.map(breaks, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_it_waits_only_so_long(session: Session, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    executor = session.executor()
    with pytest.raises(FuturesTimeout):
        next(executor.map(s.waits_plainly, [str(gate)], timeout=0.01))
    gate.touch()
    executor.shutdown()


def test_after_its_end_it_takes_nothing(backend: str) -> None:
    with Session(backend, 2) as session:
        first, second = session.executor(), session.executor()
        future = first.submit(greet, "you")
        first.shutdown()
        assert future.done()
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            first.submit(greet, "me")
        assert second.submit(greet, "me").result(LONG) == "Hello me"
    with pytest.raises(RuntimeError, match="cannot schedule new futures after this session has"):
        second.submit(greet, "me")


def test_what_has_not_begun_is_cancelled_with_it(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On serial what is cancelled is heard after a burst, in which a fast machine runs them all.
    monkeypatch.setattr(inline, "_BURST", 0.0)
    gate = tmp_path / "gate"
    with Session(backend, 2) as session:
        executor = session.executor()
        futures = [executor.submit(s.waits_plainly, str(gate)) for _ in range(100)]
        wait_until(Path(f"{gate}.begun").exists)
        executor.shutdown(wait=False, cancel_futures=True)
        gate.touch()
        executor.shutdown()
        assert all(future.done() for future in futures)
        ran = [future for future in futures if not future.cancelled()]
        assert 1 <= len(ran) <= 10
        assert all(future.result() == 0 for future in ran)
        assert executor._pending == set()


def test_what_runs_is_not_cancelled(backend: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Session(backend, 1) as session:
        executor = session.executor()
        future = executor.submit(s.waits_plainly, str(gate))
        wait_until(Path(f"{gate}.begun").exists)
        assert future.running()
        assert not future.cancel()
        gate.touch()
        assert future.result(LONG) == 0


def test_a_worker_that_dies_is_told(tmp_path: Path) -> None:
    with Session("procs", 1, max_losses=1) as session:
        error: Any = session.executor().submit(s.dies).exception(LONG)
        assert isinstance(error, errors.TaskLost)
        assert "dies" in str(error)


def test_several_threads_share_it(session: Session) -> None:
    got: list[int] = []
    with session.executor() as executor:

        def work() -> None:
            got.append(sum(executor.map(abs, range(-50, 0))))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    assert got == [1275] * 4

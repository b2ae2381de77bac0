"""`FuturesBackend`: any pool becomes a backend, and a broken pool costs one job."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from fancypipe_core import Session, errors, module, run
from fancypipe_core.toolkit import batch
from fancypipe_core.toolkit.batch import answer
from fancypipe_core.toolkit.executor import Executor, close_pool
from tests.conformance import pipelines as p
from tests.core.pools import POOLS, opened
from tests.procs import tasks as t
from tests.waiting import wait_until


@pytest.fixture(scope="module", params=[*POOLS, "threads-encoded"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    live = request.param == "threads"
    with opened(POOLS[request.param.partition("-")[0]], 2, live) as made:
        yield made


@pytest.fixture(scope="module")
def spawned() -> Iterator[Session]:
    with opened(POOLS["spawn"], 2) as made:
        yield made


# ---- the same results ----------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        p.sum_of_squares,
        lambda: p.outer(3),
        lambda: p.fib(10),
        lambda: p.nest(2),
        lambda: p.split_later(3.0),
        lambda: p.waits_inside(3),
        lambda: p.decides(3),
        lambda: p.works_on(3),
        lambda: p.total([p.square(i) for i in range(3000)]),
        lambda: p.call(lambda x: x + 1, p.square(2)),
        lambda: p.Keeps(1, {"ref": p.square(3)}),
        p.renamed,
    ],
)
def test_results_are_those_of_serial(session: Session, make: Callable[[], Any]) -> None:
    assert session.run(make()) == run(make(), backend="serial")


def test_arrays_come_whole_and_writable(session: Session) -> None:
    big = np.arange(300_000, dtype=np.float32).reshape(3, -1)
    back = session.run(p.same({"a": big, "t": big.T, "empty": np.ones((0, 2))}))
    np.testing.assert_array_equal(back["a"], big)
    np.testing.assert_array_equal(back["t"], big.T)
    assert back["empty"].shape == (0, 2)
    made = session.run(p.array(1000))
    made[0] = 5


def test_failures_are_told_as_they_were(session: Session) -> None:
    with pytest.raises(p.CustomError) as caught:
        session.run(p.add(p.raises(7), 1))
    assert caught.value.code == 7
    with pytest.raises(errors.TaskError, match="LockedError"):
        session.run(p.raises_locked())
    with pytest.raises(errors.TaskError, match="SystemExit: 3"):
        session.run(p.exits(3))


def test_a_script_is_imported_by_its_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from fancypipe_core import Session, task\n"
        "from fancypipe_core._plugins import discovery as _plugins\n"
        "from fancypipe_core.backend import BackendPlugin\n"
        "from fancypipe_core.toolkit import FuturesBackend\n"
        "@task\n"
        "def twice(x: int) -> int:\n"
        "    return 2 * x\n"
        "def make_pool(count):\n"
        "    return ProcessPoolExecutor(count, mp_context=get_context('spawn'))\n"
        "if __name__ == '__main__':\n"
        "    plugin = BackendPlugin('pool', (), '', lambda o: FuturesBackend(make_pool, o))\n"
        "    _plugins.find = lambda name: plugin\n"
        "    with Session('pool', 1) as session:\n"
        "        print(session.run(twice(twice(3))))\n"
    )
    over = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert over.stdout == "12\n", over.stderr


# ---- deaths --------------------------------------------------------------------


@pytest.mark.fault(9, 31)
def test_a_killed_process_costs_only_its_job(tmp_path: Path) -> None:
    with opened(POOLS["spawn"], 2, keep_going=True, max_losses=2) as made:
        good = [t.fine(i) for i in range(300)]
        with pytest.raises(errors.RunFailed) as caught:
            made.run([*good[:150], t.kill_self(signal.SIGKILL), *good[150:]])
        (failure,) = caught.value.failures
        assert isinstance(failure, errors.TaskLost)
        assert failure.task == "kill_self"
        assert failure.certificate.detail == "SIGKILL"
        assert failure.certificate.pid > 0
        assert failure.certificate.guilty
        assert made.run(good) == list(range(300))


def test_a_loss_is_made_good(spawned: Session, tmp_path: Path) -> None:
    assert spawned.run(t.die_until(str(tmp_path / "marks"), 2)) == 3


@pytest.mark.fault(31)
def test_an_idle_process_may_be_killed(spawned: Session) -> None:
    assert spawned.run([t.fine(i) for i in range(10)]) == list(range(10))
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    assert spawned.run([t.fine(i) for i in range(10)]) == list(range(10))


@pytest.mark.fault(30)
def test_workers_end_with_the_client(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from tests.core.pools import POOLS, opened\n"
        "from tests.conformance import pipelines as p\n"
        "if __name__ == '__main__':\n"
        "    session = opened(POOLS['spawn'], 1)\n"
        "    print(session.run(p.where_task()), flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        worker = int(client.stdout.readline())
        client.kill()
        client.wait()
        wait_until(lambda: _is_gone(worker))


def _is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


# ---- the end -----------------------------------------------------------------------


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.fault(79)
def test_stop_leaves_nothing(name: str) -> None:
    def left() -> tuple[set[str], int, int]:
        names = {thread.name for thread in threading.enumerate()}
        return names, len(multiprocessing.active_children()), len(os.listdir("/proc/self/fd"))

    def use() -> None:
        with opened(POOLS[name], 2, name == "threads") as made:
            assert made.run([p.square(i) for i in range(100)])[-1] == 99 * 99

    use()  # what multiprocessing starts once for ever is there now
    before = left()
    use()
    assert left() == before


@module
def fail_in_the_client(begun: str) -> Any:
    wait_until(Path(begun).exists)
    raise KeyError(begun)


def test_cancelled_tasks_that_never_end_hold_up_no_later_run(tmp_path: Path) -> None:
    """A pool in which nothing else is left is replaced, where its processes can be killed."""
    begun = str(tmp_path / "begun")
    with opened(POOLS["spawn"], 1, grace=0.0) as made:
        with pytest.raises(KeyError):
            made.run([p.call(begin_and_hang, begun), fail_in_the_client(begun)])
        assert made.run(p.square(3)) == 9


class Counting(ProcessPoolExecutor):
    """Counts the futures that we cancel, and not the pool itself."""

    cancelled = 0

    def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = super().submit(fn, *args, **more)

        def cancel() -> bool:
            if threading.current_thread().name == "fancypipe-futures":
                Counting.cancelled += 1
            return Future.cancel(future)

        future.cancel = cancel  # type: ignore[method-assign]
        return future


@pytest.mark.fault(31)
def test_nothing_that_a_process_pool_has_is_cancelled(tmp_path: Path) -> None:
    """Its own thread would fail at the next death, and leave what it holds."""
    begun, context = str(tmp_path / "begun"), multiprocessing.get_context("spawn")
    with opened(lambda count: Counting(count, mp_context=context), 1, grace=0.0) as made:
        made.run([p.square(i) for i in range(2000)])
        jobs = [p.call(begin_and_hang, begun), *(p.square(i) for i in range(20))]
        with pytest.raises(KeyError):
            made.run([*jobs, fail_in_the_client(begun)])
        assert made.run(p.square(3)) == 9
    assert not Counting.cancelled


def begin_and_hang(begun: str) -> None:
    Path(begun).touch()
    threading.Event().wait()


def fail_when_begun(begun: str) -> None:
    wait_until(Path(begun).exists)
    raise KeyError(begun)


def test_stop_kills_what_does_not_end(tmp_path: Path) -> None:
    begun = str(tmp_path / "begun")
    made = opened(POOLS["spawn"], 2, grace=0.0)
    with pytest.raises(KeyError), made:
        made.run([p.call(begin_and_hang, begun), p.call(fail_when_begun, begun)])
    # The gate sees what is left: processes, threads, descriptors.


@pytest.mark.fault(31)
def test_a_process_that_was_killed_while_idle_takes_no_job_with_it() -> None:
    """Its pool may not know yet; what is put into it then would be held to be begun."""
    one = Executor(1, POOLS["spawn"](1), 1, close_pool, None)
    one.submit(answer, None).result(60)
    child = one._child
    child.kill()
    # Its pool joins it as well: for a moment neither may know how it ended.
    wait_until(lambda: child.exitcode is not None)
    with pytest.raises(BrokenExecutor, match="its process is dead"):
        one.submit(answer, None)
    one.close(kill=True, error="it is dead")
    why = one.bury(60.0)
    assert why is not None
    assert (why.reason, why.detail, why.pid) == ("signal", "SIGKILL", child.pid)


class Late(ThreadPoolExecutor):
    """The proof that it is up comes to nothing, but not before its jobs have shown that it is."""

    made: ClassVar[list[Late]] = []

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.made.append(self)
        self.proof: Future[Any] = Future()

    def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
        return self.proof if fn is answer else super().submit(fn, *args, **more)


def test_a_proof_that_comes_late_and_fails_ends_no_pool() -> None:
    """On an engine it may wait at a worker, and die there with a job of somebody else."""
    with opened(Late, 1) as made:
        assert made.run([p.square(i) for i in range(10)]) == [i * i for i in range(10)]
        Late.made[0].proof.set_exception(OSError("its worker died"))
        assert made.run(p.square(3)) == 9
    assert len(Late.made) == 1


def test_a_process_never_writes_more_than_at_once_into_its_pool(tmp_path: Path) -> None:
    """The pool would wait for ever for the rest of what it was killed in the middle of."""
    small, large = (b"head", [b"x" * 10]), (b"head", [os.urandom(100_000), b"", b"y"])
    for frame in (small, large):
        put = batch.put(frame, str(tmp_path))
        # What the standard library puts around it is a few hundred bytes.
        assert len(pickle.dumps(put)) < select.PIPE_BUF - 1000
        head, buffers = batch.take(put)
        assert (head, list(map(bytes, buffers))) == (frame[0], frame[1])
        assert all(isinstance(buffer, bytearray) for buffer in buffers), "they are writable"
    assert not list(tmp_path.iterdir())
    assert not isinstance(batch.put(large, ""), str), "others carry all"
    (tmp_path / "file").touch()
    assert not isinstance(batch.put(large, str(tmp_path / "file")), str), "no file can be made"

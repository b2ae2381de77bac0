"""`FuturesBackend`: any pool becomes a backend, and a broken pool costs one job."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Session, errors, module, run
from fancypipe_core._plugins import discovery
from fancypipe_core.backend import (
    BackendOptions,
    BackendPlugin,
    Call,
    Done,
    Event,
    Job,
    Live,
    Lost,
    Note,
    Slots,
)
from fancypipe_core.toolkit import FuturesBackend, Runner
from fancypipe_core.toolkit.batch import answer
from fancypipe_core.toolkit.executor import Batch, Executor, close_pool
from tests.conformance import pipelines as p
from tests.procs import tasks as t

MakePool = Callable[[int], Any]


def processes(method: str) -> MakePool:
    context = multiprocessing.get_context(method)
    return lambda count: ProcessPoolExecutor(count, mp_context=context)


POOLS: dict[str, MakePool] = {
    "threads": ThreadPoolExecutor,
    "spawn": processes("spawn"),
    "forkserver": processes("forkserver"),
}


def plugin_for(make_pool: MakePool, shares_memory: bool) -> BackendPlugin:
    return BackendPlugin(
        "pool", ("X",), "for tests", lambda o: FuturesBackend(make_pool, o), shares_memory
    )


def opened(
    make_pool: MakePool, workers: int, shares_memory: bool = False, **settings: Any
) -> Session:
    with pytest.MonkeyPatch.context() as patch:
        plugin = plugin_for(make_pool, shares_memory)
        patch.setattr(discovery, "find", lambda _name: plugin)
        return Session("pool", workers, debug=True, **{"grace": 5.0, **settings})


@pytest.fixture(scope="module", params=[*POOLS, "threads-encoded"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    live = request.param == "threads"
    with opened(POOLS[request.param.partition("-")[0]], 2, live) as made:
        yield made


@pytest.fixture(scope="module")
def spawned() -> Iterator[Session]:
    with opened(POOLS["spawn"], 2) as made:
        yield made


def wait_until(true: Callable[[], bool], limit: float = 60.0) -> None:
    until = time.monotonic() + limit
    while not true():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.005)


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
        "from tests.core.test_futures import POOLS, opened\n"
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


# ---- the contract, without an engine ---------------------------------------------


class Heard:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, events: Sequence[Event]) -> None:
        self.events += events

    def ends(self) -> Counter[tuple[int, int]]:
        return Counter(e.id for e in self.events if isinstance(e, (Done, Lost)))

    def lost(self) -> list[Lost]:
        return [event for event in self.events if isinstance(event, Lost)]


def job(number: int, call: Call, *args: Any, limit: float | None = None) -> Job:
    return Job((number, 1), call, Live((args, {}, None)), limit)


def call(function: Callable[..., Any]) -> Call:
    return Call("test", Live(lambda args, _kwargs, _state: function(*args)))


def backend_for(make_pool: MakePool, workers: int = 1) -> FuturesBackend:
    options = BackendOptions(workers, "/nowhere", lambda: Runner("/nowhere", live=True))
    return FuturesBackend(make_pool, options)


@pytest.mark.fault(73)
def test_cancelled_jobs_end_once_and_never_run() -> None:
    begun, go = threading.Event(), threading.Event()
    ran: list[int] = []

    def block() -> None:
        begun.set()
        assert go.wait(60)

    heard = Heard()
    backend = backend_for(ThreadPoolExecutor)
    backend.start(heard)
    other = call(ran.append)
    backend.submit([job(1, call(block)), *(job(n, other, n) for n in range(2, 21))])
    assert begun.wait(60)
    unwanted = [(n, 1) for n in range(2, 20)]
    backend.cancel([*unwanted, (99, 1)])
    backend.cancel(unwanted)
    wait_until(lambda: len(heard.lost()) == 18)
    go.set()
    wait_until(lambda: len(heard.ends()) == 20)
    backend.cancel([(1, 1)])
    backend.stop(5.0)
    assert set(heard.ends().values()) == {1}
    assert ran == [20]
    assert all(one.why.reason == "cancelled" and not one.why.guilty for one in heard.lost())


class Lenient:
    """A pool as those of dask, ray and parsl are: a future that runs accepts `cancel()` too."""

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers)
        self.asked = 0

    def submit(self, fn: Any, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.runs = future.stopped = False  # type: ignore[attr-defined]

        def work() -> None:
            if not future.cancelled():
                future.runs = True  # type: ignore[attr-defined]
                result = fn(*args)
                if not future.done():
                    future.set_result(result)

        def cancel() -> bool:
            self.asked += 1
            return Future.cancel(future)

        future.cancel = cancel  # type: ignore[method-assign]
        self._threads.submit(work)
        return future

    def shutdown(self) -> None:
        self._threads.shutdown()


@pytest.mark.fault(73)
@pytest.mark.parametrize("adapter", ["says nothing", "running"])
@pytest.mark.parametrize("word", ["cancel", "recall"])
def test_an_accepted_cancel_is_not_taken_for_did_not_run(adapter: str, word: str) -> None:
    begun, go, ran = threading.Event(), threading.Event(), []

    def block() -> None:
        begun.set()
        assert go.wait(60)
        ran.append(1)

    pool = Lenient(1)
    more = {"running": lambda future: future.runs} if adapter == "running" else {}
    options = BackendOptions(2, "/nowhere", lambda: Runner("/nowhere", live=True))
    backend = FuturesBackend(lambda _count: pool, options, **more)  # type: ignore[arg-type]
    heard = Heard()
    backend.start(heard)
    backend.submit([job(1, call(block)), job(2, call(ran.append), 2)])
    assert begun.wait(60)
    getattr(backend, word)([(1, 1), (2, 1)])
    if adapter == "running":
        wait_until(lambda: len(heard.lost()) == 1)
        assert heard.lost()[0].id == (2, 1), "it had not begun, and the adapter says so"
        assert not heard.lost()[0].why.started
    go.set()
    wait_until(lambda: len(heard.ends()) == 2)
    backend.stop(5.0)
    ended = {event.id for event in heard.events if isinstance(event, Done)}
    assert (1, 1) in ended, "what ran is told as it ended"
    assert ran == ([1] if adapter == "running" else [1, 2])
    assert pool.asked == (1 if adapter == "running" else 0)


def test_what_an_adapter_can_kill_is_killed() -> None:
    begun, killed = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        assert killed.wait(60)

    def kill(future: Future[Any]) -> None:
        future.set_exception(RuntimeError("the worker was killed"))
        killed.set()

    options = BackendOptions(1, "/nowhere", lambda: Runner("/nowhere", live=True))
    backend = FuturesBackend(Lenient, options, running=lambda f: f.runs, kill=kill)
    heard = Heard()
    backend.start(heard)
    backend.submit([job(1, call(block))])
    assert begun.wait(60)
    backend.cancel([(1, 1)])
    wait_until(lambda: len(heard.ends()) == 1)
    backend.submit([job(2, call(int))])
    wait_until(lambda: len(heard.ends()) == 2)
    backend.stop(5.0)
    (lost,) = heard.lost()
    assert (lost.why.reason, lost.why.started, lost.why.guilty) == ("cancelled", True, False)


def test_a_pool_says_how_many_slots_it_has() -> None:
    slots = [3]
    options = BackendOptions(1, "/nowhere", lambda: Runner("/nowhere", live=True))
    backend = FuturesBackend(ThreadPoolExecutor, options, slots=lambda _pool: slots[0])
    heard = Heard()
    backend.start(heard)

    def told() -> list[int]:
        return [event.count for event in heard.events if isinstance(event, Slots)]

    wait_until(lambda: told()[-1:] == [3])
    slots[0] = 5
    wait_until(lambda: told()[-1:] == [5])
    backend.submit([job(n, call(int)) for n in range(20)])
    wait_until(lambda: len(heard.ends()) == 20)
    backend.stop(5.0)


def test_slots_come_first_and_time_limits_are_spoken_of_once() -> None:
    heard = Heard()
    backend = backend_for(ThreadPoolExecutor, 3)
    backend.start(heard)
    backend.submit([job(1, call(int), limit=1.0)])
    backend.submit([job(2, call(int), limit=1.0)])
    wait_until(lambda: len(heard.ends()) == 2)
    backend.stop(5.0)
    first = heard.events[0]
    assert isinstance(first, Slots)
    assert first.count == 3
    warnings = [e for e in heard.events if isinstance(e, Note) and e.stream == "warning"]
    assert len(warnings) == 1


def test_a_pool_that_cannot_be_made_is_a_start_error() -> None:
    def refuse(_count: int) -> Any:
        raise OSError("no room")

    backend = backend_for(refuse)
    with pytest.raises(errors.BackendStartError, match="OSError: no room"):
        backend.start(Heard())
    backend.stop(0.0)


class Refusing:
    """Takes nothing."""

    def submit(self, _fn: Any, *_args: Any) -> Any:
        raise RuntimeError("closed")

    def shutdown(self) -> None:
        """Nothing to end."""


@pytest.mark.fault(32)
def test_a_pool_that_takes_nothing_is_not_tried_for_ever() -> None:
    heard = Heard()
    backend = backend_for(lambda _count: Refusing())
    backend.start(heard)
    backend.submit([job(n, call(int)) for n in range(5)])
    wait_until(lambda: len(heard.ends()) == 5)
    backend.stop(5.0)
    assert {one.why.reason for one in heard.lost()} == {"start"}
    assert "RuntimeError: closed" in heard.lost()[0].why.detail


class Choosy:
    """Runs a batch at once; one with a certain job in it fails as a whole."""

    def __init__(self, bad: int) -> None:
        self.bad = bad
        self.sizes: list[int] = []

    def submit(self, fn: Any, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        jobs: list[Job] = args[0] or []  # none: it is only to show that it is up
        self.sizes.append(len(jobs))
        if any(isinstance(j.inputs, Live) and j.inputs.value[0] == (self.bad,) for j in jobs):
            future.set_exception(RuntimeError("a bad batch"))
        else:
            future.set_result(fn(*args))
        return future

    def shutdown(self) -> None:
        """Nothing to end."""


@pytest.mark.fault(77)
def test_of_a_batch_nobody_is_blamed_until_each_was_tried_alone() -> None:
    pool = Choosy(-77)
    with opened(lambda _count: pool, 2, shares_memory=True, max_losses=1, keep_going=True) as made:
        made.run([p.square(i) for i in range(2000)])
        assert max(pool.sizes) > 1, "short jobs travel together"
        with pytest.raises(errors.RunFailed) as caught:
            made.run([p.square(i - 500) for i in range(1000)])
    (failure,) = caught.value.failures
    assert isinstance(failure, errors.TaskLost)
    assert "a bad batch" in failure.certificate.detail


def test_a_long_job_lets_go_of_those_behind_it(tmp_path: Path) -> None:
    """A batch was thought to be short, and one in it is not: others take the rest."""
    file = tmp_path / "go"
    with opened(POOLS["threads"], 2, shares_memory=True) as made:
        made.run([p.exists(str(file)) for _ in range(2000)])
        slow = p.late(0.05)
        assert made.run([slow, *(p.exists(str(file)) for _ in range(500))])[1:] == [False] * 500


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


def test_a_pool_whose_process_was_killed_between_two_jobs_is_seen_to_be_dead() -> None:
    """No future says so, since none is in it; and nothing more is put into it."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    over = threading.Event()
    one = Executor(1, pool, 1, None, close_pool, lambda _one: over.set())
    batch = Batch([Job((1, 1), Call("task", ()), ())])
    batch.future = one.submit(answer, None)
    one.batches[batch] = None
    batch.future.result(60)
    batch.unwanted.add((1, 1))
    one.kill_unwanted()
    del one.batches[batch]  # its result had come already
    assert one.is_full, "it is about to break"
    wait_until(lambda: bool(one.fault()))
    one.error = RuntimeError(one.fault())
    one.end(kill=True)
    assert over.wait(60)

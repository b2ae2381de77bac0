"""`FuturesBackend` without an engine: what it tells of what pools do."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import errors, task
from fancypipe_core._codec.values import EncodedValues
from fancypipe_core.backend import (
    BackendOptions,
    Call,
    Done,
    Environment,
    Event,
    Job,
    Live,
    Lost,
    Note,
    Ok,
    Patient,
    Slots,
    Started,
)
from fancypipe_core.toolkit import FuturesBackend, Packer, Runner, futures
from tests.conformance import pipelines as p
from tests.core.pools import POOLS, MakePool, opened
from tests.core.test_contract import Watcher
from tests.waiting import wait_until


@task(timeout=0.5)
def hangs(path: str) -> None:
    assert p.wait_for.main(path, 600.0)


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


def lost_by_timeout(heard: Heard, number: int) -> Lost:
    (lost,) = [event for event in heard.lost() if event.id == (number, 1)]
    assert (lost.why.reason, lost.why.started) == ("timeout", True)
    return lost


def test_with_running_and_kill_time_limits_are_of_the_jobs_and_not_of_their_wait() -> None:
    """Each is held to its own, from when it began; those without are left alone."""
    begun, killed = threading.Event(), threading.Event()

    def block() -> int:
        begun.set()
        assert killed.wait(60)
        return 7

    def kill(future: Future[Any]) -> None:
        future.set_exception(RuntimeError("the worker was killed"))
        killed.set()

    options = BackendOptions(1, "/nowhere", lambda: Runner("/nowhere", live=True))
    backend = FuturesBackend(Lenient, options, running=lambda f: f.runs, kill=kill)
    heard = Heard()
    backend.start(heard)
    waits = [job(n, call(int), limit=0.2) for n in range(2, 6)]  # for longer than their limits
    backend.submit([job(1, call(block), limit=0.5), *waits, job(6, call(int))])
    wait_until(lambda: len(heard.ends()) == 6)
    backend.stop(5.0)
    assert [event.id for event in heard.lost()] == [(1, 1)]
    assert "the worker was killed" in str(lost_by_timeout(heard, 1).why)
    assert not any(isinstance(event, Note) for event in heard.events), "it can do that"


@pytest.mark.parametrize("word", ["timeout", "cancelled"])
def test_what_does_not_end_when_it_is_stopped_is_given_up(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(futures, "_CLOSE", 0.2)
    begun, go = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        assert go.wait(60)

    options = BackendOptions(2, "/nowhere", lambda: Runner("/nowhere", live=True))
    backend = FuturesBackend(Lenient, options, running=lambda f: f.runs, kill=lambda _: None)
    heard = Heard()
    backend.start(heard)
    backend.submit([job(1, call(block), limit=0.1 if word == "timeout" else None)])
    assert begun.wait(60)
    if word == "cancelled":
        backend.cancel([(1, 1)])
    wait_until(lambda: len(heard.ends()) == 1)
    (lost,) = heard.lost()
    assert (lost.why.reason, lost.why.guilty) == (word, word == "timeout")
    (note,) = [event for event in heard.events if isinstance(event, Note)]
    assert note.id == (1, 1)
    assert "may run on" in note.text
    go.set()
    backend.submit([job(2, call(int))])
    wait_until(lambda: len(heard.ends()) == 2)
    backend.stop(5.0)
    assert set(heard.ends().values()) == {1}


def test_a_process_pool_holds_tasks_to_their_time_limits(tmp_path: Path) -> None:
    with opened(POOLS["spawn"], 2, keep_going=True) as made:
        with pytest.raises(errors.RunFailed) as caught:
            made.run([hangs(str(tmp_path / "never")), *(p.square(i) for i in range(50))])
        (failure,) = caught.value.failures
        assert isinstance(failure, errors.TaskTimeout)
        assert caught.value.results[1:] == [i * i for i in range(50)]


def test_a_pool_may_take_its_time_to_get_its_first_worker() -> None:
    options = BackendOptions(1, "/nowhere", lambda: Runner("/nowhere", live=True))
    assert FuturesBackend(ThreadPoolExecutor, options).start_limit == 0.0, "that of the setting"
    backend = FuturesBackend(ThreadPoolExecutor, options, start_limit=3600.0)
    assert isinstance(backend, Patient)
    assert backend.start_limit == 3600.0


def test_who_ran_a_job_is_told_before_its_end() -> None:
    watcher = Watcher()
    with opened(POOLS["spawn"], 1, observers=[watcher]) as made:
        assert made.run([p.square(i) for i in range(5)]) == [0, 1, 4, 9, 16]
    done = [event for event in watcher.events if event.kind == "done"]
    assert len(done) == 5
    assert {event.worker.partition(":")[0] for event in done} == {socket.gethostname()}
    assert {event.worker.partition(":")[2] for event in done} != {str(os.getpid())}


def test_jobs_travel_as_bytes_through_any_transport(tmp_path: Path) -> None:
    """With a transport of its own an engine needs the packer, and one function over there."""
    values = EncodedValues()
    jobs = []
    for number in range(3):
        made = p.square(number + 5)
        packed, what = values.pack_inputs(made), values.call(made._definition)
        jobs.append(Job((number, 1), what, packed.body))
    packer = Packer(str(tmp_path))
    packer.adapt(Environment({}, {"FANCYPIPE_TRANSPORT": "pipes"}, str(tmp_path)))
    code = (
        "import pickle, sys\n"
        "from fancypipe_core.toolkit import run_packed\n"
        "answer = run_packed(pickle.load(sys.stdin.buffer))\n"
        "pickle.dump(answer, open('answer', 'wb'))\n"
    )
    events: list[Event] = []
    ended: set[tuple[int, int]] = set()
    while len(ended) < 3:  # where one takes long, the others come back
        todo = [job for job in jobs if job.id not in ended]
        subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps(packer.pack(todo)),
            cwd=tmp_path,
            check=True,
            timeout=170,
        )
        come = packer.unpack(pickle.loads((tmp_path / "answer").read_bytes()))
        assert {e.id for e in come if isinstance(e, (Done, Lost))} == {job.id for job in todo}
        ended |= {event.id for event in come if isinstance(event, Done)}
        events += come
    replies = {event.id[0]: event.reply for event in events if isinstance(event, Done)}
    for number, value in enumerate([25, 36, 49]):
        reply = replies[number]
        assert isinstance(reply, Ok)
        assert isinstance(reply.outputs, tuple)
        assert values.open(reply.outputs) == value
    begun = [event for event in events if isinstance(event, Started)]
    assert {event.id for event in begun} == ended
    assert str(os.getpid()) not in {event.where.partition(":")[2] for event in begun}


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


def test_a_pool_whose_calls_cost_much_gets_more_in_each() -> None:
    pool = Choosy(-77)
    options = BackendOptions(1, "/nowhere", lambda: Runner("/nowhere", live=True))
    backend = FuturesBackend(lambda _count: pool, options, together=600.0)
    heard = Heard()
    backend.start(heard)
    nap = call(time.sleep)
    backend.submit([job(0, nap, 0.003)])  # how long it takes is known now
    wait_until(lambda: len(heard.ends()) == 1)
    backend.submit([job(n, nap, 0.003) for n in range(1, 51)])
    wait_until(lambda: len(heard.ends()) == 51)
    backend.stop(5.0)
    assert max(pool.sizes) == 50
    assert sum(pool.sizes) == 51, "nothing comes back since the others took long"


def test_a_long_job_lets_go_of_those_behind_it(tmp_path: Path) -> None:
    """A batch was thought to be short, and one in it is not: others take the rest."""
    file = tmp_path / "go"
    with opened(POOLS["threads"], 2, shares_memory=True) as made:
        made.run([p.exists(str(file)) for _ in range(2000)])
        slow = p.late(0.05)
        assert made.run([slow, *(p.exists(str(file)) for _ in range(500))])[1:] == [False] * 500

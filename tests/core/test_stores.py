"""Large values in the store of a pool's engine: once each, gone in time, and never missed."""

from __future__ import annotations

import asyncio
import gc
import pickle
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Session, errors, task
from fancypipe_core._plugins import discovery
from fancypipe_core.backend import BackendPlugin
from fancypipe_core.toolkit import Call, Calls, FuturesBackend, Store, named_store, needed, run_with
from fancypipe_core.toolkit.store import Shelf, kept
from tests.waiting import wait_until

SIZE = 300_000  # numbers, of eight bytes


class Box:
    """What is in a store."""

    def __init__(self, data: bytes) -> None:
        self.data: bytes | None = data


class Shop:
    """A store, and what has been done with it."""

    def __init__(self) -> None:
        self.boxes: weakref.WeakSet[Box] = weakref.WeakSet()
        self.puts = self.gets = self.lost = 0
        self.loses = self.is_full = self.is_gone = False
        self._counting = Lock()  # two threads get
        self.backends: list[FuturesBackend] = []

    def put(self, data: bytearray) -> Box:
        if self.is_full:
            raise MemoryError
        self.puts += 1
        box = Box(bytes(data))
        self.boxes.add(box)
        return box

    def get(self, box: Box) -> bytes:
        with self._counting:
            self.gets += 1
            if self.loses:
                self.loses, box.data, self.lost = False, None, self.lost + 1
        data = box.data
        if data is None or self.is_gone:
            raise KeyError("it is gone")
        return data

    def is_empty(self) -> bool:
        gc.collect()
        return not self.boxes

    def store(self) -> Store:
        return Store(self.put, self.get)

    def pool(self, count: int) -> Any:
        return ThreadPoolExecutor(count)


class Bringing(Shop):
    """A store whose engine brings to a call what that needs, by its name."""

    def store(self) -> Store:
        return named_store(self.begin)

    def pool(self, count: int) -> Any:
        return Bringer(self, count)

    def begin(self, _name: str, data: bytearray) -> Future[Box]:
        future: Future[Box] = Future()
        try:
            future.set_result(self.put(data))
        except MemoryError as error:
            future.set_exception(error)
        return future


class Bringer:
    """The pool of such an engine."""

    def __init__(self, shop: Bringing, count: int) -> None:
        self.shop, self.threads = shop, ThreadPoolExecutor(count)
        self.shutdown = self.threads.shutdown

    def submit(self, function: Any, argument: Any) -> Future[Any]:
        held = {}
        for name, box in asyncio.run(needed(argument)).items():
            with suppress(KeyError):
                held[name] = self.shop.get(box)
        there = pickle.loads(pickle.dumps(argument))  # as where an engine sends it
        return self.threads.submit(run_with, function, there, held)


class Leaving(Shop):
    """A store in which workers leave what they have made."""

    def store(self) -> Store:
        return Store(self.put, self.get, self.put)

    def pool(self, count: int) -> Any:
        return Leaver(self, count)

    def fetch(self, box: Box) -> Future[bytes]:
        future: Future[bytes] = Future()
        try:
            future.set_result(self.get(box))
        except KeyError as error:
            future.set_exception(error)
        return future


class Leaver(Calls):
    """The pool of such an engine."""

    def __init__(self, shop: Leaving, count: int) -> None:
        super().__init__()
        self.shop, self.threads = shop, ThreadPoolExecutor(count)
        self.shutdown = self.threads.shutdown

    def begin(self, call: Call, function: Any, argument: Any) -> None:
        given = self.threads.submit(function, argument)
        given.add_done_callback(partial(call.end_whole, self.shop.fetch))

    def size(self) -> int:
        return 2

    def runs(self, call: Call) -> bool:
        return True

    def kill(self, call: Call) -> None:
        call.given = None


@pytest.fixture(params=[Shop, Bringing, Leaving])
def shop(request: pytest.FixtureRequest) -> Shop:
    made: Shop = request.param()
    return made


@contextmanager
def session_on(shop: Shop, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Iterator[Session]:
    def make(options: Any) -> FuturesBackend:
        shop.backends.append(FuturesBackend(shop.pool, options, store=shop.store()))
        return shop.backends[-1]

    plugin = BackendPlugin("pool", ("X",), "for tests", make)
    monkeypatch.setattr(discovery, "find", lambda _name: plugin)
    with Session("pool", 2, debug=True, grace=5.0, **settings) as session:
        yield session


@pytest.fixture
def opened(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Session]]:
    with session_on(shop, monkeypatch) as session:
        yield lambda: session


@task
def numbers() -> Any:
    return np.arange(SIZE, dtype=np.float64)


@task
def changed(data: Any, number: int) -> float:
    """Write to what is ours, which nobody else may see."""
    data += number
    return float(data.sum())


@task
def listed(sums: list[float]) -> list[float]:
    return sums


def wanted() -> Any:
    data = numbers()
    return listed([changed(data, number) for number in range(8)])


EXPECTED = [float(np.arange(SIZE).sum()) + number * SIZE for number in range(8)]


def test_a_result_is_put_once_for_all_who_take_it(
    shop: Shop, opened: Callable[[], Session]
) -> None:
    assert opened().run(wanted()) == EXPECTED
    assert shop.puts == 1
    if type(shop) is Shop:
        assert shop.gets >= 8  # once more for what was not begun in time


def test_it_is_gone_when_nobody_needs_it(shop: Shop, opened: Callable[[], Session]) -> None:
    session = opened()
    assert session.run(wanted()) == EXPECTED
    assert session.run(changed(3.0 * np.ones(2), 1)) == 8.0  # what was last is let go of
    wait_until(shop.is_empty)  # a thread of the pool may still be at the end of its call


def test_nothing_is_left_of_a_session(shop: Shop, opened: Callable[[], Session]) -> None:
    session = opened()
    data = numbers()
    kept, total = session.run([data, changed(data, 1)])
    assert (len(kept), total) == (SIZE, EXPECTED[1])
    kept += 1  # whoever asked for it can write to it
    assert shop.puts == 1
    session.close()
    wait_until(shop.is_empty)  # a thread of the pool may still be at the end of its call


def test_what_the_store_has_lost_goes_with_the_job(
    shop: Shop, opened: Callable[[], Session]
) -> None:
    shop.loses = True
    assert opened().run(wanted()) == EXPECTED
    assert shop.lost == 1
    assert shop.puts == 1


def test_a_result_that_is_gone_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Leaving()
    shop.loses = True
    with session_on(shop, monkeypatch, max_losses=1) as session:
        with pytest.raises(errors.TaskLost) as caught:
            session.run(wanted())
        assert (caught.value.certificate.reason, caught.value.certificate.guilty) == ("gone", False)
        assert session.run(wanted()) == EXPECTED


def test_a_store_that_gives_nothing_is_not_asked_for_ever(
    shop: Shop, opened: Callable[[], Session]
) -> None:
    shop.is_gone = True
    assert opened().run(wanted()) == EXPECTED
    assert shop.puts == 1


def test_what_a_full_store_does_not_take_goes_with_the_job(
    shop: Shop, opened: Callable[[], Session]
) -> None:
    shop.is_full = True
    assert opened().run(wanted()) == EXPECTED
    assert (shop.puts, shop.gets) == (0, 0)


def test_code_is_brought_as_values_are() -> None:
    shelf = Shelf(Bringing().store())
    code = shelf.put([b"names of files", kept(bytes(2**20))])
    assert code[0] == b"names of files"
    frame: tuple[bytes, list[Any]] = (b"", [])
    argument = (b"", "", "", frame, 0.0, b"digest", code)
    assert [*asyncio.run(needed(argument))] == [code[1].handle]

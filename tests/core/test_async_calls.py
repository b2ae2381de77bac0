"""`AsyncCalls`: attempts at calls, in the event loop of an engine's client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from fancypipe_core.toolkit import Again, AsyncCalls, Call, named_store
from fancypipe_core.toolkit.store import Stored
from tests.waiting import wait_until

END = 60.0  # seconds


class Attempts(AsyncCalls):
    """An engine in which attempts go as the test says."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *ends: BaseException | int) -> None:
        super().__init__(loop)
        self.ends = list(ends)
        self.seen: list[int] = []  # which attempt each was
        self.held: list[dict[str, Any]] = []
        self.ended: list[Call] = []

    def size(self) -> int:
        return 1

    def runs(self, call: Call) -> bool:
        return True

    async def attempt(self, call: Call, run: Any, argument: Any, held: dict[str, Any]) -> Any:
        self.seen.append(call.attempts)
        self.held.append(held)
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, Again):
            raise end from KeyError("lost")
        if isinstance(end, BaseException):
            raise end
        return run(argument, held)

    async def end(self, call: Call) -> None:
        self.ended.append(call)
        raise ConnectionError("it is over")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread, as the client of such an engine has one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(END)
    loop.close()


def test_what_is_no_fault_of_a_call_is_followed_by_another_attempt(
    loop: asyncio.AbstractEventLoop,
) -> None:
    calls = Attempts(loop, Again(), Again(), 0)
    assert calls.submit(len, ()).result(END) == 0
    assert calls.seen == [1, 2, 3]
    wait_until(lambda: not calls.open)


def test_there_are_not_attempts_for_ever_and_the_last_says_why(
    loop: asyncio.AbstractEventLoop,
) -> None:
    calls = Attempts(loop, Again())
    assert isinstance(calls.submit(len, ()).exception(END), KeyError)
    assert calls.seen == list(range(1, 11))


def test_what_is_to_be_stopped_is_not_begun_again(loop: asyncio.AbstractEventLoop) -> None:
    calls = Attempts(loop, Again(), 0)
    call = Call(calls)
    call.stopped = True
    calls.begin(call, len, ())
    assert isinstance(call.exception(END), KeyError)
    assert calls.seen == [1]
    with pytest.raises(CancelledError):
        call.raise_if_stopped()


def test_an_error_ends_a_call_at_once(loop: asyncio.AbstractEventLoop) -> None:
    calls = Attempts(loop, ValueError("on purpose"), 0)
    assert isinstance(calls.submit(len, ()).exception(END), ValueError)
    assert calls.seen == [1]


def test_what_ends_a_call_runs_in_the_loop_and_may_raise(loop: asyncio.AbstractEventLoop) -> None:
    calls = Attempts(loop, 0)
    call = Call(calls)
    calls.stop(call)
    wait_until(lambda: calls.ended == [call])
    assert call.stopped
    assert calls.submit(len, ()).result(END) == 0, "nobody is hurt by it"


def stored(store: Any, value: Any) -> Any:
    """Return an argument of which a part is in a store."""
    part = Stored(store.get, store.put(value))
    return (b"", "", "", (b"", [part]), 1.0, b"", [])


def of_the_part(argument: Any) -> Any:
    """Return the part, in a worker."""
    part = argument[3][1][0]
    return part.get(part.handle)


def test_each_attempt_is_told_what_the_call_needs_of_a_store(
    loop: asyncio.AbstractEventLoop,
) -> None:
    coming: Future[Any] = Future()
    store = named_store(lambda _name, _data: coming)
    calls = Attempts(loop, Again(), 0)
    call = calls.submit(of_the_part, stored(store, bytearray(b"data")))
    assert not calls.seen, "it is not there yet"
    coming.set_result("as the engine has it")
    assert call.result(END) == "as the engine has it"
    assert len(calls.held) == 2


def test_what_could_not_be_put_is_left_out(loop: asyncio.AbstractEventLoop) -> None:
    full: Future[Any] = Future()
    full.set_exception(MemoryError("full"))
    calls = Attempts(loop, 0)
    with pytest.raises(KeyError):
        calls.submit(of_the_part, stored(named_store(lambda *_: full), bytearray())).result(END)
    assert calls.held == [{}]

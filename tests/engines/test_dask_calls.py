"""Calls on dask that lose something beside them: begun anew, never for ever, never for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

distributed = pytest.importorskip("distributed")
pytest.importorskip("fancypipe_dask")

from distributed.comm import CommClosedError  # noqa: E402 - as above

from fancypipe_core.toolkit import Call  # noqa: E402 - as above
from fancypipe_dask._cluster import DaskCalls  # noqa: E402 - as above

LARGE: Any = (b"", "", "", (b"", [bytearray(2_000_000)]), 1.0, b"", [])
GONE = "the scheduler is gone"


END = 60.0  # seconds


class Client:
    """A client of dask whose calls and values go as the test says."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = SimpleNamespace(asyncio_loop=loop)
        self.status = "running"
        self.scattered: list[Any] = []
        self.submitted: list[Any] = []
        self.while_scattering: Callable[[], object] = lambda: None
        self.ends: list[Any] = [5]

    async def scatter(self, data: list[Any], **_: Any) -> list[str]:
        self.scattered += data
        self.while_scattering()
        return ["a future"]

    def submit(self, _run: Any, argument: Any, _held: Any, **_: Any) -> Any:
        self.submitted.append(argument)
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]

        async def result() -> Any:
            if isinstance(end, BaseException):
                raise end
            return end

        return result()


@pytest.fixture
def client() -> Iterator[Client]:
    """A client, whose loop runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    yield Client(loop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(END)
    loop.close()


def called(client: Client) -> Call:
    return DaskCalls(client, {}).submit(abs, LARGE)


def fails() -> None:
    raise CommClosedError


def test_what_is_lost_with_a_worker_is_in_the_graph_the_next_time(client: Client) -> None:
    client.ends = [distributed.CancelledError(), distributed.CancelledError(), 5]
    assert called(client).result(END) == 5
    assert client.scattered == [LARGE]
    assert client.submitted == ["a future", LARGE, LARGE]


def test_a_worker_that_dies_while_it_is_sent_something_is_not_the_end(
    client: Client,
) -> None:
    client.while_scattering = fails
    assert called(client).result(END) == 5
    assert client.submitted == [LARGE]


def test_a_call_that_is_lost_each_time_ends(client: Client) -> None:
    client.ends = [distributed.CancelledError("lost")]
    with pytest.raises(distributed.CancelledError, match="lost"):
        called(client).result(END)
    assert len(client.submitted) == 10


def test_without_a_scheduler_that_is_said(client: Client) -> None:
    client.ends, client.status = [distributed.CancelledError()], "closed"
    with pytest.raises(CommClosedError, match=GONE):
        called(client).result(END)
    assert len(client.submitted) == 1


def test_what_is_stopped_while_it_is_sent_is_not_begun(client: Client) -> None:
    calls = DaskCalls(client, {})
    call = Call(calls)
    client.while_scattering = lambda: setattr(call, "stopped", True)
    calls.begin(call, abs, LARGE)
    with pytest.raises(distributed.CancelledError):
        call.result(END)
    assert not client.submitted


def test_a_worker_that_a_call_has_killed_is_told_at_once(client: Client) -> None:
    worker = SimpleNamespace(address="tls://there:1")
    client.ends = [distributed.KilledWorker("call", worker, 0)]
    with pytest.raises(distributed.KilledWorker):
        called(client).result(END)
    assert len(client.submitted) == 1

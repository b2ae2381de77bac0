"""A TCP proxy that is unkind on request: slow, late, silent, cut, with flipped bits.

    with Proxy(manager.address, delay=0.2) as proxy:
        dialer = Dialer(proxy.address, keys)
        proxy.cut()

`up` is from who connects to the target, `down` the way back.  All may be changed
while it runs, from any thread.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from fancypipe_remote._address import Address

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Direction", "Proxy"]

Direction = Literal["up", "down"]
_PIECE = 64 * 1024
_BEHIND = 0.2  # seconds of what it could have carried that a link makes up for


class Proxy:
    """Passes bytes on between who connects to `address` and the target.

    Args:
        target: Where to connect to, for each connection.
        delay: Seconds that each byte is on its way, in each direction.
        rate: Bytes per second of each connection and direction; None for no limit.
        record: Keep all bytes that pass, in `passed`.

    Attributes:
        address: Where it listens.
        stalled: While true nothing passes, and nothing is lost; not even that one has hung up.
        connections: How many there were.
        late: For how many seconds it was not run at most, though it had something to do.
        carried: How many bytes have passed in each direction.
        passed: What has passed in each direction, of all connections together.
    """

    def __init__(
        self,
        target: Address,
        *,
        delay: float = 0,
        rate: float | None = None,
        record: bool = False,
    ) -> None:
        self.target = target
        self.delay = delay
        self.rate = rate
        self.stalled = False
        self.connections = 0
        self.late = 0.0
        self.carried: dict[Direction, int] = {"up": 0, "down": 0}
        self.passed: dict[Direction, bytearray] = {"up": bytearray(), "down": bytearray()}
        self._record = record
        self._flip: dict[Direction, int | None] = {"up": None, "down": None}
        self._cut_at: dict[Direction, int | None] = {"up": None, "down": None}
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._soon(self._over.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def cut(self) -> None:
        """Reset all connections, now; new ones are accepted."""
        done = threading.Event()

        def reset() -> None:
            for writer in list(self._writers):
                _reset(writer)
            done.set()

        self._soon(reset)
        assert done.wait(10)

    def cut_at(self, direction: Direction, offset: int | None) -> None:
        """Reset each connection when so many of its bytes have passed in this direction."""
        self._cut_at[direction] = offset

    def flip(self, direction: Direction, skip: int = 0) -> None:
        """Flip a bit of the byte after the next `skip` that pass in this direction, once."""
        self._flip[direction] = skip

    @property
    def flipped(self) -> bool:
        """Whether no flip is still to be done."""
        return self._flip == {"up": None, "down": None}

    def _soon(self, call: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(call)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.address = Address(*server.sockets[0].getsockname()[:2])
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            _reset(writer)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        other = None
        try:
            with suppress(OSError):
                other_reader, other = await asyncio.open_connection(*self.target)
                self._writers.add(other)
                pumps = [
                    asyncio.create_task(self._pump("up", reader, other)),
                    asyncio.create_task(self._pump("down", other_reader, writer)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)
        except asyncio.CancelledError:
            pass
        finally:
            for one in filter(None, (writer, other)):
                self._writers.discard(one)
                _reset(one)
            self._tasks.discard(task)

    async def _pump(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        taking = asyncio.create_task(self._take(reader, queue))
        try:
            with suppress(OSError):
                await self._give(direction, queue, writer)
        finally:
            taking.cancel()

    async def _take(
        self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_PIECE):
                await queue.put((self._loop.time() + self.delay, data))
        await queue.put((self._loop.time() + self.delay, b""))

    async def _give(
        self,
        direction: Direction,
        queue: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
    ) -> None:
        passed = 0
        free = 0.0  # when the link can take the next byte
        while True:
            due, data = await queue.get()
            await self._until(due)
            while self.stalled:  # noqa: ASYNC110  # set by other threads
                await asyncio.sleep(0.005)
            if not data:
                return
            piece = _PIECE if self.rate is None else max(1, int(self.rate / 50))
            for begin in range(0, len(data), piece):
                part = data[begin : begin + piece]
                if self.rate is not None:
                    # By the clock: where each sleep takes longer than it should, the rate holds.
                    free = max(free, due, self._loop.time() - _BEHIND) + len(part) / self.rate
                    await self._until(free)
                limit = self._cut_at[direction]
                cut = limit is not None and passed + len(part) >= limit
                if cut:
                    assert limit is not None
                    part = part[: limit - passed]
                part = self._spoil(direction, part)
                passed += len(part)
                self.carried[direction] += len(part)
                if self._record:
                    self.passed[direction] += part
                writer.write(part)
                await writer.drain()
                if cut:
                    return

    async def _until(self, due: float) -> None:
        """Wait for a time, and see how much later it is then."""
        due = max(due, self._loop.time())
        await asyncio.sleep(due - self._loop.time())
        self.late = max(self.late, self._loop.time() - due)

    def _spoil(self, direction: Direction, part: bytes) -> bytes:
        skip = self._flip[direction]
        if skip is None:
            return part
        if skip >= len(part):
            self._flip[direction] = skip - len(part)
            return part
        self._flip[direction] = None
        return part[:skip] + bytes([part[skip] ^ 1]) + part[skip + 1 :]


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.transport.is_closing():
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

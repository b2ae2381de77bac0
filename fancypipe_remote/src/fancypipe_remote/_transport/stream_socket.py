"""A connection in the shape of a socket, for a channel: bytes in, bytes out.

What is sent never waits: it is kept until the other end takes it, as a channel that does
not block keeps it.  What is not received is not asked for: so that memory is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from fancypipe_remote._protocol.connection import Connection
from fancypipe_remote._protocol.stream import CHUNK, WINDOW

__all__ = ["StreamSocket"]


class StreamSocket:
    """What a channel asks of a connected stream socket.

    One thread receives, any may send, and that of the loop calls `carry` and what
    stands behind it.

    Args:
        wake: Ends the wait of the loop, from any thread.

    Attributes:
        connection: Whose stream it is; None until the loop has made it.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.connection: Connection | None = None
        self._wake = wake
        self._came: deque[memoryview] = deque()
        self._out: deque[memoryview] = deque()
        self._received = 0  # bytes, as counted where they are received
        self._consumed = 0  # the same, as far as the stream knows
        self._over = False

    # ---- in the channel's thread ----

    @property
    def readable(self) -> bool:
        """Whether there is something to receive, or there will be nothing more."""
        return self._over or bool(self._came)

    def recv(self, size: int, _flags: int = 0) -> bytes:
        """Return what is there, and nothing if there will be no more."""
        over = self._over  # looked at first: what came before the end is received before it
        if not self._came:
            if over:
                return b""
            raise BlockingIOError
        data = _take(self._came, size)
        self._received += len(data)
        if self._received - self._consumed >= WINDOW // 4:
            self._wake()  # else the other end might wait until something else happens
        return data

    def recv_into(self, buffer: memoryview, _size: int = 0, _flags: int = 0) -> int:
        """Put what is there into a buffer; return how many bytes these are."""
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def sendmsg(self, parts: Sequence[memoryview]) -> int:
        """Send these bytes, all of them; called in any thread."""
        self._out.extend(parts)
        self._wake()
        return sum(map(len, parts))

    def setblocking(self, _flag: bool) -> None:
        """Whether it waits is not for the channel to say."""

    def fileno(self) -> int:
        """There is no descriptor."""
        return -1

    def close(self) -> None:
        """Receive nothing more.  The connection is closed by whoever has opened it."""
        self._came.clear()
        self._over = True

    # ---- in the loop's thread ----

    def carry(self) -> None:
        """Give the stream what was sent, and tell it what was received."""
        connection = self.connection
        if connection is None or not connection.is_open:
            return
        stream = connection.stream
        received = self._received
        if received != self._consumed:
            stream.consume(received - self._consumed)
            self._consumed = received
        while self._out and (room := min(stream.room, CHUNK)) > 0:
            stream.write(_take(self._out, room))

    def deliver(self, data: bytes) -> None:
        """Take what has come: the next bytes, or none at the end of the stream."""
        if data:
            self._came.append(memoryview(data))
        if self.connection is not None and self.connection.stream.has_ended:
            self._over = True

    def end(self) -> None:
        """Nothing more will come."""
        self._over = True


def _take(parts: deque[memoryview], most: int) -> bytes:
    """Take bytes from the front, not more than so many."""
    found = []
    while parts and most:
        part = parts.popleft()
        if len(part) > most:
            parts.appendleft(part[most:])
            part = part[:most]
        found.append(part)
        most -= len(part)
    return b"".join(found)

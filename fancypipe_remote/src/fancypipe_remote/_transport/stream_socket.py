"""A connection in the shape of a socket, for a channel: bytes in, bytes out.

What is sent never waits: it is kept until the other end takes it, as a channel that does
not block keeps it.  What is not received is not asked for: so that memory is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from fancypipe_remote._protocol.connection import Connection
from fancypipe_remote._protocol.stream import CHUNK

__all__ = ["StreamSocket"]


class StreamSocket:
    """What a channel asks of a connected stream socket.

    One thread receives, any may send, and who drives the link calls `carry` and what
    stands behind it.

    Args:
        connection: Whose stream it is.
        sent: Called when there is something to carry, in the thread that has sent it; by default
            who drives the link looks for it.
        wait: Lets time pass until something may have come, for who receives and waits.
    """

    def __init__(
        self,
        connection: Connection,
        sent: Callable[[], None] = lambda: None,
        wait: Callable[[], object] | None = None,
    ) -> None:
        self.connection = connection
        self._sent = sent
        self._wait = wait
        self._came: deque[memoryview] = deque()
        self._out: deque[bytes | memoryview] = deque()
        self._received = 0  # bytes, as counted where they are received
        self._consumed = 0  # the same, as far as the stream knows
        self._over = False

    # ---- for the channel ----

    @property
    def readable(self) -> bool:
        """Whether there is something to receive, or there will be nothing more."""
        return self._over or bool(self._came)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be carried."""
        return not self._out

    def recv_into(self, buffer: memoryview, _size: int = 0, flags: int = 0) -> int:
        """Put what is there into a buffer; return how many bytes these are."""
        while not self._came and not self._over:
            if self._wait is None or flags:
                raise BlockingIOError
            self._wait()
        filled, room = 0, len(buffer)
        while self._came and filled < room:
            part = self._came.popleft()
            end = filled + len(part)
            if end > room:
                self._came.appendleft(part[room - filled :])
                part, end = part[: room - filled], room
            buffer[filled:end] = part
            filled = end
        self._received += filled
        return filled

    def sendmsg(self, parts: Sequence[bytes | memoryview]) -> int:
        """Send these bytes, all of them; called in any thread."""
        self._out.extend(parts)
        self._sent()
        return sum(map(len, parts))

    def setblocking(self, _flag: bool) -> None:
        """Whether it waits is not for the channel to say."""

    def shutdown(self, _how: int) -> None:
        """Let who receives go on."""
        self.end()
        self._sent()

    def fileno(self) -> int:
        """There is no descriptor."""
        return -1

    def close(self) -> None:
        """Receive nothing more.  The connection is closed by whoever has opened it."""
        self._came.clear()
        self._over = True

    # ---- for who drives the link ----

    def carry(self) -> None:
        """Give the stream what was sent, and tell it what was received."""
        connection = self.connection
        stream = connection.stream
        received = self._received
        if received != self._consumed:
            stream.consume(received - self._consumed)
            self._consumed = received
        if self._out and connection.is_open:
            while self._out and (room := min(stream.room, CHUNK)) > 0:
                stream.write(_take(self._out, room))

    def deliver(self, data: bytes) -> None:
        """Take what has come: the next bytes, or none at the end of the stream."""
        if data:
            self._came.append(memoryview(data))
        if self.connection.stream.has_ended:
            self._over = True

    def end(self) -> None:
        """Nothing more will come."""
        self._over = True


def _take(parts: deque[bytes | memoryview], most: int) -> bytes:
    """Take bytes from the front, not more than so many."""
    if parts and len(parts[0]) <= most and len(parts) == 1:
        return bytes(parts.popleft())
    found: list[bytes | memoryview] = []
    while parts and most:
        part = parts.popleft()
        if len(part) > most:
            parts.appendleft(part[most:])
            part = part[:most]
        found.append(part)
        most -= len(part)
    return b"".join(found)

"""Between a local socket and the stream of a connection: bytes in, bytes out.

What the other end does not take stays in the socket, and in whoever writes to it;
what the socket does not take is not asked for again.  So memory is bounded.
"""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress

from fancypipe_remote._machines.connection import Connection
from fancypipe_remote._machines.stream import CHUNK

__all__ = ["Pump"]


class Pump:
    """Carries bytes both ways, in the thread that calls it.

    Args:
        sock: The local socket; the pump owns it.
        connection: Whose stream it serves.
    """

    def __init__(self, sock: socket.socket, connection: Connection) -> None:
        sock.setblocking(False)
        self.connection = connection
        self._sock = sock
        self._waiting: deque[memoryview] = deque()
        self._ended = False  # the local end has written all it will
        self._told_end = False  # the local end knows that nothing more comes

    def fileno(self) -> int:
        """The socket's descriptor; -1 when closed."""
        return self._sock.fileno()

    @property
    def reads(self) -> bool:
        """Whether bytes from the socket can be taken now."""
        return not self._ended and self.connection.is_open and self.connection.stream.room > 0

    @property
    def writes(self) -> bool:
        """Whether bytes wait for the socket."""
        return bool(self._waiting)

    def read(self) -> None:
        """Take what the local end has written."""
        stream = self.connection.stream
        while (room := min(stream.room, CHUNK)) > 0 and not self._ended:
            try:
                data = self._sock.recv(room)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data = b""
            if data:
                stream.write(data)
            else:
                self._ended = True
                stream.finish()

    def deliver(self, data: bytes) -> None:
        """Give the local end what has come."""
        if data:
            self._waiting.append(memoryview(data))
        self.write()

    def write(self) -> None:
        """Write what waits, as far as the socket takes it."""
        stream = self.connection.stream
        while self._waiting:
            first = self._waiting[0]
            try:
                count = self._sock.send(first)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # Nobody reads any more: it is out of the way all the same.
                stream.consume(sum(map(len, self._waiting)))
                self._waiting.clear()
                break
            stream.consume(count)
            if count == len(first):
                self._waiting.popleft()
            else:
                self._waiting[0] = first[count:]
        if stream.has_ended and not self._told_end:
            self._told_end = True
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)

    @property
    def over(self) -> bool:
        """Whether both ends have written all they will, and it has arrived."""
        return self._ended and self._told_end and self.connection.stream.drained

    def close(self) -> None:
        """Close the socket, at once."""
        self._sock.close()
        self._waiting.clear()

"""A host process's connection in the shape of a socket, for a channel.

There is no thread for the network: who waits for bytes drives the loop meanwhile.  So a
frame is read in the thread that has received it, and what is written by others goes out
from there.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from fancypipe_core import errors
from fancypipe_remote._machines.endpoint import Data, HostSide
from fancypipe_remote._machines.link import LinkState
from fancypipe_remote._machines.stream import CHUNK
from fancypipe_remote._transport import Dialer
from fancypipe_remote._transport.loop import Loop
from fancypipe_remote._worker.lifeline import READY

__all__ = ["StreamSocket"]

_TURN = 0.5  # seconds
_LAST_WORDS = 5.0  # seconds in which some of the last results must arrive


class StreamSocket:
    """What a channel asks of a connected stream socket.

    One thread receives, and closes it in the end; any may send.  Nothing that is sent
    waits: what the client does not take is kept.

    Args:
        dialer: The link.
        side: The machine.
        lifeline: To the worker: told when the link is there, and it ends with that.
    """

    def __init__(self, dialer: Dialer, side: HostSide, lifeline: socket.socket) -> None:
        self._side = side
        self._stream = side.connection.stream
        self._loop = Loop(dialer, side)
        self._lifeline = lifeline
        self._came: deque[memoryview] = deque()
        self._out: deque[memoryview] = deque()
        self._said_ready = False
        self._over = False

    def recv(self, size: int, _flags: int = 0) -> bytes:
        """Wait for bytes; none if there will be no more.

        Raises:
            VersionMismatch: The manager has refused us.
        """
        while not self._came:
            if self._over or self._stream.has_ended:
                return b""
            self._turn(_TURN)
        first = self._came.popleft()
        if len(first) > size:
            self._came.appendleft(first[size:])
            first = first[:size]
        self._stream.consume(len(first))
        return bytes(first)

    def recv_into(self, buffer: memoryview, _size: int = 0, _flags: int = 0) -> int:
        """Wait for bytes and put them there; return how many."""
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def sendmsg(self, parts: Sequence[memoryview]) -> int:
        """Send these bytes, all of them."""
        self._out.extend(parts)
        self._loop.waker.wake()
        return sum(map(len, parts))

    def _turn(self, most: float) -> None:
        stream, link = self._stream, self._side.link
        while self._out and (room := min(stream.room, CHUNK)):
            stream.write(self._next(room))
        reads = [] if self._over else [self._lifeline.fileno()]
        if self._loop.turn(most, reads).intersection(reads):
            self._over = True  # the worker says nothing more: it is gone, or wants us to go
        if link.state is LinkState.OVER:
            raise errors.VersionMismatch(link.why)
        if not self._said_ready and link.state is LinkState.MET:
            self._said_ready = True
            with suppress(OSError):
                self._lifeline.send(READY)
        events, self._side.events = self._side.events, []
        for event in events:
            if isinstance(event, Data):
                if event.data:
                    self._came.append(memoryview(event.data))
            else:
                self._over = True

    def _next(self, room: int) -> bytes:
        """Return the next bytes that are to be sent, not more than so many."""
        found = []
        while self._out and room:
            part = self._out.popleft()
            if len(part) > room:
                self._out.appendleft(part[room:])
                part = part[:room]
            found.append(part)
            room -= len(part)
        return b"".join(found)

    def close(self) -> None:
        """Let the client take what was sent, as long as it does, and close the link."""
        connection, clock = self._side.connection, self._loop.clock
        arrived, until = -1, 0.0
        with suppress(errors.VersionMismatch):
            while connection.closed is None:
                if self._stream.arrived > arrived:
                    arrived, until = self._stream.arrived, clock.now + _LAST_WORDS
                elif clock.now >= until:
                    break
                if not self._out:
                    self._stream.finish()
                    if self._stream.drained:
                        break
                self._turn(0.1)
        self._loop.close()

    def shutdown(self, _how: int) -> None:
        """Let who receives go on."""
        self._over = True
        self._loop.waker.wake()

    def setblocking(self, flag: bool) -> None:
        """It always waits."""
        assert flag

    def fileno(self) -> int:
        """There is no descriptor."""
        return -1

"""The connection of a host process to its client.

There is no thread for the network: who waits for bytes drives the loop meanwhile.  So a
frame is read in the thread that has received it, and what is written by others goes out
from there.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from fancypipe_core import errors
from fancypipe_remote._protocol.endpoint import Data, HostSide
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._transport import Dialer
from fancypipe_remote._transport.loop import Loop
from fancypipe_remote._transport.stream_socket import StreamSocket
from fancypipe_remote._worker.lifeline import READY

__all__ = ["HostSocket"]

_TURN = 0.5  # seconds
_LAST_WORDS = 5.0  # seconds in which some of the last results must arrive


class HostSocket(StreamSocket):
    """A socket whose receiver drives the loop, and closes it in the end.

    Args:
        dialer: The link.
        side: The machine.
        lifeline: To the worker: told when the link is there, and it ends with that.
    """

    def __init__(self, dialer: Dialer, side: HostSide, lifeline: socket.socket) -> None:
        self._loop = Loop(dialer, side)
        super().__init__(self._loop.waker.wake)
        self.connection = side.connection
        self._side = side
        self._lifeline = lifeline
        self._said_ready = False

    def recv(self, size: int, _flags: int = 0) -> bytes:
        """Wait for bytes; none if there will be no more.

        Raises:
            VersionMismatch: The manager has refused us.
        """
        while not self.readable:
            self._turn(_TURN)
        return super().recv(size)

    def shutdown(self, _how: int) -> None:
        """Let who receives go on."""
        self.end()
        self._loop.waker.wake()

    def close(self) -> None:
        """Let the client take what was sent, as long as it does, and close the link."""
        connection, clock = self._side.connection, self._loop.clock
        stream = connection.stream
        arrived, until = -1, 0.0
        with suppress(errors.VersionMismatch):
            while connection.closed is None:
                if stream.arrived > arrived:
                    arrived, until = stream.arrived, clock.now + _LAST_WORDS
                elif clock.now >= until:
                    break
                if not self._out:
                    stream.finish()
                    if stream.drained:
                        break
                self._turn(0.1)
        self._loop.close()

    def _turn(self, most: float) -> None:
        self.carry()
        reads = [] if self._over else [self._lifeline.fileno()]
        if self._loop.turn(most, reads).intersection(reads):
            self.end()  # the worker says nothing more: it is gone, or wants us to go
        link = self._side.link
        if link.state is LinkState.OVER:
            raise errors.VersionMismatch(link.why)
        if not self._said_ready and link.state is LinkState.MET:
            self._said_ready = True
            with suppress(OSError):
                self._lifeline.send(READY)
        events, self._side.events = self._side.events, []
        for event in events:
            if isinstance(event, Data):
                self.deliver(event.data)
            else:
                self.end()

"""The connection of a host process to its client.

There is no thread for the network: who waits for bytes, or for anything else, drives the
loop meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from threading import get_ident
from typing import Any

from fancypipe_core import errors
from fancypipe_remote._protocol.endpoint import Data, HostSide
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._transport import Dialer
from fancypipe_remote._transport.direct import DirectLink
from fancypipe_remote._transport.loop import Loop
from fancypipe_remote._transport.stream_socket import StreamSocket
from fancypipe_remote._worker.lifeline import FromWorker, Lifeline, Ready

__all__ = ["HostSocket"]

_TURN = 0.5  # seconds
_LAST_WORDS = 5.0  # seconds in which some of the last results must arrive


class HostSocket(StreamSocket):
    """A socket whose receiver drives the loop, and closes it in the end.

    Args:
        dialer: The link.
        side: The machine.
        lifeline: To the worker: told when the link is there, and it ends with that.
        told: Takes what the worker says, in the thread that drives the loop.
    """

    def __init__(
        self,
        dialer: Dialer,
        side: HostSide,
        lifeline: Lifeline[FromWorker],
        told: Callable[[FromWorker], None],
    ) -> None:
        self._loop = Loop(dialer, side)
        super().__init__(side.connection, self._nudge, self.turn)
        self._side = side
        self._lifeline = lifeline
        self._told = told
        self._said_ready = False
        self._driver = get_ident()  # the thread that drives the loop

    def close(self) -> None:
        """Let the client take what was sent, as long as it does, and close the link."""
        connection, clock = self.connection, self._loop.clock
        stream = connection.stream
        arrived, until = -1, 0.0
        with suppress(errors.VersionMismatch):
            while connection.closed is None:
                if stream.arrived > arrived:
                    arrived, until = stream.arrived, clock.now + _LAST_WORDS
                elif clock.now >= until:
                    break
                if self.is_idle:
                    stream.finish()
                    if stream.drained:
                        break
                self.turn(0.1)
        self._loop.close()

    def turn(self, most: float = _TURN, reads: Iterable[int] = ()) -> Collection[Any]:
        """Carry what is to be carried, and wait for what comes.

        Args:
            most: Seconds to wait at most.
            reads: Descriptors whose readiness ends the wait as well.

        Returns:
            Those that are ready.

        Raises:
            VersionMismatch: The manager has refused us.
        """
        self._driver = get_ident()
        self.carry()
        lifeline = self._lifeline.fileno()
        ready = self._loop.turn(most, reads if self._over else [lifeline, *reads])
        if lifeline in ready:
            self._hear_the_worker()
        if self._lifeline.has_more:
            self._lifeline.flush()
        link = self._side.link
        if link.state is LinkState.OVER:
            raise errors.VersionMismatch(link.why)
        if not self._said_ready and link.state is LinkState.MET:
            self._said_ready = True
            self._lifeline.say(Ready())
        events, self._side.events = self._side.events, []
        for event in events:
            if isinstance(event, Data):
                self.deliver(event.data)
            else:
                self.end()
        return ready

    def _hear_the_worker(self) -> None:
        try:
            for said in self._lifeline.heard():
                self._told(said)
        except errors.ChannelError:
            self.end()  # it says nothing more: it is gone, or wants us to go

    def join(self, link: DirectLink | None) -> None:
        """Talk to the client over this link from when it does so."""
        if link is not None:
            self._loop.join(link)

    def _nudge(self) -> None:
        if get_ident() != self._driver:  # who drives the loop carries what is sent in any case
            self._loop.waker.wake()

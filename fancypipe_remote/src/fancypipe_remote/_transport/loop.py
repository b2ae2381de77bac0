"""The loop of a client or worker around its machine: one thread, one link, some pumps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

from fancypipe_remote._machines.connection import Connection
from fancypipe_remote._machines.endpoint import ClientSide, Closed, Data, Wanted, WorkerSide
from fancypipe_remote._machines.messages import Parts
from fancypipe_remote._transport import Dialer, Source, Waiter, Waker
from fancypipe_remote._transport.bridge import Pump

__all__ = ["Loop"]

_MOST_WAITING = 4096  # messages for the manager; more are dropped, and sent again later


class Loop:
    """Drives a machine in the thread that calls `turn`.

    Args:
        dialer: The link.
        side: The machine.
        wanted: Called when a client has opened a connection.
        closed: Called when a connection was closed by the other end.

    Attributes:
        waker: Ends the wait of a turn, from any thread.
        pumps: The connections that have a local socket.
    """

    def __init__(
        self,
        dialer: Dialer,
        side: ClientSide | WorkerSide,
        *,
        wanted: Callable[[Connection, int], None] = lambda _connection, _slots: None,
        closed: Callable[[Connection], None] = lambda _connection: None,
    ) -> None:
        self.side = side
        self.waker = Waker()
        self.pumps: dict[Connection, Pump] = {}
        self._dialer = dialer
        self._wanted = wanted
        self._closed = closed
        self._waiter = Waiter(dialer, self.waker)
        self._out: deque[Parts] = deque()
        self._redials = 0

    def attach(self, pump: Pump) -> None:
        """Carry a connection's bytes from now on."""
        self.pumps[pump.connection] = pump

    def detach(self, connection: Connection) -> None:
        """Stop carrying a connection's bytes, and close its local socket."""
        pump = self.pumps.pop(connection, None)
        if pump is not None:
            pump.close()

    def close_connection(self, connection: Connection, why: str) -> None:
        """Close a connection from here; what is under way is lost."""
        self.side.close(connection, why)
        self.detach(connection)

    def turn(self, most: float) -> None:
        """Do what is to be done, then wait until there is more.

        Args:
            most: Seconds to wait at most.
        """
        self._send()
        ready = self._wait(most)
        for pump in list(self.pumps.values()):
            if pump.fileno() in ready:
                pump.write()
                pump.read()
        self._receive()
        self._dispatch()
        for connection, pump in list(self.pumps.items()):
            if pump.over:
                self.close_connection(connection, "")
                self._closed(connection)

    def _wait(self, most: float) -> set[Source]:
        now = monotonic()
        pumps = list(self.pumps.values())
        reads = [pump.fileno() for pump in pumps if pump.reads]
        writes = [pump.fileno() for pump in pumps if pump.writes]
        until = min(now + most, self.side.next_tick)
        return set(self._waiter.wait(max(0.0, until - now), reads, writes))

    def _send(self) -> None:
        now = monotonic()
        out = self._out
        out.extend(self.side.tick(now))
        if self._redials != self.side.link.redials:
            self._redials = self.side.link.redials
            out.clear()  # it is said again when somebody is there
            self._dialer.redial()
        while out and self._dialer.send(out[0]):
            out.popleft()
        while len(out) > _MOST_WAITING:
            out.popleft()

    def _receive(self) -> None:
        now = monotonic()
        while (parts := self._dialer.receive()) is not None:
            self.side.take(parts, now)

    def _dispatch(self) -> None:
        events, self.side.events = self.side.events, []
        for event in events:
            connection = event.connection
            if isinstance(event, Data):
                pump = self.pumps.get(connection)
                if pump is not None:
                    pump.deliver(event.data)
            elif isinstance(event, Wanted):
                self._wanted(connection, event.slots)
            elif isinstance(event, Closed):
                self._closed(connection)
                self.detach(connection)

    def flush(self, seconds: float) -> None:
        """Go on until the other ends have all that was written, or the time is over."""
        until = monotonic() + seconds
        while monotonic() < until:
            for pump in self.pumps.values():
                pump.read()
            self._send()
            if not self._out and all(pump.over for pump in self.pumps.values()):
                return
            self.turn(0.05)

    def say(self, parts: Parts) -> None:
        """Say something to the manager, if it can be said now."""
        self._dialer.send(parts)

    def forget(self) -> None:
        """Close the local sockets and say nothing: the link is another process's."""
        for pump in list(self.pumps.values()):
            pump.close()

    def close(self) -> None:
        """Close the link and all local sockets."""
        for pump in self.pumps.values():
            pump.close()
        self.pumps.clear()
        self._dialer.close(0.2)
        self.waker.close()

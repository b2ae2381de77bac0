"""The machines of a client and of a worker: a link to the manager, and connections.

What they need of the world comes as calls with the time, in seconds of a monotonic
clock; what they want of it is returned as messages to send, or stands in `events`.

When the other end of a connection is gone
    The manager's list says who is there.  Who is missing in the list of a manager
    that knew it is gone.  A manager that has just been met may not know everybody
    yet: it gets `settle` seconds.  Without a manager nobody is gone.  A worker
    waits longer for a client, `client_grace`: a laptop's network may be away for a
    moment, and results are kept as long.

These are pure machines: they have no clock, thread or socket.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fancypipe_core.errors import ProtocolError
from fancypipe_remote._machines import messages
from fancypipe_remote._machines.connection import Connection
from fancypipe_remote._machines.link import Link, LinkState
from fancypipe_remote._machines.messages import Parts
from fancypipe_remote._machines.router import Times

__all__ = ["ClientSide", "Closed", "Data", "Patience", "Wanted", "WorkerSide"]


_MOST_LIARS = 1000
_MOST_CONNECTIONS = 4  # of one client to one worker: each is a process, and one is enough


class Patience(NamedTuple):
    """For how long somebody may be missing, in seconds.

    Attributes:
        settle: After a manager was met, until all others have met it too.
        client_grace: Until a worker ends what runs for a client.
        alone: Until a worker without a manager ends what runs.
    """

    settle: float = 5.0
    client_grace: float = 10.0
    alone: float = 600.0


class Wanted(NamedTuple):
    """At a worker: a client has opened a connection."""

    connection: Connection
    slots: int


class Data(NamedTuple):
    """Bytes have come, in order (none at the end); tell the stream when they are consumed."""

    connection: Connection
    data: bytes


class Closed(NamedTuple):
    """A connection is no more; `connection.closed` says why."""

    connection: Connection


Event = Wanted | Data | Closed


class _Side:
    """What both have.

    Attributes:
        events: What has happened since somebody took them.
        log: The same, in sentences, of what peers did that they should not do.
        liars: The last peers that broke the protocol.
    """

    _hears: tuple[type[messages.BetweenEnds], ...] = ()
    """What the other role says over connections."""

    def __init__(
        self, hello: messages.Hello, wait: float | None, now: float, times: Times | None
    ) -> None:
        self.times = times or Times()
        self.link = Link(hello, wait, now, self.times)
        self.events: list[Event] = []
        self.log: list[str] = []
        self.liars: OrderedDict[bytes, None] = OrderedDict()
        self._connections: dict[tuple[bytes, int], Connection] = {}
        self._out: list[Parts] = []
        self._next_beat = now

    @property
    def connections(self) -> Sequence[Connection]:
        """Those that are not closed."""
        return list(self._connections.values())

    def take(self, parts: Parts, now: float) -> None:
        """Take a message.  What cannot be read closes the connections with its sender.

        If that is the manager, it counts as not heard: after a while there is a new link.
        """
        sender = b""
        try:
            sender = messages.address(parts)
            message = messages.decode(parts, by_manager=False)
        except ProtocolError as error:
            self._refuse(sender, str(error))
            return
        if isinstance(message, messages.BetweenEnds):
            if not isinstance(message, self._hears):
                self._refuse(sender, f"it does not say {type(message).__name__}")
                return
            self.link.heard(now)
            self._take_from(sender, message, messages.data(parts))
        elif isinstance(message, messages.FromManager):
            self.link.take(message, now)
            self._take_list(message, now)

    def _refuse(self, sender: bytes, why: str) -> None:
        """A peer broke the protocol: that ends what is between us, and nothing else."""
        mine = [connection for connection in self.connections if connection.peer == sender]
        for connection in mine:
            self._lose(connection, f"the other end broke the protocol: {why}")
        if mine or sender not in self.liars:
            self.log.append(f"{self._who(sender)} broke the protocol: {why}")
        self.liars[sender] = None
        if len(self.liars) > _MOST_LIARS:
            self.liars.popitem(last=False)

    def tick(self, now: float) -> list[Parts]:
        """Return what is to be sent now."""
        out, self._out = self._out, []
        out += self.link.tick(now, self._beat())
        self._look_for_the_missing(now)
        beat = now >= self._next_beat
        if beat:
            self._next_beat = now + self.times.beat
        for connection in self.connections:
            out += connection.outgoing(beat=beat)
        out += self._out
        self._out = []
        return out

    @property
    def next_tick(self) -> float:
        """When `tick` must be called next, if nothing comes before."""
        return min(self.link.next_tick, self._next_beat)

    def close(self, connection: Connection, why: str) -> None:
        """Close a connection from here."""
        self._out += connection.close(why)
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._connections.pop((connection.peer, connection.number), None)

    def _lose(self, connection: Connection, why: str) -> None:
        """The other end does not know it any more, or is gone."""
        self.close(connection, why)
        self.events.append(Closed(connection))

    def _take_from(self, sender: bytes, message: messages.BetweenEnds, data: bytes) -> None:
        connection = self._connections.get((sender, message.connection))
        if connection is None:
            self._take_unknown(sender, message)
            return
        try:
            arrived = connection.take(message, data)
        except ProtocolError as error:
            self._refuse(sender, str(error))
            return
        if connection.closed is not None:
            self._forget(connection)
            self.events.append(Closed(connection))
        elif isinstance(message, messages.Segment):
            self.events.append(Data(connection, arrived))
        elif isinstance(message, messages.Open):
            self._out.append(messages.encode(messages.Opened(message.connection), sender))

    def _take_unknown(self, sender: bytes, message: messages.BetweenEnds) -> None:
        if not isinstance(message, messages.Close):
            close = messages.Close(message.connection, "the other end knows nothing of it any more")
            self._out.append(messages.encode(close, sender))

    def _who(self, sender: bytes) -> str:
        """Name a peer; the manager, if it is nobody."""
        peer = self._peers().get(sender)
        if peer is None:
            return "somebody" if sender else "the manager"
        return f"the {type(peer).__name__.lower()} on {peer.host} (pid {peer.pid})"

    def _peers(self) -> Mapping[bytes, messages.Client | messages.Worker]:
        raise NotImplementedError

    def _beat(self) -> messages.ToManager:
        raise NotImplementedError

    def _take_list(self, message: messages.FromManager, now: float) -> None:
        raise NotImplementedError

    def _look_for_the_missing(self, now: float) -> None:
        raise NotImplementedError


class ClientSide(_Side):
    """A client's machine.

    Attributes:
        workers: Who was in the manager's last list, by address.
        clients: How many clients share them.
        listed: Whether the manager has told who is there.
    """

    _hears = (messages.Opened, messages.Segment, messages.Close)

    def __init__(
        self,
        hello: messages.Hello,
        wait: float | None,
        now: float,
        times: Times | None = None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(hello, wait, now, times)
        self.workers: dict[bytes, messages.Worker] = {}
        self.clients = 1
        self.listed = False
        self._patience = patience or Patience()
        self._known_by: dict[bytes, str] = {}  # the manager whose list had this worker last
        self._numbers = 0
        self._need: tuple[int, Mapping[bytes, int]] = (0, {})

    def open(self, worker: bytes, slots: int) -> Connection:
        """Open a connection to a worker."""
        self._numbers += 1
        opening = messages.Open(self._numbers, slots)
        connection = Connection(self._numbers, worker, opening)
        self._connections[worker, self._numbers] = connection
        self._out += connection.outgoing(beat=True)
        return connection

    def use(self, need: int, using: Mapping[bytes, int], now: float) -> None:
        """Say how many slots could be used, and how many are, on each worker."""
        if (need, using) != self._need:
            self._need = (need, using)
            if self.clients > 1:
                self.link.hurry(now)

    def _peers(self) -> Mapping[bytes, messages.Worker]:
        return self.workers

    def _beat(self) -> messages.ToManager:
        need, using = self._need
        return messages.ClientBeat(need, dict(using))

    def _take_list(self, message: messages.FromManager, now: float) -> None:
        if isinstance(message, messages.Workers) and self.link.manager is not None:
            self.workers = {worker.address: worker for worker in message.workers}
            self.clients = message.clients
            self.listed = True
            for address in self.workers:
                self._known_by[address] = self.link.manager.manager

    def _look_for_the_missing(self, now: float) -> None:
        link = self.link
        if link.state is LinkState.OVER:
            for connection in self.connections:
                self._lose(connection, link.why)
            return
        if link.state is not LinkState.MET or link.manager is None:
            return
        for connection in self.connections:
            address = connection.peer
            if address in self.workers:
                continue
            knew = self._known_by.get(address) == link.manager.manager
            if knew or now >= link.met_at + self._patience.settle:
                self._lose(connection, "the worker is gone: the manager hears nothing of it")


class WorkerSide(_Side):
    """A worker's machine.

    Args:
        hello: What is said first.
        wait: Seconds to seek a manager before it gives up; None for no limit.
        now: The time.

    Attributes:
        slots: How many jobs it runs at the same time; 0 while it drains.
        load: The machine's load average over a minute.
    """

    _hears = (messages.Open, messages.Segment, messages.Close)

    def __init__(
        self,
        hello: messages.Hello,
        wait: float | None,
        now: float,
        times: Times | None = None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(hello, wait, now, times)
        self.slots = hello.slots
        self.load = 0.0
        self._patience = patience or Patience()
        self._clients: dict[bytes, messages.Client] = {}
        self._missing: dict[bytes, float] = {}
        self._over: dict[bytes, int] = {}  # the highest number of each client

    def _peers(self) -> Mapping[bytes, messages.Client]:
        return self._clients

    def _beat(self) -> messages.ToManager:
        return messages.WorkerBeat(self.slots, self.load)

    def _take_list(self, message: messages.FromManager, now: float) -> None:
        if isinstance(message, messages.Clients):
            self._clients = {client.address: client for client in message.clients}

    def _take_unknown(self, sender: bytes, message: messages.BetweenEnds) -> None:
        is_new = isinstance(message, messages.Open) and (
            message.connection > self._over.get(sender, 0)
        )
        if not is_new:
            super()._take_unknown(sender, message)
            return
        assert isinstance(message, messages.Open)
        theirs = sum(connection.peer == sender for connection in self.connections)
        if not self.slots or theirs >= _MOST_CONNECTIONS:
            why = "it has too many connections" if self.slots else "the worker is about to leave"
            close = messages.Close(message.connection, why)
            self._out.append(messages.encode(close, sender))
            return
        self._over[sender] = message.connection
        connection = Connection(message.connection, sender)
        self._connections[sender, message.connection] = connection
        self._out.append(messages.encode(messages.Opened(message.connection), sender))
        self.events.append(Wanted(connection, message.slots))

    def _look_for_the_missing(self, now: float) -> None:
        peers = {connection.peer for connection in self.connections}
        met = self.link.state is LinkState.MET
        for peer in list(self._missing):
            if peer not in peers:
                del self._missing[peer]
        for peer in peers:
            if met and peer in self._clients:
                self._missing.pop(peer, None)
            else:
                self._missing.setdefault(peer, now)
        for connection in self.connections:
            since = self._missing.get(connection.peer)
            if since is None:
                continue
            if met and now >= max(since, self.link.met_at) + self._patience.client_grace:
                self._lose(connection, "the client is gone")
            elif not met and now >= since + self._patience.alone:
                self._lose(connection, "there was no manager for too long")

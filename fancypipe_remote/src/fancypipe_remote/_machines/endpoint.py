"""The machines of a client, a host process and a worker: each has a link to the manager.

A client and a host process have connections besides, with streams in them.  A worker
only says which host processes there are, and when one has ended.

What they need of the world comes as calls with the time, in seconds of a monotonic
clock; what they want of it is returned as messages to send, or stands in `events`.

When somebody is gone
    The manager's list says who is there.  Who is missing in the list of a manager
    that knew it, and was not met anew since, is gone.  A manager that has just been
    met may not know everybody yet: it gets `settle` seconds.  Without a manager
    nobody is gone.  A worker waits longer for a client, `client_grace`: a laptop's
    network may be away for a moment, and results are kept as long.  Host processes
    are in no list: the worker that has started one says when it is gone, and it ends
    with its worker.

These are pure machines: they have no clock, thread or socket.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from fancypipe_core.errors import ProtocolError
from fancypipe_remote._machines import messages
from fancypipe_remote._machines.connection import Connection
from fancypipe_remote._machines.link import Link, LinkState
from fancypipe_remote._machines.messages import Parts
from fancypipe_remote._machines.parties import Times

__all__ = [
    "ClientSide",
    "Closed",
    "Data",
    "HostSide",
    "Key",
    "Left",
    "Looked",
    "Patience",
    "Side",
    "Wanted",
    "WorkerSide",
]

_MOST_LIARS = 1000
_MOST_CONNECTIONS = 4  # of one client to one worker: each is a process, and one is enough

Key = tuple[bytes, int]
"""A connection as a worker knows it: the client's address, and its number there."""


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


class Data(NamedTuple):
    """Bytes have come, in order (none at the end); tell the stream when they are consumed."""

    connection: Connection
    data: bytes


class Closed(NamedTuple):
    """A connection is no more; `connection.closed` says why."""

    connection: Connection


class Wanted(NamedTuple):
    """At a worker: a client asks for a host process."""

    key: Key
    slots: int


class Left(NamedTuple):
    """At a worker: nobody needs this host process any more."""

    key: Key
    why: str


class Looked(NamedTuple):
    """At a worker: a client asks whether a folder is seen."""

    client: bytes
    look: messages.Look


class Side:
    """What all have.

    Attributes:
        log: What peers did that they should not do, in sentences.
        liars: The last peers that broke the protocol.
    """

    _hears: tuple[type[messages.BetweenEnds], ...]
    """What other parties may say to this one."""

    def __init__(
        self, hello: messages.Hello, wait: float | None, now: float, times: Times | None
    ) -> None:
        self.times = times or Times()
        self.link = Link(hello, wait, now, self.times)
        self.log: list[str] = []
        self.liars: OrderedDict[bytes, None] = OrderedDict()
        self._out: list[Parts] = []
        self._next_beat = now
        self._number = -1  # of the manager's last news

    def take(self, parts: Parts, now: float) -> None:
        """Take a message.  What cannot be read ends what is between us and its sender.

        If that is the manager, it counts as not heard: after a while there is a new link.
        """
        sender = b""
        try:
            sender = messages.address(parts)
            message = messages.decode(parts, by_manager=False)
            if isinstance(message, self._hears):
                self.link.heard(now)
                self._take_from(sender, message, messages.data(parts), now)
            elif isinstance(message, messages.Workers | messages.Clients):
                self.link.heard(now)
                if self._is_next(message, now):
                    self._take_news(message)
            elif isinstance(message, messages.FromManager):
                self.link.take(message, now)
                if isinstance(message, messages.Welcome):
                    self._number = -1  # it tells all anew
            else:
                self._refuse(sender, f"it does not say {type(message).__name__}")
        except ProtocolError as error:
            self._refuse(sender, str(error))

    def _is_next(self, message: messages.Workers | messages.Clients, now: float) -> bool:
        """Tell whether nothing before it was missed; else all is asked for."""
        is_next = message.number in (0, self._number + 1)
        if is_next:
            self._number = message.number
        else:
            self.link.greet(now, now)
        return is_next

    def _refuse(self, sender: bytes, why: str) -> None:
        """A peer broke the protocol: that ends what is between us, and nothing else."""
        liar = self._party(sender)
        if self._end_all(sender, f"the other end broke the protocol: {why}") or (
            liar not in self.liars
        ):
            self.log.append(f"{self._who(liar)} broke the protocol: {why}")
        self.liars[liar] = None
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
        out += self._outgoing(now, beat)
        out += self._out
        self._out = []
        return out

    @property
    def next_tick(self) -> float:
        """When `tick` must be called next, if nothing comes before."""
        return min(self.link.next_tick, self._next_beat)

    def _say(self, message: messages.BetweenEnds, to: bytes) -> None:
        self._out.append(messages.encode(message, to))

    def _unknown(self, sender: bytes, message: messages.BetweenEnds) -> None:
        """Answer what is said about a connection that is not here."""
        if isinstance(message, messages.Open | messages.Opened | messages.Segment):
            why = "the other end knows nothing of it any more"
            self._say(messages.Close(message.connection, why), sender)

    def _who(self, party: bytes) -> str:
        """Name a party; the manager, if it is nobody."""
        peer = self._peers().get(party)
        if peer is None:
            return "somebody" if party else "the manager"
        return f"the {type(peer).__name__.lower()} on {peer.host} (pid {peer.pid})"

    def _party(self, sender: bytes) -> bytes:
        """Return who answers for what a sender says."""
        return sender

    def _peers(self) -> Mapping[bytes, messages.Client | messages.Worker]:
        return {}

    def _take_news(self, message: messages.Workers | messages.Clients) -> None:
        """Take what the manager says of who is there."""

    def _look_for_the_missing(self, now: float) -> None:
        """See who is gone."""

    def _outgoing(self, now: float, beat: bool) -> list[Parts]:
        return []

    def _beat(self) -> messages.ToManager:
        raise NotImplementedError

    def _take_from(
        self, sender: bytes, message: messages.BetweenEnds, data: bytes, now: float
    ) -> None:
        raise NotImplementedError

    def _end_all(self, sender: bytes, why: str) -> bool:
        """End what is between us and a sender; tell whether there was anything."""
        raise NotImplementedError


class _End(Side):
    """A party that has connections.

    Attributes:
        events: What has happened since somebody took them.
    """

    def __init__(
        self, hello: messages.Hello, wait: float | None, now: float, times: Times | None
    ) -> None:
        super().__init__(hello, wait, now, times)
        self.events: list[Data | Closed] = []
        self._connections: dict[int, Connection] = {}

    @property
    def connections(self) -> Sequence[Connection]:
        """Those that are not closed."""
        return list(self._connections.values())

    def close(self, connection: Connection, why: str) -> None:
        """Close a connection from here."""
        if self._connections.pop(connection.number, None) is not None:
            self._out += connection.close(why)

    def _lose(self, connection: Connection, why: str) -> None:
        """The other end does not know it any more, or is gone."""
        self.close(connection, why)
        self.events.append(Closed(connection))

    def _take_from(
        self, sender: bytes, message: messages.BetweenEnds, data: bytes, now: float
    ) -> None:
        assert not isinstance(message, messages.Look | messages.Seen)
        connection = self._connections.get(message.connection)
        if connection is None or not connection.hears(sender, message):
            self._unknown(sender, message)
            return
        arrived = connection.take(message, data, now)
        if connection.closed is not None:
            del self._connections[connection.number]
            self.events.append(Closed(connection))
        elif isinstance(message, messages.Segment):
            self.events.append(Data(connection, arrived))

    def _end_all(self, sender: bytes, why: str) -> bool:
        mine = [one for one in self.connections if sender and sender in (one.peer, one.worker)]
        for connection in mine:
            self._lose(connection, why)
        return bool(mine)

    def _outgoing(self, now: float, beat: bool) -> list[Parts]:
        return [parts for one in self.connections for parts in one.outgoing(now, beat=beat)]


class ClientSide(_End):
    """A client's machine.

    Attributes:
        workers: Who was in the manager's last list, by address.
        clients: How many clients share them.
        listed: Whether the manager has told who is there.
        seen: Which workers have said whether they see the folder of `look`.
        round_trips: Seconds to the other end of each connection and back, by its number.
    """

    _hears = (messages.Opened, messages.Segment, messages.Close, messages.Seen)

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
        self._listed: dict[bytes, messages.Worker] = {}  # as far as the manager has told
        self.seen: dict[bytes, bool] = {}
        self.round_trips: dict[int, float] = {}
        self._patience = patience or Patience()
        self._known_since: dict[bytes, float] = {}  # when the manager was met that listed it last
        self._numbers = 0
        self._need: tuple[int, Mapping[bytes, int]] = (0, {})
        self._looks: dict[bytes, messages.Look] = {}

    def open(self, worker: bytes, slots: int) -> Connection:
        """Open a connection to a host process of this worker."""
        self._numbers += 1
        connection = Connection(self._numbers, b"", worker, slots)
        self._connections[self._numbers] = connection
        self._out += connection.outgoing(0.0, beat=True)
        return connection

    def look(self, worker: bytes, folder: str, proof: str) -> None:
        """Ask a worker, until it answers, whether it sees a folder."""
        self._looks[worker] = messages.Look(len(self._looks), folder, proof)
        self._say(self._looks[worker], worker)

    def use(self, need: int, using: Mapping[bytes, int]) -> None:
        """Say how many slots could be used, and how many are, on each worker."""
        if (need, using) != self._need:
            self._need = (need, using)
            if self.clients > 1:
                self.link.hurry(self.clients)

    def _take_from(
        self, sender: bytes, message: messages.BetweenEnds, data: bytes, now: float
    ) -> None:
        if isinstance(message, messages.Seen):
            look = self._looks.get(sender)
            if look is not None and look.number == message.number:
                del self._looks[sender]
                self.seen = {**self.seen, sender: message.sees}
            return
        super()._take_from(sender, message, data, now)
        assert not isinstance(message, messages.Look)
        connection = self._connections.get(message.connection)
        seconds = None if connection is None else connection.round_trip.seconds
        if seconds is not None and self.round_trips.get(message.connection) != seconds:
            self.round_trips = {**self.round_trips, message.connection: seconds}

    def _outgoing(self, now: float, beat: bool) -> list[Parts]:
        out = super()._outgoing(now, beat)
        if beat:
            out += [messages.encode(look, worker) for worker, look in self._looks.items()]
        return out

    def _party(self, sender: bytes) -> bytes:
        return next((one.worker for one in self.connections if one.peer == sender), sender)

    def _peers(self) -> Mapping[bytes, messages.Worker]:
        return self.workers

    def _beat(self) -> messages.ToManager:
        need, using = self._need
        return messages.ClientBeat(need, dict(using))

    def _take_news(self, message: messages.Workers | messages.Clients) -> None:
        if not isinstance(message, messages.Workers) or self.link.manager is None:
            return
        listed = self._listed = {} if message.number == 0 else dict(self._listed)
        for worker in message.workers:
            known = listed.get(worker.address)
            listed[worker.address] = replace(worker, share=known.share if known else 0)
        for address in message.gone:
            listed.pop(address, None)
        for address, share in message.shares.items():
            if address in listed:
                listed[address] = replace(listed[address], share=share)
        if not message.more:
            self.workers = listed
            self.clients = message.clients
            self.listed = True
            for address in listed:
                self._known_since[address] = self.link.met_at

    def _look_for_the_missing(self, now: float) -> None:
        link = self.link
        if link.state is LinkState.OVER:
            for connection in self.connections:
                self._lose(connection, link.why)
            return
        if link.state is not LinkState.MET or link.manager is None:
            return
        for connection in self.connections:
            worker = connection.worker
            if worker in self.workers:
                continue
            knew = self._known_since.get(worker) == link.met_at
            if knew or now >= link.met_at + self._patience.settle:
                self._lose(connection, "the worker is gone: the manager hears nothing of it")


class HostSide(_End):
    """A host process's machine: one connection, to the client whose jobs it runs.

    Args:
        hello: What is said first.
        client: The client's address.
        number: The client's number of the connection.
        now: The time.
    """

    _hears = (messages.Segment, messages.Close)

    def __init__(
        self,
        hello: messages.Hello,
        client: bytes,
        number: int,
        now: float,
        times: Times | None = None,
    ) -> None:
        super().__init__(hello, None, now, times)  # its worker says for how long
        self.connection = self._connections[number] = Connection(number, client)

    def _beat(self) -> messages.ToManager:
        return messages.HostBeat()


class WorkerSide(Side):
    """A worker's machine.

    Args:
        hello: What is said first.
        wait: Seconds to seek a manager before it gives up; None for no limit.
        now: The time.

    Attributes:
        slots: How many jobs it runs at the same time; 0 while it drains.
        load: The machine's load average over a minute.
        events: What has happened since somebody took them.
    """

    _hears = (messages.Open, messages.Close, messages.Look)

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
        self.events: list[Wanted | Left | Looked] = []
        self._patience = patience or Patience()
        self._clients: dict[bytes, messages.Client] = {}
        self._listed: dict[bytes, messages.Client] = {}  # as far as the manager has told
        self._missing: dict[bytes, float] = {}
        self._over: dict[bytes, int] = {}  # the highest number of each client
        self._hosts: dict[Key, bytes] = {}  # the addresses of host processes; empty until it is up

    def opened(self, key: Key, host: bytes) -> None:
        """A host process is up and has this address."""
        if key in self._hosts:
            self._hosts[key] = host
            self._say(messages.Opened(key[1], host), key[0])

    def ended(self, key: Key, why: str) -> None:
        """A host process has ended, or could not be started."""
        if self._hosts.pop(key, None) is not None:
            self._say(messages.Close(key[1], why), key[0])

    def answer(self, client: bytes, number: int, sees: bool) -> None:
        """Answer a `Looked`."""
        self._say(messages.Seen(number, sees), client)

    def _peers(self) -> Mapping[bytes, messages.Client]:
        return self._clients

    def _beat(self) -> messages.ToManager:
        return messages.WorkerBeat(self.slots, self.load)

    def _take_news(self, message: messages.Workers | messages.Clients) -> None:
        if isinstance(message, messages.Clients):
            listed = self._listed = {} if message.number == 0 else dict(self._listed)
            listed.update((client.address, client) for client in message.clients)
            for address in message.gone:
                listed.pop(address, None)
            if not message.more:
                self._clients = listed

    def _take_from(
        self, sender: bytes, message: messages.BetweenEnds, data: bytes, now: float
    ) -> None:
        if isinstance(message, messages.Look):
            self.events.append(Looked(sender, message))
        elif isinstance(message, messages.Close):
            self._leave((sender, message.connection), message.why)
        elif isinstance(message, messages.Open):
            key = (sender, message.connection)
            if self._hosts.get(key):
                self._say(messages.Opened(message.connection, self._hosts[key]), sender)
            elif key not in self._hosts:
                self._open(key, message)

    def _open(self, key: Key, message: messages.Open) -> None:
        client, number = key
        theirs = sum(one == client for one, _ in self._hosts)
        if number <= self._over.get(client, 0):
            self._unknown(client, message)
        elif not self.slots or theirs >= _MOST_CONNECTIONS:
            why = "it has too many connections" if self.slots else "the worker is about to leave"
            self._say(messages.Close(number, why), client)
        else:
            self._over[client] = number
            self._hosts[key] = b""
            self.events.append(Wanted(key, message.slots))

    def _leave(self, key: Key, why: str) -> None:
        if self._hosts.pop(key, None) is not None:
            self.events.append(Left(key, why))

    def _end_all(self, sender: bytes, why: str) -> bool:
        mine = [key for key in self._hosts if key[0] == sender]
        for key in mine:
            self._say(messages.Close(key[1], why), sender)
            self._leave(key, why)
        return bool(mine)

    def _look_for_the_missing(self, now: float) -> None:
        clients = {client for client, _ in self._hosts}
        met = self.link.state is LinkState.MET
        self._missing = {one: since for one, since in self._missing.items() if one in clients}
        for client in clients:
            if met and client in self._clients:
                self._missing.pop(client, None)
                continue
            since = self._missing.setdefault(client, now)
            if met and now >= max(since, self.link.met_at) + self._patience.client_grace:
                self._end_all(client, "the client is gone")
            elif not met and now >= since + self._patience.alone:
                self._end_all(client, "there was no manager for too long")

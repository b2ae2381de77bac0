"""The machines of a client and of a host process: a link, and connections with streams in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.connection import Connection
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._protocol.messages import Parts
from fancypipe_remote._protocol.parties import Times
from fancypipe_remote._protocol.side import Patience, Side

__all__ = ["ClientSide", "Closed", "Data", "HostSide"]


class Data(NamedTuple):
    """Bytes have come, in order (none at the end); tell the stream when they are consumed."""

    connection: Connection
    data: bytes


class Closed(NamedTuple):
    """A connection is no more; `connection.closed` says why."""

    connection: Connection


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
        assert not isinstance(message, (messages.Look, messages.Seen))
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
        out: list[Parts] = []
        for one in self._connections.values():
            if beat or one.stream.has_pieces:
                out += one.outgoing(now, beat=beat)
        return out


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
        if not isinstance(message, messages.Segment):
            return
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
            self._known_since[worker.address] = self.link.met_at
        for address in message.gone:
            listed.pop(address, None)
        for address, share in message.shares.items():
            if address in listed:
                listed[address] = replace(listed[address], share=share)
        if not message.more:
            self.workers = listed
            self.clients = message.clients
            self.listed = True

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

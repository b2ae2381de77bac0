"""The machine of a worker: which host processes there are to be, and which have ended.

It carries nothing between a client and a host process; it tells the client where that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fancypipe_core.backend import Needs
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._protocol.parties import Times
from fancypipe_remote._protocol.side import Patience, Side

__all__ = ["Key", "Left", "Looked", "Wanted", "WorkerSide"]

_MOST_CONNECTIONS = 4  # of one client to one worker: each is a process, and one is enough
_MOST_CLIENTS = 10_000  # whose last connection is remembered

Key = tuple[bytes, int]
"""A connection as a worker knows it: the client's address, and its number there."""


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


class WorkerSide(Side):
    """A worker's machine.

    Args:
        hello: What is said first.
        wait: Seconds to seek a manager before it gives up; None for no limit.
        now: The time.

    Attributes:
        slots: How many jobs it runs at the same time; 0 while it drains.
        load: The machine's load average over a minute.
        lent: What tasks have of its memory and devices.
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
        self.lent = Needs()
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

    def name_of(self, client: bytes) -> str:
        """Say in words who a client is."""
        known = self._clients.get(client)
        return f"the client on {known.host} (pid {known.pid})" if known else "a client that is gone"

    def answer(self, client: bytes, number: int, sees: bool) -> None:
        """Answer a `Looked`."""
        self._say(messages.Seen(number, sees), client)

    def _peers(self) -> Mapping[bytes, messages.Client]:
        return self._clients

    def _beat(self) -> messages.ToManager:
        return messages.WorkerBeat(self.slots, self.load, self.lent.memory, self.lent.gpu)

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
            self._over.pop(client, None)
            self._over[client] = number
            if len(self._over) > _MOST_CLIENTS:
                del self._over[next(iter(self._over))]
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

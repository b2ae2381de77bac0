"""Clients and workers, as a manager knows them: when they are gone, and what of them is news."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.messages import Parts

__all__ = ["Identity", "News", "Out", "Party", "Room", "Times"]

_LISTED = 100  # parties in one message: on a slow link, too, a message takes no long time


class Times(NamedTuple):
    """Limits, in seconds.

    Attributes:
        beat: How often everybody shows that it lives.
        silent: After so long without a word a party is taken for dead.
        unreachable: The same, for one whose connection has broken.
        settle: After the manager itself stood still: until all others have met it again.
    """

    beat: float = 1.0
    silent: float = 3.0
    unreachable: float = 1.5  # a beat is what shows that there is a new link
    settle: float = 5.0


class Out(NamedTuple):
    """A message to send.

    Attributes:
        to: The link's name.
        parts: The message.
        last: Whether nothing is to be heard of this link any more.
    """

    to: bytes
    parts: Parts
    last: bool = False


class Identity(NamedTuple):
    """What the manager says of itself."""

    manager: str
    fancypipe: str
    host: str
    pid: int


class Party:
    """Who has said hello.

    Attributes:
        key: The role of its key.
        link: The name of its link; None while that is broken, which it is since `unreachable`.
        heard: When it was heard last.
        number: Of the last message that told it of the others.
        told: Which version of the others it knows; None for nothing.
        slots: Of a worker: how many jobs it runs now.
        need: Of a client: how many slots it could use.
        using: Of a client: how many slots it uses, on which workers.
        share: Of a client: how many slots are its own.
        told_share: What it was told of that.
    """

    def __init__(self, address: bytes, link: bytes, hello: messages.Hello, now: float) -> None:
        self.address = address
        self.link: bytes | None = link
        self.hello = hello
        self.key = messages.key_role(hello.role)
        self.heard = now
        self.unreachable: float | None = None
        self.number = -1
        self.told: int | None = None
        self.slots = hello.slots
        self.load = 0.0
        self.lent = 0, 0
        self.need = 0
        self.using: Mapping[bytes, int] = {}
        self.share: dict[bytes, int] = {}
        self.told_share: dict[bytes, int] = {}
        self.told_clients = 0

    def __str__(self) -> str:
        hello = self.hello
        return f"{hello.role} on {hello.host} (pid {hello.pid})"

    @property
    def record(self) -> messages.Worker | messages.Client:
        """What others see of it."""
        hello = self.hello
        who = (self.address, hello.host, hello.pid)
        if hello.role == "client":
            return messages.Client(*who)
        return messages.Worker(
            *who, hello.python, hello.fancypipe, self.slots, self.load,
            memory=hello.memory, devices=hello.devices,
            lent_memory=self.lent[0], lent_devices=self.lent[1],
        )  # fmt: skip


class News(NamedTuple):
    """Some of the parties that are new, have changed or are gone; with `more` there are others."""

    there: tuple[Any, ...]
    gone: tuple[bytes, ...]
    more: bool


class Room(dict[bytes, Party]):
    """The parties of one role, by address, and what has changed among them since a heartbeat."""

    def __init__(self) -> None:
        super().__init__()
        self._changes: list[bytes] = []
        self._forgotten = 0
        self._news: dict[int | None, list[News]] = {}

    @property
    def version(self) -> int:
        """How many changes there were."""
        return self._forgotten + len(self._changes)

    def changed(self, address: bytes) -> None:
        """Others must hear of this one."""
        self._changes.append(address)
        self._news.clear()

    def forget(self) -> None:
        """All have heard of all changes."""
        self._forgotten = self.version
        self._changes.clear()
        self._news.clear()

    def news(self, since: int | None) -> list[News]:
        """Return what has changed since a version, in parts; None for all that are there."""
        found = self._news.get(since)
        if found is None:
            new = self if since is None else self._changes[since - self._forgotten :]
            found = self._news[since] = list(self._cut(list(dict.fromkeys(new))))
        return found

    def _cut(self, addresses: Sequence[bytes]) -> Iterator[News]:
        for begin in range(0, max(1, len(addresses)), _LISTED):
            part = addresses[begin : begin + _LISTED]
            there = tuple(self[address].record for address in part if address in self)
            gone = tuple(address for address in part if address not in self)
            yield News(there, gone, begin + _LISTED < len(addresses))

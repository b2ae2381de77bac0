"""Between a worker and a host process that it has started: an inherited socket, its lifeline.

The worker says once what the host process is to do.  The host process says once that it
is up, and then only what it needs of what the worker lends (`_protocol.lender`).  When
one end hangs up, the other knows that it is to end, or that it has ended.

What is handed over has the worker's key in it, so it stands neither in the arguments
nor in the environment of a process, where others could read it.
"""

from __future__ import annotations

import socket
import threading
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from fancypipe_core.errors import ConnectionLost, ProtocolError
from fancypipe_core.toolkit import SocketChannel, pack, unpacker
from fancypipe_remote._protocol.messages import Hello, Natural

__all__ = [
    "Assignment",
    "Claim",
    "FromHost",
    "FromWorker",
    "GiveBack",
    "Granted",
    "Lifeline",
    "Ready",
    "Waits",
    "of_host",
    "of_worker",
]

_LOOK = 60.0  # seconds
_MOST = 1 << 20  # bytes of what is said at once


class Assignment(msgspec.Struct, tag="assignment", array_like=True, frozen=True):
    """What a host process is to do.

    Attributes:
        host: Where the manager is, in numbers.
        port: Its port.
        key: A worker key.
        hello: What it says of itself, with the ticket that makes its address.
        client: The address of the client that it serves.
        connection: The client's number of the connection.
        backend: The local backend's name; empty for the default.
        slots: How many jobs run at the same time.
        base: The folder for temporary files.
    """

    host: str
    port: int
    key: str
    hello: Hello
    client: bytes
    connection: int
    backend: str
    slots: int
    base: str


class Granted(msgspec.Struct, tag="granted", array_like=True, frozen=True):
    """A job may begin.

    Attributes:
        number: Of the claim.
        devices: The names of its devices.
    """

    number: Natural
    devices: tuple[str, ...]


class Waits(msgspec.Struct, tag="waits", array_like=True, frozen=True):
    """A job waits for what others have; said once to a host process.

    Attributes:
        number: Of the claim.
        holders: Who has it, in words.
    """

    number: Natural
    holders: tuple[str, ...]


class Ready(msgspec.Struct, tag="ready", array_like=True, frozen=True):
    """The manager has taken the host process in."""


class Claim(msgspec.Struct, tag="claim", array_like=True, frozen=True):
    """A job that needs this is to begin.

    Attributes:
        number: New each time.
        memory: Bytes.
        gpu: Devices.
    """

    number: Natural
    memory: Natural
    gpu: Annotated[int, Meta(ge=0, le=1_000_000)]


class GiveBack(msgspec.Struct, tag="back", array_like=True, frozen=True):
    """A job has ended, or is not to begin: what was claimed for it is for others."""

    number: Natural


FromWorker = Assignment | Granted | Waits
FromHost = Ready | Claim | GiveBack
Heard = TypeVar("Heard")


class Lifeline(Generic[Heard]):
    """One end.  One thread hears, any may speak.

    Args:
        sock: Connected; the lifeline owns it.
        read: Reads what the other end says.

    Attributes:
        has_more: Whether something waits to be said, as the other end does not listen: say
            it later by `flush`.
    """

    def __init__(self, sock: socket.socket, read: Any) -> None:
        self._channel = SocketChannel(sock, blocking=False, most=_MOST)
        self._read = read
        self._speaking = threading.Lock()
        self.has_more = False

    def fileno(self) -> int:
        """The descriptor; it is readable when there is something to hear."""
        return self._channel.fileno()

    def say(self, what: FromWorker | FromHost) -> None:
        """Say something.  That the other end is gone is heard."""
        self._speak(pack(what))

    def flush(self) -> None:
        """Say what waits, as far as the other end takes it."""
        self._speak(None)

    def _speak(self, said: bytes | None) -> None:
        channel = self._channel
        with self._speaking:
            try:
                if said is None:
                    channel.flush()
                else:
                    channel.send(said)
                self.has_more = channel.pending
            except ConnectionLost:
                self.has_more = False

    def heard(self) -> list[Heard]:
        """Return what was said, without waiting.

        Raises:
            ConnectionLost: The other end has hung up, and all that it said was returned.
            ProtocolError: It said what nobody says here.
        """
        try:
            return [self._read(head) for head, _ in self._channel.received()]
        except msgspec.MsgspecError as error:
            raise ProtocolError(f"bytes on a lifeline that nobody says there: {error}") from error

    def first(self) -> Heard:
        """Wait for what is said first, and nothing else with it.

        Raises:
            ConnectionLost: The other end has hung up.
        """
        while not (heard := self.heard()):
            self._channel.comes_within(_LOOK)
        return heard[0]

    def close(self) -> None:
        """Hang up.  May be called twice."""
        self._channel.close()


def of_worker(sock: socket.socket) -> Lifeline[FromHost]:
    """Return the worker's end."""
    return Lifeline(sock, unpacker(FromHost))


def of_host(sock: socket.socket) -> Lifeline[FromWorker]:
    """Return the host process's end."""
    return Lifeline(sock, unpacker(FromWorker))

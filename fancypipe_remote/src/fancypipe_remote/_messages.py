"""What the parties say to each other: typed records in msgpack.

A message is a list of parts.  The first is an address:

- empty: the message is for the manager, or from it; the second part is one of
  `Hello`, `Welcome`, `Refused`, `Who`, `WorkerBeat`, `ClientBeat`, `Workers`,
  `Clients`, `Bye`.
- 16 bytes: the party that it goes to, or, once it went through the manager, that
  it comes from.  The second part is one of `Open`, `Opened`, `Segment`, `Close`;
  the third the bytes of a segment.  The manager reads neither.

What is said to and by the manager tells how things *are*, never what to do next
to what was said before: so each may be lost, repeated or late without harm.
Bytes that must arrive, each once and in order, travel in a `Stream`.
"""

from __future__ import annotations

import msgspec

from fancypipe_core.backend import pack, unpacker
from fancypipe_core.errors import ProtocolError

__all__ = [
    "ADDRESS",
    "PROTOCOL",
    "Bye",
    "Client",
    "ClientBeat",
    "Clients",
    "Close",
    "Hello",
    "Open",
    "Opened",
    "Parts",
    "Refused",
    "Segment",
    "Welcome",
    "Who",
    "Worker",
    "WorkerBeat",
    "Workers",
    "address",
    "decode",
    "encode",
]

PROTOCOL = (1, 0)
"""Major and minor version: another major is refused."""

ADDRESS = 16  # bytes of a party's address: random, new at each start of a process

Parts = list[bytes]


class Hello(msgspec.Struct, tag="hello", array_like=True, frozen=True):
    """A party introduces itself to the manager.

    Attributes:
        role: `client` or `worker`.
        protocol: Its version of this protocol.
        fancypipe: The version of fancypipe-remote.
        python: Such as `3.11`: values and code travel only between equal ones.
        host: The machine's name.
        pid: The process.
        slots: How many jobs a worker runs at the same time; 0 for a client.
    """

    role: str
    protocol: tuple[int, int]
    fancypipe: str
    python: str
    host: str
    pid: int
    slots: int = 0


class Welcome(msgspec.Struct, tag="welcome", array_like=True, frozen=True):
    """The manager has taken a party in.

    Attributes:
        manager: Random, new at each start of a manager.
        protocol: Its version of this protocol.
        fancypipe: The version of fancypipe-remote.
        host: The manager's machine.
        pid: Its process.
    """

    manager: str
    protocol: tuple[int, int]
    fancypipe: str
    host: str
    pid: int


class Refused(msgspec.Struct, tag="refused", array_like=True, frozen=True):
    """The manager does not take a party in, and why, in a sentence."""

    why: str


class Who(msgspec.Struct, tag="who", array_like=True, frozen=True):
    """The manager does not know who speaks: say hello (again)."""


class Bye(msgspec.Struct, tag="bye", array_like=True, frozen=True):
    """A party leaves in good order; or the manager does."""


class WorkerBeat(msgspec.Struct, tag="w", array_like=True, frozen=True):
    """A worker lives.

    Attributes:
        slots: How many jobs it runs at the same time; 0 while it drains.
        load: The machine's load average over a minute.
    """

    slots: int
    load: float


class ClientBeat(msgspec.Struct, tag="c", array_like=True, frozen=True):
    """A client lives.

    Attributes:
        need: How many slots it could use now.
        using: How many jobs it has on each worker, by address.
    """

    need: int
    using: dict[bytes, int]


class Worker(msgspec.Struct, array_like=True, frozen=True):
    """A worker, as clients are told of it.

    Attributes:
        address: Where to send what is for it.
        host: Its machine.
        pid: Its process.
        python: Such as `3.11`.
        fancypipe: The version of fancypipe-remote.
        slots: All slots that it has.
        share: How many of them this client may use now.
        load: The machine's load average over a minute.
    """

    address: bytes
    host: str
    pid: int
    python: str
    fancypipe: str
    slots: int
    share: int
    load: float


class Client(msgspec.Struct, array_like=True, frozen=True):
    """A client, as workers are told of it.

    Attributes:
        address: Where to send what is for it.
        host: Its machine.
        pid: Its process.
    """

    address: bytes
    host: str
    pid: int


class Workers(msgspec.Struct, tag="workers", array_like=True, frozen=True):
    """The manager's beat to a client: who is there."""

    workers: tuple[Worker, ...]
    clients: int


class Clients(msgspec.Struct, tag="clients", array_like=True, frozen=True):
    """The manager's beat to a worker: who is there."""

    clients: tuple[Client, ...]


ToManager = Hello | WorkerBeat | ClientBeat | Bye
FromManager = Welcome | Refused | Who | Workers | Clients | Bye


class Open(msgspec.Struct, tag="open", array_like=True, frozen=True):
    """A client asks a worker for a host process.

    Attributes:
        connection: The client's number for it, new each time.
        slots: How many jobs it may run at the same time; 0 if there will be none: then
            the worker answers the greeting itself, and there is no host process.
    """

    connection: int
    slots: int


class Opened(msgspec.Struct, tag="opened", array_like=True, frozen=True):
    """The host process is there."""

    connection: int


class Segment(msgspec.Struct, tag="s", array_like=True, frozen=True):
    """A piece of a connection's stream; its bytes are the part behind it.

    Attributes:
        connection: Which connection.
        turn: How often the sender has gone back to send again.
        offset: The position of the first byte.
        taken: How many bytes of the other direction have come, in order.
        limit: Up to which position the other may send.
        gap: The turn of a segment that came too early, so that some are missing
            from `taken` on; -1 if none did.
        end: Whether nothing comes behind these bytes.
        asks: Whether an answer is wanted, though nothing new may have come.
    """

    connection: int
    turn: int
    offset: int
    taken: int
    limit: int
    gap: int = -1
    end: bool = False
    asks: bool = False


class Close(msgspec.Struct, tag="close", array_like=True, frozen=True):
    """A connection is no more, and why."""

    connection: int
    why: str


BetweenEnds = Open | Opened | Segment | Close

_to_manager = unpacker(ToManager)
_from_manager = unpacker(FromManager)
_between_ends = unpacker(BetweenEnds)


def encode(
    message: ToManager | FromManager | BetweenEnds, to: bytes = b"", data: bytes = b""
) -> Parts:
    """Return the parts of a message.

    Args:
        message: What to say.
        to: The address; empty for the manager.
        data: The bytes of a segment.
    """
    return [to, pack(message), data] if data else [to, pack(message)]


def address(parts: Parts) -> bytes:
    """Return the address of a message, and check its shape.

    Raises:
        ProtocolError: It has not the shape of a message.
    """
    if not 2 <= len(parts) <= 3 or len(parts[0]) not in (0, ADDRESS):
        raise ProtocolError(f"a message of {len(parts)} parts that no party sends")
    return parts[0]


def decode(parts: Parts, *, by_manager: bool) -> ToManager | FromManager | BetweenEnds:
    """Return what a message says.

    Args:
        parts: The message.
        by_manager: Whether it is the manager who reads it.

    Raises:
        ProtocolError: It says what nobody says there.
    """
    between = len(address(parts)) > 0
    read = _between_ends if between else _to_manager if by_manager else _from_manager
    try:
        message: ToManager | FromManager | BetweenEnds = read(parts[1])
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"a message that cannot be read: {error}") from error
    return message

"""What the parties say to each other: typed records in msgpack.

A message is a list of parts.  The first is an address:

- empty: the message is for the manager, or from it; the second part is one of
  `Hello`, `Welcome`, `Refused`, `Who`, `WorkerBeat`, `ClientBeat`, `HostBeat`,
  `Workers`, `Clients`, `Bye`; a long one goes on in further parts.
- 16 bytes: the party that it goes to, or, once it went through the manager, that
  it comes from.  The second part is one of `Open`, `Opened`, `Segment`, `Close`,
  `Look`, `Seen`; those behind it are the bytes of a segment.  The manager reads neither.

What is said to and by the manager tells how things *are*, never what to do next
to what was said before: so each may be lost, repeated or late without harm.
Bytes that must arrive, each once and in order, travel in a `Stream`.

Who speaks has a key, and may lie all the same.  So the types below say what a
number, a name or a text may be, and `decode` refuses what is not; what can only be
judged by who knows more (is it more than was announced?) is judged there.
"""

from __future__ import annotations

import os
import platform
import secrets
import sys
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fancypipe_core.errors import ProtocolError
from fancypipe_core.toolkit import pack, unpacker
from fancypipe_remote._release import release

__all__ = [
    "ADDRESS",
    "LEAVING",
    "MOST_PARTIES",
    "PART",
    "PROTOCOL",
    "Bye",
    "Client",
    "ClientBeat",
    "Clients",
    "Close",
    "Hello",
    "HostBeat",
    "Look",
    "Open",
    "Opened",
    "Parts",
    "Refused",
    "Seen",
    "Segment",
    "Welcome",
    "Who",
    "Worker",
    "WorkerBeat",
    "Workers",
    "address",
    "address_of",
    "data",
    "decode",
    "encode",
    "hello",
    "host_name",
    "key_role",
    "printable",
]

PROTOCOL = (3, 2)
"""Major and minor version: another major is refused."""

ADDRESS = 16
"""Bytes of a party's address.  It names the party, and proves nothing: see `Hello.ticket`."""

PART = 12 * 1024
"""Bytes of one part at most: a stranger, too, can make the manager hold one."""

LEAVING = "the worker is leaving"
"""Why a worker closes a connection whose tasks it cannot end: no fault of theirs."""

MOST_PARTS = 64
"""Parts of a message at most."""

MOST_PARTIES = 3000
"""Clients, or workers, at one manager: a list of them must fit into a message."""

Parts = list[bytes]

_MOST_NAME = 100  # characters
_MOST_TEXT = 2000  # characters of a sentence

Natural = Annotated[int, Meta(ge=0, le=2**62)]
Count = Annotated[int, Meta(ge=0, le=10_000)]
Load = Annotated[float, Meta(ge=0, le=1e6)]
Address = Annotated[bytes, Meta(min_length=ADDRESS, max_length=ADDRESS)]
# What would begin a new line in a log, or move a terminal's cursor, is not among these.
_VISIBLE = r"\A[ -~]*\Z"
Name = Annotated[str, Meta(max_length=_MOST_NAME, pattern=_VISIBLE)]
Version = Annotated[str, Meta(max_length=32, pattern=_VISIBLE)]
Role = Literal["client", "worker", "host"]


def key_role(role: str) -> str:
    """Return the role of the key that a party of this role has: a host process has a worker's."""
    return "worker" if role == "host" else role


def address_of(role: str, ticket: bytes) -> bytes:
    """Return how others know who has this ticket, after a manager's restart as before."""
    return blake2b(ticket, digest_size=ADDRESS, person=role.encode()).digest()


def printable(text: str, most: int = _MOST_TEXT) -> str:
    """Return a text on one line that a terminal shows as it is, and not longer than that."""
    if not text.isprintable():
        text = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
            for char in text
        )
    return text if len(text) <= most else text[: most - 3] + "..."


class Hello(msgspec.Struct, tag="hello", array_like=True, frozen=True):
    """A party introduces itself to the manager.

    Attributes:
        role: `client`, `worker`, or `host` for a process in which a worker runs a client's jobs.
        protocol: Its version of this protocol.
        fancypipe: The version of fancypipe-remote.
        python: Such as `3.11`: values and code travel only between equal ones.
        host: The machine's name.
        pid: The process.
        slots: How many jobs a worker runs at the same time; 0 for the others.
        ticket: Random, new at each start of a process, and told to nobody but the
            manager (a host's is made by its worker): who says it over another link
            is the same party.  Without one a party is known as long as its link.
        memory: Bytes that a worker has for tasks; 0 if nobody knows.
        devices: How many devices it has.
    """

    role: Role
    protocol: tuple[Natural, Natural]
    fancypipe: Version
    python: Version
    host: Name
    pid: Natural
    slots: Count = 0
    ticket: Annotated[bytes, Meta(max_length=64)] = b""
    memory: Natural = 0
    devices: Count = 0


class Welcome(msgspec.Struct, tag="welcome", array_like=True, frozen=True):
    """The manager has taken a party in.

    Attributes:
        manager: Random, new at each start of a manager.
        protocol: Its version of this protocol.
        fancypipe: The version of fancypipe-remote.
        host: The manager's machine.
        pid: Its process.
    """

    manager: Name
    protocol: tuple[Natural, Natural]
    fancypipe: Version
    host: Name
    pid: Natural


class Refused(msgspec.Struct, tag="refused", array_like=True, frozen=True):
    """The manager does not take a party in, and why, in a sentence."""

    why: str

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "why", printable(self.why))


class Who(msgspec.Struct, tag="who", array_like=True, frozen=True):
    """The manager does not know who speaks: say hello (again)."""


class Bye(msgspec.Struct, tag="bye", array_like=True, frozen=True):
    """A party leaves in good order; or the manager does."""


class WorkerBeat(msgspec.Struct, tag="w", array_like=True, frozen=True):
    """A worker lives.

    Attributes:
        slots: How many jobs it runs at the same time; 0 while it drains.
        load: The machine's load average over a minute.
        lent_memory: Bytes that tasks have which said that they need them.
        lent_devices: How many devices tasks have.
    """

    slots: Count
    load: Load
    lent_memory: Natural = 0
    lent_devices: Count = 0


class ClientBeat(msgspec.Struct, tag="c", array_like=True, frozen=True):
    """A client lives.

    Attributes:
        need: How many slots it could use now.
        using: How many jobs it has on each worker, by address.
    """

    need: Natural
    using: Annotated[dict[Address, Natural], Meta(max_length=MOST_PARTIES)]


class HostBeat(msgspec.Struct, tag="h", array_like=True, frozen=True):
    """A host process has a link: the manager answers with the same.

    It only shows that the link is there; that the process lives is its worker's affair.
    """


class Worker(msgspec.Struct, array_like=True, frozen=True):
    """A worker, as clients see it.

    Attributes:
        address: Where to send what is for it.
        host: Its machine.
        pid: Its process.
        python: Such as `3.11`.
        fancypipe: The version of fancypipe-remote.
        slots: All slots that it has.
        load: The machine's load average over a minute, as it was when this was said.
        share: How many of the slots this client may use now; filled in by the client.
        memory: Bytes that it has for tasks; 0 if nobody knows.
        devices: How many devices it has.
        lent_memory: Bytes that tasks had of it, when this was said.
        lent_devices: How many devices tasks had then.
    """

    address: Address
    host: Name
    pid: Natural
    python: Version
    fancypipe: Version
    slots: Count
    load: Load
    share: Count = 0
    memory: Natural = 0
    devices: Count = 0
    lent_memory: Natural = 0
    lent_devices: Count = 0


class Client(msgspec.Struct, array_like=True, frozen=True):
    """A client, as workers see it.

    Attributes:
        address: Where to send what is for it.
        host: Its machine.
        pid: Its process.
    """

    address: Address
    host: Name
    pid: Natural


class Workers(msgspec.Struct, tag="workers", array_like=True, frozen=True):
    """The manager's heartbeat to a client: what is new about who is there.

    Attributes:
        number: 0 begins a new list, and what follows it is counted.  Who misses one says
            hello again.
        workers: Those that came or have changed.
        gone: Those that are gone.
        shares: How many slots of which worker the client may use, where that has changed.
        clients: How many clients share the workers.
        more: Whether the list is complete only with the next one.
    """

    number: Natural
    workers: tuple[Worker, ...] = ()
    gone: tuple[Address, ...] = ()
    shares: dict[Address, Count] = {}
    clients: Natural = 1
    more: bool = False


class Clients(msgspec.Struct, tag="clients", array_like=True, frozen=True):
    """The manager's heartbeat to a worker: what is new about who is there; see `Workers`."""

    number: Natural
    clients: tuple[Client, ...] = ()
    gone: tuple[Address, ...] = ()
    more: bool = False


ToManager = Hello | WorkerBeat | ClientBeat | HostBeat | Bye
FromManager = Welcome | Refused | Who | Workers | Clients | HostBeat | Bye


class Open(msgspec.Struct, tag="open", array_like=True, frozen=True):
    """A client asks a worker for a host process.

    Attributes:
        connection: The client's number for it, new each time.
        slots: How many jobs it may run at the same time.
    """

    connection: Natural
    slots: Count


class Opened(msgspec.Struct, tag="opened", array_like=True, frozen=True):
    """The worker's answer: the host process is up and has a link of its own.

    Attributes:
        connection: The client's number for it.
        host: The address of the process, with which the client talks from now on.
    """

    connection: Natural
    host: Address


class Look(msgspec.Struct, tag="look", array_like=True, frozen=True):
    """A client asks a worker whether it sees a folder.

    Attributes:
        number: Comes back in the answer.
        folder: Where it is.
        proof: The text of a file `proof` in there, that only the client can have written.
    """

    number: Natural
    folder: Annotated[str, Meta(max_length=4096)]
    proof: Name


class Seen(msgspec.Struct, tag="seen", array_like=True, frozen=True):
    """The answer to `Look`."""

    number: Natural
    sees: bool


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

    connection: Natural
    turn: Natural
    offset: Natural
    taken: Natural
    limit: Natural
    gap: Annotated[int, Meta(ge=-1, le=2**62)] = -1
    end: bool = False
    asks: bool = False


class Close(msgspec.Struct, tag="close", array_like=True, frozen=True):
    """A connection is no more, and why: said by either end, or by the worker whose host it is."""

    connection: Natural
    why: str

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "why", printable(self.why))


BetweenEnds = Open | Opened | Segment | Close | Look | Seen

_to_manager = unpacker(ToManager)
_from_manager = unpacker(FromManager)
_between_ends = unpacker(BetweenEnds)


def host_name() -> str:
    """Return the name of this machine, as a `Name`."""
    return printable(ascii(platform.node())[1:-1], _MOST_NAME)


def hello(role: Role, slots: int = 0) -> Hello:
    """Return what this process says of itself, with a new ticket."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    ticket = secrets.token_bytes(16)
    return Hello(role, PROTOCOL, release(), python, host_name(), os.getpid(), slots, ticket)


def encode(
    message: ToManager | FromManager | BetweenEnds, to: bytes = b"", data: bytes = b""
) -> Parts:
    """Return the parts of a message.

    Args:
        message: What to say.
        to: The address; empty for the manager.
        data: The bytes of a segment.
    """
    said = pack(message)
    return [to, said, *_cut(data)] if to else [to, *_cut(said)]


def _cut(data: bytes) -> Parts:
    if len(data) <= PART:
        return [data] if data else []
    return [data[at : at + PART] for at in range(0, len(data), PART)]


def address(parts: Parts) -> bytes:
    """Return the address of a message, and check its shape.

    Raises:
        ProtocolError: It has not the shape of a message.
    """
    if not 2 <= len(parts) <= MOST_PARTS or len(parts[0]) not in (0, ADDRESS):
        raise ProtocolError(f"a message of {len(parts)} parts that no party sends")
    return parts[0]


def data(parts: Parts) -> bytes:
    """Return the bytes of a segment."""
    return parts[2] if len(parts) == 3 else b"".join(parts[2:])


def decode(parts: Parts, *, by_manager: bool) -> ToManager | FromManager | BetweenEnds:
    """Return what a message says.

    Args:
        parts: The message.
        by_manager: Whether it is the manager who reads it.

    Raises:
        ProtocolError: It says what nobody says there.
    """
    if address(parts):
        read, said = _between_ends, parts[1]
    else:
        read = _to_manager if by_manager else _from_manager
        said = parts[1] if len(parts) == 2 else b"".join(parts[1:])
    try:
        message: ToManager | FromManager | BetweenEnds = read(said)
    except msgspec.MsgspecError as error:
        raise ProtocolError(
            f"a message that cannot be read: {printable(str(error), 300)}"
        ) from error
    return message

"""What client and host process say to each other before the first job.

On the channel, in this order: the client's `Greeting`; the host's `Answer`; if
that asks for it, the client's archive, as the only buffer of a frame; if the host has
signed, the client's `Folder`; then `Setup` and jobs, as at every channel.
"""

from __future__ import annotations

import os
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from fancypipe_core.errors import ProtocolError
from fancypipe_core.toolkit import LocalName, pack, unpacker
from fancypipe_core.toolkit.shipping import Code, prove, sees
from fancypipe_remote._protocol.messages import Name, printable

__all__ = ["Answer", "Folder", "Greeting", "decode", "encode", "prove", "sees", "values_in"]

T = TypeVar("T")


class Greeting(msgspec.Struct, array_like=True, frozen=True):
    """What a host process must know of its client.

    Attributes:
        code: Where its code is.
        directory: The session's folder for temporary files.
        proof: The text of a file `proof` in there, that only the client can have written.
        cwd: Its working folder; empty if it is gone.
        passage: Where it takes and gives shared memory, if both are on one machine; empty
            if it does not.
        direct: Where it waits for a direct link, as with `passage`.
        token: What is to be shown there.
        writer: The host's number in the session's folder of values; 0 if there is none.
        part: Of the free disk there, what one value may take.
    """

    code: Code
    directory: str
    proof: str
    cwd: str
    passage: LocalName = ""
    direct: LocalName = ""
    token: Annotated[bytes, Meta(max_length=64)] = b""
    writer: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    part: Annotated[float, Meta(ge=0, le=1e10)] = 0.0


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """What a host process says of itself.

    Attributes:
        wants_code: Whether it does not see the client's files.
        shares: Whether it sees the session's folder.
        problem: Why it cannot work for this client; empty if it can.
        platform: Which machine code runs there.
        has_signed: Whether it has shown in the folder of values that it can write there.
    """

    wants_code: bool
    shares: bool
    problem: str = ""
    platform: Name = ""
    has_signed: bool = False

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "problem", printable(self.problem))


class Folder(msgspec.Struct, array_like=True, frozen=True):
    """The answer to a host process that has signed: whether values go by the folder."""

    is_used: bool


def values_in(directory: str) -> str:
    """Return a session's folder of values."""
    return os.path.join(directory, "values")


def encode(message: Greeting | Answer | Folder) -> bytes:
    """Return a message as the head of a frame."""
    return pack(message)


def decode(head: bytes, kind: type[T]) -> T:
    """Return the message in a frame's head.

    Raises:
        ProtocolError: It is none of this kind.
    """
    try:
        message: T = unpacker(kind)(head)
        return message
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"a greeting that cannot be read: {error}") from error

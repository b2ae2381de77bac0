"""What client and host process say to each other before the first job.

On the channel, in this order: the client's `Greeting`; the host's `Answer`; if
that asks for it, the client's archive, as the only buffer of a frame; then `Setup`
and jobs, as at every channel.
"""

from __future__ import annotations

import os
from typing import TypeVar

import msgspec

from fancypipe_core.errors import ProtocolError
from fancypipe_core.toolkit import pack, unpacker
from fancypipe_remote._protocol.messages import Name, printable
from fancypipe_remote._shipping.bundle import Code

__all__ = ["Answer", "Greeting", "decode", "encode", "sees"]

T = TypeVar("T")


class Greeting(msgspec.Struct, array_like=True, frozen=True):
    """What a host process must know of its client.

    Attributes:
        code: Where its code is.
        directory: The session's folder for temporary files.
        proof: The text of a file `proof` in there, that only the client can have written.
        cwd: Its working folder; empty if it is gone.
    """

    code: Code
    directory: str
    proof: str
    cwd: str


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """What a host process says of itself.

    Attributes:
        wants_code: Whether it does not see the client's files.
        shares: Whether it sees the session's folder.
        problem: Why it cannot work for this client; empty if it can.
        platform: Which machine code runs there.
    """

    wants_code: bool
    shares: bool
    problem: str = ""
    platform: Name = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "problem", printable(self.problem))


def sees(folder: str, proof: str) -> bool:
    """Tell whether a client's folder is the same here: whether the text of `proof` is in it.

    It may wait for a file system that does not answer.
    """
    try:
        with open(os.path.join(folder, "proof"), encoding="utf-8") as file:
            return file.read(len(proof) + 1) == proof
    except (OSError, ValueError):
        return False


def encode(message: Greeting | Answer) -> bytes:
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

"""A direct link between a client and a host process that are on one machine.

What they say to each other may go over it instead of through the manager, and each message may
be lost as there: when it breaks, what was under way is.  The kernel lets nobody in but processes
of the same user.  The client's greeting, which has come through the manager, tells the
host its name and a token; who does not show the token is not let in.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import struct
from contextlib import suppress

from fancypipe_core.errors import ConnectionLost, ProtocolError
from fancypipe_core.toolkit import LocalListener, SocketChannel, connect_locally
from fancypipe_remote._protocol.messages import Parts
from fancypipe_remote._protocol.stream import CHUNK

__all__ = ["DirectLink", "DirectListener", "connect_directly"]

_LENGTH = struct.Struct("<H")
_MOST = CHUNK + 64 * 1024  # bytes of a message: a piece of a stream, and what is said of it


class DirectLink(SocketChannel):
    """One end.

    Args:
        sock: Connected; this object owns it.
        peer: The address of the party at the other end.
        is_taken: Whether that is known to listen.

    Attributes:
        is_taken: Until then nothing is to be said.
    """

    def __init__(self, sock: socket.socket, peer: bytes, *, is_taken: bool) -> None:
        super().__init__(sock, blocking=False, most=_MOST)
        self.peer = peer
        self.is_taken = is_taken

    def say(self, parts: Parts) -> None:
        """Send a message to the other end.

        Raises:
            ConnectionLost: It is gone.
        """
        self.send(b"".join((_LENGTH.pack(len(parts[1])), *parts[1:])))

    def heard(self) -> list[Parts]:
        """Return the messages that have come, as if they had come through the manager.

        Raises:
            ConnectionLost: The other end is gone, and all that it said was returned.
            ProtocolError: These are no messages.
        """
        found = []
        for head, buffers in self.received():
            if buffers or len(head) < _LENGTH.size:
                raise ProtocolError("what came over a direct link is no message")
            (length,) = _LENGTH.unpack_from(head)
            end = _LENGTH.size + length
            parts = [self.peer, head[_LENGTH.size : end]]
            found.append([*parts, head[end:]] if len(head) > end else parts)
        self.is_taken = self.is_taken or bool(found)
        return found

    def has_shown(self, token: bytes) -> bool:
        """Tell whether this is all that has come."""
        with suppress(ConnectionLost, ProtocolError):
            heads = [head for head, _ in self.received()]
            return len(heads) == 1 and hmac.compare_digest(heads[0], token)
        return False


class DirectListener:
    """Waits at a client for a host process.

    Attributes:
        name: Where to connect to; empty where there is no such thing.
        token: What is to be shown there.
    """

    def __init__(self) -> None:
        self.token = secrets.token_bytes(16)
        self._listener = LocalListener()
        self.name = self._listener.name

    def accept(self, peer: bytes) -> DirectLink | None:
        """Return a link to who has connected and has the token, and let nobody else in.

        Args:
            peer: The address of the party that has been told.
        """
        found = None
        while found is None and (sock := self._listener.accept()) is not None:
            link = DirectLink(sock, peer, is_taken=True)
            if link.has_shown(self.token):
                found = link
            else:
                link.close()
        self.close()
        return found

    def close(self) -> None:
        """Let nobody in.  May be called twice."""
        self._listener.close()


def connect_directly(name: str, token: bytes, peer: bytes) -> DirectLink | None:
    """Return a link to a listener; None if that is not on this machine.

    Args:
        name: Of the listener.
        token: What it wants to be shown.
        peer: The address of the party that listens there.
    """
    sock = connect_locally(name)
    if sock is None:
        return None
    link = DirectLink(sock, peer, is_taken=False)
    try:
        link.send(token)
    except ConnectionLost:
        link.close()
        return None
    return link

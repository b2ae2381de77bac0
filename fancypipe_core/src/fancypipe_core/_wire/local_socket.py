"""Sockets between two processes of one machine and one user, that find each other by a name.

The kernel keeps the name as long as somebody listens there: it is no file, nothing is left
of it, and another user is not let in.  Linux only; elsewhere nobody has a name.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress
from typing import Annotated

from msgspec import Meta

__all__ = ["LocalListener", "LocalName", "connect_locally"]

LocalName = Annotated[str, Meta(pattern=r"^(fancypipe-[0-9a-f]{32})?\Z")]
"""What a listener is called; empty for none.  It can name nothing of anybody else's."""

_WAITING = 4  # who has connected and was not let in yet
_CREDENTIALS = struct.Struct("3i")


class LocalListener:
    """Lets other processes of this user in, under a random name.

    Attributes:
        name: By which they find it; empty where there is no such thing.
    """

    def __init__(self) -> None:
        self.name = ""
        self._socket: socket.socket | None = None
        if sys.platform != "linux":
            return
        name = f"fancypipe-{os.urandom(16).hex()}"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(f"\0{name}")
            listener.listen(_WAITING)
        except OSError:
            listener.close()
        else:
            self.name, self._socket = name, listener

    def accept(self) -> socket.socket | None:
        """Return the socket of the next who has connected, which does not block; None if nobody."""
        while self._socket is not None:
            try:
                sock, _ = self._socket.accept()
            except OSError:  # nobody yet
                return None
            if _is_ours(sock):
                sock.setblocking(False)
                return sock
            sock.close()
        return None

    def close(self) -> None:
        """Let nobody in any more.  May be called twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def connect_locally(name: str) -> socket.socket | None:
    """Return a socket, which does not block, to a listener; None if it is not on this machine.

    Args:
        name: A `LocalName`; whoever says it may lie.
    """
    if not name or sys.platform != "linux":
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.connect(f"\0{name}")
        if _is_ours(sock):
            return sock
    except OSError:
        pass  # there is nobody
    sock.close()
    return None


def _is_ours(sock: socket.socket) -> bool:
    """Whether the process at the other end is of this user."""
    if sys.platform != "linux":
        return False
    with suppress(OSError, struct.error):
        found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, _ = _CREDENTIALS.unpack(found)
        return bool(user == os.geteuid())
    return False

"""Where segments of shared memory go: a Unix socket beside a channel, for their descriptors.

A segment is sent before the frame that names it, and is there when the frame is: on one machine
what was sent has arrived.  So nobody ever waits here.  Where it cannot be sent, since nobody
takes it or too many are on their way, its bytes go in the frame.

The two ends of a channel that goes by way of other machines find each other by a name
(`local_socket`).
"""

from __future__ import annotations

import array
import socket
from contextlib import suppress

from fancypipe_core._base import shared_memory
from fancypipe_core._base.shared_memory import Segment
from fancypipe_core._wire.local_socket import LocalListener, connect_locally
from fancypipe_core.backend import Certificate

__all__ = ["INPUT_GONE", "RESULT_GONE", "OpenPassage", "Passage", "connect_passage"]

INPUT_GONE = Certificate(
    "gone", "an input is gone from the session's folder", "", 0, started=False, guilty=False
)
RESULT_GONE = Certificate(
    "gone", "its result is gone from the session's folder", "", 0, guilty=False
)

_MOST = 1000  # segments that have come and were not named yet
_ROOM = socket.CMSG_SPACE(4 * 253) if hasattr(socket, "CMSG_SPACE") else 0
_FLAGS = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))


class Passage:
    """One end.

    Args:
        sock: A Unix socket, which this object owns; None if there is none yet.
        is_taken: Whether somebody is known to listen at the other end.

    Attributes:
        may_lose: Whether what was sent may not be there for the other end.
    """

    may_lose = False

    def __init__(self, sock: socket.socket | None, *, is_taken: bool = True) -> None:
        self._sock = sock
        self._is_taken = is_taken
        self._come: list[Segment] = []
        if sock is not None:
            sock.setblocking(False)

    def _connected(self) -> socket.socket | None:
        if not self._is_taken and self._sock is not None:
            self._receive(self._sock)
        return self._sock if self._is_taken else None

    def send(self, segment: Segment) -> bool:
        """Send a segment; return whether that was possible."""
        sock = self._connected()
        if sock is None:
            return False
        rights = array.array("i", [segment.descriptor])
        try:
            sock.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError:  # too many are on their way, or the other end is gone
            return False
        return True

    def number_of(self, segment: Segment) -> int:
        """Return by which number a frame names a segment that was sent."""
        return segment.number

    def take(self, number: int) -> Segment | None:
        """Return the segment that has this number; None if it has not come."""
        for again in (False, True):
            if again and (sock := self._connected()) is not None:
                self._receive(sock)
            for at, one in enumerate(self._come):
                if one.number == number:
                    return self._come.pop(at)
        return None

    def _receive(self, sock: socket.socket) -> None:
        with suppress(OSError):  # there is no more, or never will be
            while True:
                data, beside, *_ = sock.recvmsg(1, _ROOM, _FLAGS)
                for level, kind, rights in beside:
                    if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                        descriptors = array.array("i", rights[: len(rights) // 4 * 4])
                        self._come += shared_memory.adopt(descriptors)
                if not data:
                    break
                self._is_taken = True
        del self._come[:-_MOST]

    def close(self) -> None:
        """Close the socket, and what has come.  May be called twice."""
        if self._sock is not None:
            self._sock.close()
        self._come.clear()


class OpenPassage(Passage):
    """An end to which another process of this user may connect, once; see `accept`.

    Attributes:
        name: By which that finds it; empty where there is no such thing.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self._listener = LocalListener()
        self.name = self._listener.name

    def accept(self) -> bool:
        """Let in who has connected, and tell him; return whether anybody is there."""
        if self._sock is None and (sock := self._listener.accept()) is not None:
            with suppress(OSError):  # he is gone again
                sock.send(b".")
            self._sock = sock
            self._listener.close()
        return self._sock is not None

    def close(self) -> None:
        self._listener.close()
        super().close()


def connect_passage(name: str) -> Passage | None:
    """Return the other end of an open passage; None if it is not on this machine.

    Args:
        name: A `LocalName`; whoever says it may lie.
    """
    sock = connect_locally(name)
    return None if sock is None else Passage(sock, is_taken=False)

"""Connections between a client and the workers, at either end.

A connection carries `STREAMS` streams to one host process of a worker.  It
outlives the manager and the links: what is lost on the way is sent again.

States of a connection:

========  =====================================================================
opening   (client) `Open` is said again and again; `Opened` or a segment comes
          -> open
open      segments go both ways
closed    it was closed here, or `Close` came, or the other party is gone
========  =====================================================================

These are pure machines: they have no clock, thread or socket.
"""

from __future__ import annotations

from typing import NamedTuple

from fancypipe_core.errors import ProtocolError
from fancypipe_remote import _messages as messages
from fancypipe_remote._messages import Parts
from fancypipe_remote._stream import Piece, Stream

__all__ = ["STREAMS", "Arrived", "Connection"]

STREAMS = 2
"""Jobs and reports; commands, which must not wait behind large jobs."""


class Arrived(NamedTuple):
    """Bytes that have come."""

    stream: int
    data: bytes


class Connection:
    """One end of a connection.

    Args:
        number: The client's number for it.
        peer: The address of the other end.
        opening: What to say until the other end answers; None at the worker.

    Attributes:
        closed: Why it is closed; None while it is not.
        streams: Its streams.
    """

    def __init__(self, number: int, peer: bytes, opening: messages.Open | None = None) -> None:
        self.number = number
        self.peer = peer
        self.closed: str | None = None
        self.streams = [Stream() for _ in range(STREAMS)]
        self._opening = opening

    @property
    def is_open(self) -> bool:
        """Whether the other end has answered, and it was not closed since."""
        return self._opening is None and self.closed is None

    def take(self, message: messages.BetweenEnds, data: bytes) -> Arrived | None:
        """Take what the other end says about this connection.

        Raises:
            ProtocolError: It says what cannot be.
        """
        if self.closed is not None:
            return None
        if isinstance(message, messages.Close):
            self.closed = message.why
            return None
        self._opening = None
        if not isinstance(message, messages.Segment):
            return None
        if not 0 <= message.stream < STREAMS:
            raise ProtocolError(f"there is no stream {message.stream}")
        piece = Piece(
            message.turn, message.offset, message.taken, message.limit, message.gap,
            message.end, message.asks, data,
        )  # fmt: skip
        return Arrived(message.stream, self.streams[message.stream].take(piece))

    def outgoing(self, *, beat: bool = False) -> list[Parts]:
        """Return what is to be sent now.

        Args:
            beat: Whether there was silence for a while.
        """
        if self.closed is not None:
            return []
        if self._opening is not None:
            return [messages.encode(self._opening, self.peer)] if beat else []
        found = []
        for index, stream in enumerate(self.streams):
            for piece in stream.beat() if beat else stream.pieces():
                segment = messages.Segment(self.number, index, *piece[:-1])
                found.append(messages.encode(segment, self.peer, piece.data))
        return found

    def close(self, why: str) -> list[Parts]:
        """Close it; return what tells the other end."""
        if self.closed is not None:
            return []
        self.closed = why
        return [messages.encode(messages.Close(self.number, why), self.peer)]

    @property
    def drained(self) -> bool:
        """Whether the other end has all that was written."""
        return all(stream.drained for stream in self.streams)

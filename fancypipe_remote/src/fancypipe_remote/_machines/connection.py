"""Connections between a client and the workers, at either end.

A connection carries a stream to one host process of a worker, and one back.  It
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

from fancypipe_remote._machines import messages
from fancypipe_remote._machines.messages import Parts
from fancypipe_remote._machines.stream import Piece, Stream

__all__ = ["Connection"]


class Connection:
    """One end of a connection.

    Args:
        number: The client's number for it.
        peer: The address of the other end.
        opening: What to say until the other end answers; None at the worker.

    Attributes:
        closed: Why it is closed; None while it is not.
        stream: Its stream.
    """

    def __init__(self, number: int, peer: bytes, opening: messages.Open | None = None) -> None:
        self.number = number
        self.peer = peer
        self.closed: str | None = None
        self.stream = Stream()
        self._opening = opening

    @property
    def is_open(self) -> bool:
        """Whether the other end has answered, and it was not closed since."""
        return self._opening is None and self.closed is None

    def take(self, message: messages.BetweenEnds, data: bytes) -> bytes:
        """Take what the other end says about this connection; return the bytes that are next.

        Raises:
            ProtocolError: It says what cannot be.
        """
        if self.closed is not None:
            return b""
        if isinstance(message, messages.Close):
            self.closed = message.why
            return b""
        self._opening = None
        if not isinstance(message, messages.Segment):
            return b""
        piece = Piece(
            message.turn, message.offset, message.taken, message.limit, message.gap,
            message.end, message.asks, data,
        )  # fmt: skip
        return self.stream.take(piece)

    def outgoing(self, *, beat: bool = False) -> list[Parts]:
        """Return what is to be sent now.

        Args:
            beat: Whether there was silence for a while.
        """
        if self.closed is not None:
            return []
        if self._opening is not None:
            return [messages.encode(self._opening, self.peer)] if beat else []
        pieces = self.stream.beat() if beat else self.stream.pieces()
        return [
            messages.encode(messages.Segment(self.number, *piece[:-1]), self.peer, piece.data)
            for piece in pieces
        ]

    def close(self, why: str) -> list[Parts]:
        """Close it; return what tells the other end."""
        if self.closed is not None:
            return []
        self.closed = why
        return [messages.encode(messages.Close(self.number, why), self.peer)]

"""Connections between a client and the host processes of workers, at either end.

A connection carries a stream to one host process, and one back.  It outlives the
manager and the links: what is lost on the way is sent again.

States of a connection:

========  =====================================================================
opening   (client) `Open` is said to the worker again and again; `Opened` comes
          from it, with the host process's address -> open
open      segments go both ways between the client and the host process; if
          none comes for some seconds the client says `Open` to the worker, for
          a `Close` may have been lost
closed    it was closed here, or `Close` came, or the other party is gone
========  =====================================================================

These are pure machines: they have no clock, thread or socket.
"""

from __future__ import annotations

from fancypipe_core.errors import ProtocolError
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.messages import Parts
from fancypipe_remote._protocol.round_trip import RoundTrip
from fancypipe_remote._protocol.stream import Piece, Stream

__all__ = ["Connection"]

_SILENCE = 3  # beats without a word until the client asks the worker what there is


class Connection:
    """One end of a connection.

    Args:
        number: The client's number for it.
        peer: The address of the other end; empty at the client until the worker tells it.
        worker: At the client, the address of the worker that was asked; empty at the host.
        slots: At the client, how many jobs shall run there at the same time.

    Attributes:
        closed: Why it is closed; None while it is not.
        stream: Its stream.
        round_trip: Measures the way to the other end and back.
    """

    def __init__(self, number: int, peer: bytes, worker: bytes = b"", slots: int = 0) -> None:
        self.number = number
        self.peer = peer
        self.worker = worker
        self.closed: str | None = None
        self.stream = Stream()
        self.round_trip = RoundTrip()
        self._slots = slots
        self._silence = 0

    @property
    def is_open(self) -> bool:
        """Whether the other end is known, and it was not closed since."""
        return bool(self.peer) and self.closed is None

    def hears(self, sender: bytes, message: messages.BetweenEnds) -> bool:
        """Tell whether this is for who says it to say."""
        if isinstance(message, messages.Segment):
            return sender == self.peer
        if isinstance(message, messages.Opened):
            return sender == self.worker
        return sender in (self.peer, self.worker)

    def take(self, message: messages.BetweenEnds, data: bytes, now: float) -> bytes:
        """Take what is said about this connection; return the bytes that are next.

        Raises:
            ProtocolError: It says what cannot be.
        """
        if isinstance(message, messages.Segment):
            self._silence = 0
            piece = Piece(
                message.turn, message.offset, message.taken, message.limit, message.gap,
                message.end, message.asks, data,
            )  # fmt: skip
            arrived = self.stream.take(piece, now)
            self.round_trip.take(piece.taken, piece.offset + len(data), now)
            return arrived
        if isinstance(message, messages.Close):
            self.closed = message.why
        elif isinstance(message, messages.Opened):
            self._silence = 0
            if self.peer not in (b"", message.host):
                raise ProtocolError("its host process is another one than before")
            self.peer = message.host
        return b""

    def outgoing(self, now: float, *, beat: bool = False) -> list[Parts]:
        """Return what is to be sent now.

        Args:
            now: The time, in seconds.
            beat: Whether there was silence for a while.
        """
        out = []
        self._silence += beat
        if beat and self.worker and (not self.peer or self._silence > _SILENCE):
            self._silence = 0
            out.append(messages.encode(messages.Open(self.number, self._slots), self.worker))
        if self.peer:
            pieces = self.stream.beat(now) if beat else self.stream.pieces(now)
            self.round_trip.ask(pieces, now)
            for piece in pieces:
                segment = messages.Segment(self.number, *piece[:-1])
                out.append(messages.encode(segment, self.peer, piece.data))
        return out

    def close(self, why: str) -> list[Parts]:
        """Close it; return what tells the other end, and the worker, which ends what runs on."""
        self.closed = why
        said = messages.Close(self.number, why)
        return [messages.encode(said, to) for to in (self.peer, self.worker) if to]

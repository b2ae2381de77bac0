"""A reliable stream of bytes over messages that may get lost or come twice.

Messages between a client and a worker go through the manager.  They come in
order, but what is under way when the manager or a link dies is lost without a
word.  So each end keeps what it sent until the other has it, as in TCP, with two
differences.  There are no timers that guess a loss: a segment that comes too
early proves one, and a sender that hears nothing sends an empty segment, which
comes too early if anything before it was lost; the end counts as one byte more.
So a slow link, where a timer
would send everything twice, does no harm.  And what is sent again is told from
what was sent before by its *turn*: a gap is answered once, however many segments
have shown it.

How many bytes are under way at once follows from how long they take (`pace`), so that what
else is said on a slow link does not wait for long.

This is a pure machine: it has no clock, thread or socket.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from fancypipe_core.errors import ProtocolError
from fancypipe_remote._protocol.pace import Pace

__all__ = ["CHUNK", "WINDOW", "Piece", "Stream"]

CHUNK = 256 * 1024  # bytes in one message: a frame of 16 MB would hold up heartbeats for too long
WINDOW = 4 * 1024 * 1024  # bytes under way in one direction; the manager's memory for a stream


class Piece(NamedTuple):
    """What a segment says, without its connection: see `_messages.Segment`."""

    turn: int
    offset: int
    taken: int
    limit: int
    gap: int
    end: bool
    asks: bool
    data: bytes


class Stream:
    """One end.

    Args:
        window: How many bytes may be under way in each direction; at least twice `CHUNK`.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        # Out.
        self._queue: deque[tuple[int, bytes]] = deque()  # written, not sent in this turn
        self._kept: deque[tuple[int, bytes]] = deque()  # sent in this turn, not acknowledged
        self._written = 0
        self._sent = 0  # the position behind what was sent in this turn
        self._acknowledged = 0
        self._limit = window
        self._turn = 0
        self._pace = Pace(window)
        self._lost_at = -1  # what was acknowledged when we last went back
        self._finished = False
        self._end_sent = False
        self._end_acknowledged = False
        # In.
        self._taken = 0
        self._end_taken = False
        self._consumed = 0
        self._told_taken = 0
        self._told_limit = window
        self._gap = -1
        self._must_tell = False

    # ---- out ----

    @property
    def room(self) -> int:
        """How many bytes may be written now."""
        if self._finished:
            return 0
        return min(self._acknowledged + self._window, self._limit) - self._written

    def write(self, data: bytes) -> None:
        """Add bytes to send: at most `CHUNK`, and not more than there is room for.

        Raises:
            ValueError: They are too many, or the stream was finished.
        """
        size = len(data)
        if size > CHUNK or size > self.room:
            raise ValueError(f"{size} bytes for a stream that takes {self.room}")
        if size:
            self._queue.append((self._written, data))
            self._written += size

    def finish(self) -> None:
        """Nothing more will be written."""
        self._finished = True

    @property
    def drained(self) -> bool:
        """Whether the other end has all that was written, and the end if there is one."""
        if self._finished:
            return self._end_acknowledged
        return self._acknowledged == self._written

    @property
    def arrived(self) -> int:
        """How many bytes the other end has: whether they become more shows progress."""
        return self._acknowledged

    @property
    def has_pieces(self) -> bool:
        """Whether there may be something that must be sent."""
        return bool(self._queue) or self._must_tell or (self._finished and not self._end_sent)

    def pieces(self, now: float) -> list[Piece]:
        """Return what must be sent now.

        Args:
            now: The time, in seconds.
        """
        found = []
        # On a slow link a message takes long, and heartbeats wait behind it.
        most = min(self._pace.window // 4, CHUNK)
        while self._queue and (under_way := self._sent - self._acknowledged) < self._pace.window:
            offset, data = self._queue.popleft()
            if len(data) > most:
                self._queue.appendleft((offset + most, data[most:]))
                data = data[:most]
            self._kept.append((offset, data))
            self._sent = offset + len(data)
            self._end_sent = self._finished and self._sent == self._written
            asks = self._pace.asks(self._sent, under_way, under_way + len(data), now)
            found.append(self._piece(offset, data, end=self._end_sent, asks=asks))
        if self._finished and not self._end_sent and not self._queue:
            self._end_sent = True
            found.append(self._piece(self._written, b"", end=True))
        if self._must_tell and not found:
            found.append(self._piece(self._sent + self._end_sent, b""))
        return found

    def beat(self, now: float) -> list[Piece]:
        """Return what to send when there was silence for a while: it shows what was lost."""
        found = self.pieces(now)
        waits = not self.drained or (not self.room and not self._finished)
        if not found and (waits or self._owes):
            found = [self._piece(self._sent + self._end_sent, b"", asks=waits)]
        return found

    @property
    def _owes(self) -> bool:
        """Whether the other end does not know all that it should."""
        return self._position > self._told_taken or self._may_send > self._told_limit

    @property
    def _position(self) -> int:
        return self._taken + self._end_taken

    @property
    def _may_send(self) -> int:
        return self._consumed + self._window

    def _piece(self, offset: int, data: bytes, *, end: bool = False, asks: bool = False) -> Piece:
        self._must_tell = False
        taken = self._told_taken = self._position
        limit = self._told_limit = self._may_send
        gap, self._gap = self._gap, -1
        return Piece(self._turn, offset, taken, limit, gap, end, asks, data)

    # ---- in ----

    def take(self, piece: Piece, now: float) -> bytes:
        """Take what has come; return its bytes if they are the next ones.

        Args:
            piece: What has come.
            now: The time, in seconds.

        Raises:
            ProtocolError: It says what cannot be.
        """
        self._take_answer(piece, now)
        behind = piece.offset + len(piece.data)
        if piece.asks:
            self._must_tell = True
        if piece.offset > self._position:
            self._gap = max(self._gap, piece.turn)
            self._must_tell = True
            return b""
        if behind > (self._position if self._end_taken else self._may_send):
            raise ProtocolError("more bytes came than were asked for")
        new = piece.data[self._taken - piece.offset :]
        if piece.data and not new:
            self._must_tell = True  # it came twice: the sender does not know
        self._taken += len(new)
        if piece.end and behind == self._taken:
            self._must_tell = self._must_tell or not self._end_taken
            self._end_taken = True
        if self._taken - self._told_taken >= self._window // 8:
            self._must_tell = True
        return new

    def _take_answer(self, piece: Piece, now: float) -> None:
        if piece.taken > self._written + self._finished:
            raise ProtocolError("bytes were acknowledged that were never sent")
        self._end_acknowledged = self._end_acknowledged or piece.taken > self._written
        self._acknowledged = max(self._acknowledged, min(piece.taken, self._written))
        self._limit = max(self._limit, piece.limit)
        self._pace.answered(self._acknowledged, now, more=bool(self._queue))
        if piece.gap == self._turn:
            self._go_back()
        for chunks in (self._kept, self._queue):
            while chunks and chunks[0][0] + len(chunks[0][1]) <= self._acknowledged:
                chunks.popleft()
        if not self._kept:
            self._sent = self._queue[0][0] if self._queue else self._written

    def _go_back(self) -> None:
        """Send again what the other end does not have."""
        # On a slow link a message that takes seconds is cut with its connection, again and
        # again.  Nothing has arrived since the last time: smaller ones may.
        self._pace.lost(again=self._acknowledged == self._lost_at)
        self._lost_at = self._acknowledged
        self._turn += 1
        self._queue.extendleft(reversed(self._kept))
        self._kept.clear()
        self._end_sent = self._end_acknowledged

    def consume(self, count: int) -> None:
        """So many bytes that came are out of the way: the other end may send as many more."""
        self._consumed += count
        if self._may_send - self._told_limit >= self._window // 2:
            self._must_tell = True

    @property
    def has_ended(self) -> bool:
        """Whether the other end has finished and all its bytes have come."""
        return self._end_taken

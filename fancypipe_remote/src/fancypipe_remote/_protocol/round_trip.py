"""How long the way to the other end of a stream and back takes, measured now and then.

This is a pure machine: it has no clock, thread or socket.
"""

from __future__ import annotations

from fancypipe_remote._protocol.stream import Piece

__all__ = ["RoundTrip"]

_EVERY = 1.0  # seconds between two measurements
_WEIGHT = 0.25  # of one that took longer than the others, for that may have had other reasons
_NEWS = 1.25  # by what factor it must have changed to be worth a word


class RoundTrip:
    """Lets a piece with bytes ask for an answer at once, and takes the time until that comes.

    Attributes:
        seconds: What was measured, as far as it is worth a word; None before the first time.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._known: float | None = None
        self._asked: tuple[int, int, float] | None = None  # turn, position, time
        self._next = 0.0

    def ask(self, pieces: list[Piece], now: float) -> None:
        """Let the last of the pieces that are about to be sent ask, if it is time to."""
        if not pieces or not pieces[-1].data:
            return
        last = pieces[-1]
        if self._asked is not None and self._asked[0] != last.turn:
            self._asked = None  # it was sent again: which one is answered, nobody knows
        if self._asked is None and now >= self._next:
            self._asked = (last.turn, last.offset + len(last.data), now)
            pieces[-1] = last._replace(asks=True)

    def take(self, taken: int, now: float) -> None:
        """The other end has said up to where it has all bytes."""
        if self._asked is None or taken < self._asked[1]:
            return
        seconds, self._asked = now - self._asked[2], None
        self._next = now + _EVERY
        known = self._known
        if known is not None and seconds > known:
            seconds = known + _WEIGHT * (seconds - known)
        self._known = seconds
        if self.seconds is None or not self.seconds / _NEWS <= seconds <= self.seconds * _NEWS:
            self.seconds = seconds

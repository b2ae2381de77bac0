"""How long the way to the other end of a stream and back takes, measured now and then.

This is a pure machine: it has no clock, thread or socket.
"""

from __future__ import annotations

from fancypipe_remote._protocol.stream import Piece

__all__ = ["RoundTrip"]

_EVERY = 1.0  # seconds between two measurements
_WEIGHT = 0.25  # of one that took longer than the others, for that may have had other reasons
_CLEAR = 64 * 1024  # bytes; behind more than these an answer tells of their size, not of the way
_NEWS = 1.25  # by what factor it must have changed to be worth a word


class RoundTrip:
    """Lets a piece with bytes ask for an answer at once, and takes the time until that comes.

    Only where the way is clear: large values in either direction hold up the question and
    the answer, and whoever sent more work for that would make it worse.

    Attributes:
        seconds: What was measured, as far as it is worth a word; None before the first time.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._known: float | None = None
        self._asked: tuple[int, int, float, int] | None = None  # turn, position, time, came
        self._taken = self._came = 0  # bytes, at the other end and here
        self._next = 0.0

    def ask(self, pieces: list[Piece], now: float) -> None:
        """Let the last of the pieces that are about to be sent ask, if it is time to."""
        if not pieces or not pieces[-1].data:
            return
        last = pieces[-1]
        if self._asked is not None and self._asked[0] != last.turn:
            self._asked = None  # it was sent again: which one is answered, nobody knows
        position = last.offset + len(last.data)
        if self._asked is None and now >= self._next and position - self._taken <= _CLEAR:
            self._asked = (last.turn, position, now, self._came)
            pieces[-1] = last._replace(asks=True)

    def take(self, taken: int, came: int, now: float) -> None:
        """The other end has said up to where it has all bytes; so many have come from it."""
        self._taken, self._came = max(self._taken, taken), came
        if self._asked is None or taken < self._asked[1]:
            return
        _, _, asked_at, had_come = self._asked
        self._asked = None
        self._next = now + _EVERY
        if came - had_come > _CLEAR:
            return
        seconds = now - asked_at
        known = self._known
        if known is not None and seconds > known:
            seconds = known + _WEIGHT * (seconds - known)
        self._known = seconds
        if self.seconds is None or not self.seconds / _NEWS <= seconds <= self.seconds * _NEWS:
            self.seconds = seconds

"""How much may be under way on a link, learned from how long it takes to arrive.

A link that is slow keeps what it cannot carry yet in queues, and what is said next waits
behind that: heartbeats, and what others send.  So not more is sent than what fills the link
and a queue of a quarter of a second.  The rule is that of FAST TCP (Wei, Jin, Low and Hegde,
2006): the window is scaled by the ratio of the time that an answer should take to the time
that it took.

This is a pure machine: it has no clock.
"""

from __future__ import annotations

__all__ = ["LEAST", "Pace"]

LEAST = 2 * 1024  # bytes; so many may always be under way
_FIRST = 8 * 1024  # bytes, before anything is known: half a second at 128 kbit/s
_QUEUE = 0.25  # seconds that bytes may wait on the way


class Pace:
    """The window of one direction of a stream.

    Args:
        most: The largest window, in bytes.

    Attributes:
        window: How many bytes may be under way.
    """

    def __init__(self, most: int) -> None:
        self.window = min(_FIRST, most)
        self._most = most
        self._shortest = (float("inf"), 0)  # seconds until an answer came, to how many bytes
        self._shrunk = (float("inf"), 0)  # the same, when the window was made smaller first
        self._asked: tuple[int, int, float] | None = None  # up to where, how many, and when

    def asks(self, position: int, before: int, under_way: int, now: float) -> bool:
        """Tell whether an answer shall be asked for.

        Args:
            position: Up to where bytes are sent now.
            before: How many were under way.
            under_way: How many are.
            now: The time, in seconds.
        """
        if under_way >= self.window:  # nothing more can be sent until it comes
            if self._asked is None:
                self._asked = (position, under_way, now)
            return True
        return before < self.window // 2 <= under_way  # so that it need not come to that

    def answered(self, position: int, now: float, *, more: bool) -> None:
        """All up to a position has arrived.

        Args:
            position: Where.
            now: The time, in seconds.
            more: Whether there is more to send than the window allows.
        """
        if self._asked is None or position < self._asked[0]:
            return
        _, count, asked_at = self._asked
        self._asked = None
        took = max(now - asked_at, 1e-6)
        shortest, of = self._shortest
        # Many more bytes took no longer: the time is that of the way, and nothing queues yet.
        is_wide = count > 1.5 * of and took < 1.1 * shortest
        self._shortest = min(self._shortest, (took, count))
        if 1.5 * count < self._shrunk[1] and took > 0.8 * self._shrunk[0]:
            # Far fewer bytes took as long: so it is not they that wait, but an end that is busy.
            self._shortest, self._shrunk = (took, count), (float("inf"), 0)
        ratio = max((self._shortest[0] + _QUEUE) / took, 1.5 if is_wide else 0.0)
        if ratio >= 1:
            self._shrunk = (float("inf"), 0)
        elif not self._shrunk[1]:
            self._shrunk = (took, count)
        if ratio < 1 or more:
            self.window = max(LEAST, min(int(self.window * min(ratio, 2.0)), self._most))

    def lost(self, *, again: bool) -> None:
        """What was under way is lost, with the link.

        Args:
            again: Whether nothing has arrived since the last time: it was too much at once.
        """
        self._asked = None
        self._shortest = (float("inf"), 0)  # the next link may be another one
        if again:
            self.window = max(LEAST, self.window // 2)

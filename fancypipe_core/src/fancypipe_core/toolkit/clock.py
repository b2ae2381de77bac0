"""A clock that stands still while its own process does."""

from __future__ import annotations

__all__ = ["SteadyClock"]

_PAUSE = 1.0  # seconds that a loop may be late before that is a pause of its own


class SteadyClock:
    """Counts the time in which its process was able to see what happened.

    A process that was stopped, suspended or swapped out has heard of nobody meanwhile, and
    must hold that against nobody.  Its loop says how long it is going to wait, in
    `patience`, and what it is late by, if that is more than a second, does not count.

    Args:
        now: The time, in seconds of a monotonic clock.

    Attributes:
        now: The time without the pauses.
        patience: In how many seconds the loop wants to be back; None for never.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self.patience: float | None = None
        self._seen = now
        self._paused = 0.0

    def move(self, now: float) -> float:
        """Move on, and return how long the process stood still; 0 if it did not."""
        gap = max(0.0, now - self._seen)
        pause = 0.0
        if self.patience is not None and gap > self.patience + _PAUSE:
            pause = gap - self.patience
        self._seen += gap
        self._paused += pause
        self.now = self._seen - self._paused
        return pause

    def peek(self, now: float) -> None:
        """It is so late, but what happened meanwhile was not told: no pause is judged by that."""
        self.now = max(self.now, now - self._paused)

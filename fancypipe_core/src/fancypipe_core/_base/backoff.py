"""How long it is until a task is tried again."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Backoff"]


class Backoff(NamedTuple):
    """Delays before the further attempts of a task, each longer than the one before.

    The delay before the second attempt is `seconds`, before the third `seconds * factor`,
    and so on, but never more than `ceiling`.  `jitter` makes tasks that failed at the same
    time try again at different times.

    Attributes:
        seconds: The first delay.
        factor: By what each delay is longer than the one before, 1 or more; 2 by default.
        ceiling: Seconds that no delay is longer than; 600 by default.
        jitter: The part of each delay by which chance makes it shorter, 0 to 1; 0.1 by default.
    """

    seconds: float
    factor: float = 2.0
    ceiling: float = 600.0
    jitter: float = 0.1

    def after(self, attempt: int) -> float:
        """Return the seconds between the end of an attempt and the next.

        Args:
            attempt: Which one has ended, from 1.
        """
        try:
            delay = self.seconds * self.factor ** (attempt - 1)
        except OverflowError:
            delay = self.ceiling
        delay = min(delay, self.ceiling)
        if self.jitter:
            from random import SystemRandom

            # Not the generator that the user may have seeded.
            delay *= 1 - self.jitter * SystemRandom().random()
        return delay

    def fault(self) -> str:
        """Return what is wrong with it; empty if nothing is."""
        ranges = (
            ("seconds", self.seconds, 0, _LONGEST),
            ("factor", self.factor, 1, _LONGEST),
            ("ceiling", self.ceiling, 0, _LONGEST),
            ("jitter", self.jitter, 0, 1),
        )
        for name, value, least, most in ranges:
            found: object = value  # what a type checker would have found
            if type(found) not in (int, float) or not least <= value <= most:
                return f"{name} must be a number from {least} to {most:g}, not {value!r}"
        return ""


_LONGEST = 1e9  # seconds: some thirty years

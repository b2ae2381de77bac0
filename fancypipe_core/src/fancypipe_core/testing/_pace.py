"""How much slower than alone this process is now, so that no limit is one of the machine's load."""

from __future__ import annotations

from time import monotonic, perf_counter, thread_time

__all__ = ["Patience", "slowdown"]

_SPIN = 0.01  # seconds of processor time
_LOOK = 1.0  # seconds between two measurements
_LEAST = 0.1  # so that what is left comes to an end


def slowdown() -> float:
    """Return how many times longer than its processor time a piece of work takes now; 1 or more."""
    begin, used = perf_counter(), thread_time()
    while thread_time() < used + _SPIN:
        pass
    return max(1.0, (perf_counter() - begin) / _SPIN)


class Patience:
    """A wait whose limit is for a machine that is idle.

    The load is measured each second, and not once at the end, where it may be less for a moment.

    Args:
        limit: Seconds.
    """

    def __init__(self, limit: float) -> None:
        self._left = limit
        self._looked = monotonic()

    def is_over(self) -> bool:
        """Tell whether it has taken too long."""
        elapsed = monotonic() - self._looked
        if elapsed >= min(_LOOK, max(self._left, _LEAST)):
            self._left -= elapsed / slowdown()
            self._looked = monotonic()
        return self._left <= 0.0

"""How much slower than alone this process is now, so that no limit is one of the machine's load."""

from __future__ import annotations

from time import perf_counter, thread_time

__all__ = ["is_over", "slowdown"]

_SPIN = 0.01  # seconds of processor time


def slowdown() -> float:
    """Return how many times longer than its processor time a piece of work takes now; 1 or more."""
    begin, used = perf_counter(), thread_time()
    while thread_time() < used + _SPIN:
        pass
    return max(1.0, (perf_counter() - begin) / _SPIN)


def is_over(limit: float, elapsed: float) -> bool:
    """Tell whether a wait has taken longer than its limit, which is for a machine that is idle.

    The load is measured when the limit is over, and not before.
    """
    return elapsed > limit and elapsed > limit * slowdown()

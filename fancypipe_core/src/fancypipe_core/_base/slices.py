"""Waits in slices, so that a signal is heeded whenever it comes.

Python's handler for a signal runs between two steps of the main thread.  One that comes after
the last step before a wait for a lock or a file does not end that wait, and would be heeded when
it is over, which may be never.  Other threads wait as long as they like: no signal comes to them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf
from threading import Condition

__all__ = ["SLICE", "at_a_time", "wait_for"]

SLICE = 0.2  # seconds; as late, at most, is a signal heeded


def at_a_time(left: float = inf) -> float | None:
    """Return the seconds that this thread may wait at a time; None for no limit.

    Args:
        left: Seconds that it is to wait altogether.
    """
    if threading.current_thread() is threading.main_thread():
        return min(left, SLICE)
    return None if left == inf else left


def wait_for(condition: Condition, true: Callable[[], object]) -> None:
    """Wait until something is true; whoever makes it so notifies the condition, which is held."""
    while not condition.wait_for(true, at_a_time()):
        continue

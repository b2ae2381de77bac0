"""Waits in slices, so that a signal is heeded whenever it comes.

Python's handler for a signal runs between two steps of the main thread.  One that comes after
the last step before a wait for a lock or a file does not end that wait, and would be heeded when
it is over, which may be never.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

__all__ = ["SLICE", "wait_for"]

SLICE = 0.2  # seconds; as late, at most, is a signal heeded


def wait_for(condition: Condition, true: Callable[[], object]) -> None:
    """Wait until something is true; whoever makes it so notifies the condition, which is held."""
    while not condition.wait_for(true, SLICE):
        continue

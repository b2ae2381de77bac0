"""How tests wait for what comes by itself: until it is there, and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

__all__ = ["LIMIT", "wait_until"]

LIMIT = 60.0  # seconds in which anything that must happen has happened, on a slow machine


def wait_until(
    true: Callable[[], object], what: str | Callable[[], str] = "", limit: float = LIMIT
) -> None:
    """Wait until something is true; a look that takes long is had less often.

    Args:
        true: Has a look.
        what: What is waited for, for the message.
        limit: Seconds.
    """
    begin = monotonic()
    until = begin + limit
    while not true():
        now = monotonic()
        if now >= until:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {limit:g} s: {said or true}")
        sleep(min(max(0.005, 4 * (now - begin)), 0.2))
        begin = monotonic()

"""The garbage collector, while a graph is being made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["calm_collector"]

_COLLECT_AFTER = 50_000  # objects


@contextmanager
def calm_collector() -> Iterator[None]:
    """Let the garbage collector look less often while many records are made.

    A graph is many small objects that live long; the collector's default has it
    look at them every 700, which costs more than making them.
    """
    before = gc.get_threshold()
    if not before[0] or before[0] >= _COLLECT_AFTER:
        yield
        return
    gc.set_threshold(_COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)

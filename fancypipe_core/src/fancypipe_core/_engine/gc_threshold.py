"""The garbage collector, while a graph is being made."""

from __future__ import annotations

import gc

__all__ = ["calm_collector"]

_COLLECT_AFTER = 50_000


class calm_collector:  # noqa: N801 - a context manager is called as a function is
    """Let the garbage collector look less often while many records are made.

    A graph is many small objects that live long; the collector's default has it
    look at them every 700, which costs more than making them.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = before = gc.get_threshold()
        if 0 < before[0] < _COLLECT_AFTER:
            gc.set_threshold(_COLLECT_AFTER, *before[1:])

    def __exit__(self, *_: object) -> None:
        gc.set_threshold(*self._before)

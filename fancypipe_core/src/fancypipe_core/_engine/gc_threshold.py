"""The garbage collector, while a graph is being made."""

from __future__ import annotations

import gc

__all__ = ["calm_collector"]

_COLLECT_AFTER = 50_000

_inside: list[calm_collector] = []
_before: list[tuple[int, int, int]] = [gc.get_threshold()]


class calm_collector:  # noqa: N801 - a context manager is called as a function is
    """Let the garbage collector look less often while many records are made.

    A graph is many small objects that live long; the collector's default has it
    look at them every 700, which costs more than making them.  Several threads may be in such
    blocks: the last to leave puts back what the first has found.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        before = gc.get_threshold()
        if not _inside:
            _before[0] = before
        _inside.append(self)
        if 0 < before[0] < _COLLECT_AFTER:
            gc.set_threshold(_COLLECT_AFTER, *before[1:])

    def __exit__(self, *_: object) -> None:
        _inside.remove(self)
        if not _inside:
            gc.set_threshold(*_before[0])

"""Ends a run whose graph grows until memory is used up, before the system kills the client for it.

A task that makes itself anew in what it returns never ends, and each time the graph has one task
more.  No number of tasks is too large in itself: a simulation may go on for a million steps.  So a
deep one is only told of; it is memory that decides, and a graph of some size that goes on growing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fancypipe_core import errors
from fancypipe_core._base.resources import free_memory, memory_of_this_process, size, total_memory
from fancypipe_core._engine.node import Node

__all__ = ["Growth"]

_FIRST = 200_000  # tasks; fewer take less than any machine has
_STEP = 20_000  # tasks, of a kilobyte or two, between two looks
_AHEAD = 4  # steps for which memory is to be there
_DEEP = 100_000  # levels
_MAIN = 0.5  # the part of all memory from which on it is this process that takes it


class Growth:
    """Looks at a graph that grows.

    Args:
        warn: Takes a sentence for the user.

    Attributes:
        limit: With more tasks than this it is to be looked at.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.limit = _FIRST
        self._warn = warn
        self._warned = False
        self._own = 0  # bytes that this process took at the last look; 0 if there was none

    def begin(self) -> None:
        """A run begins, with an empty graph."""
        self.limit = _FIRST
        self._warned = False
        self._own = 0

    def look(self, nodes: Mapping[int, Node]) -> None:
        """Look at the graph.

        Args:
            nodes: What it has, with the newest last.

        Raises:
            GraphError: It grows, and there is hardly any memory left.
        """
        self.limit = len(nodes) + _STEP
        before, self._own = self._own, memory_of_this_process()
        total, left = total_memory(), free_memory()
        if (
            before
            and total is not None
            and left is not None
            and self._own > _MAIN * total
            and left < _AHEAD * (self._own - before)
        ):
            raise errors.GraphError(
                f"{_described(nodes)}. This process takes {size(self._own)} of the "
                f"{size(total)} of memory that there are, and {size(left)} are left: the run "
                "ends before the system kills it. If the graph would never end, there is the "
                "mistake; else give many tasks as a map, whose elements need no memory before "
                "their turn, or take a machine with more memory"
            )
        if not self._warned and _levels(_newest(nodes)) > _DEEP:
            self._warned = True
            self._warn(f"{_described(nodes)}. If it never ends, end it by hand (Ctrl-C)")


def _described(nodes: Mapping[int, Node]) -> str:
    newest = _newest(nodes)
    levels, made = _levels(newest), f" (made at {newest.where})" if newest.where else ""
    deep = f", {levels:,} levels deep, as tasks make tasks that make tasks" if levels > 1 else ""
    return f"the graph has grown to {len(nodes):,} tasks; the newest is {newest.path}{made}{deep}"


def _newest(nodes: Mapping[int, Node]) -> Node:
    newest: Node = next(reversed(nodes.values()))  # type: ignore[call-overload]
    return newest


def _levels(node: Node) -> int:
    levels, one = 0, node.parent
    while one is not None:
        levels, one = levels + 1, one.parent
    return levels

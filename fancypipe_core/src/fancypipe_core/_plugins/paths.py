"""The paths of many tasks, one after the other."""

from __future__ import annotations

from fancypipe_core._plugins.told import TaskNode

__all__ = ["Paths"]

_EVERY = 32  # levels between two tasks of which is remembered how deep they lie
_SHOWN = 6  # steps at either end of a long path


class Paths:
    """Tells the paths of a session's tasks; what a lone one has is `path` of its node.

    Where tasks make tasks a hundred thousand levels deep, to walk all the way up for each of them
    takes hours.
    """

    def __init__(self) -> None:
        # By number: how many steps lead there, and the first of them.
        self._known: dict[int, tuple[int, tuple[str, ...]]] = {}

    def of(self, node: TaskNode) -> str:
        """Return the path of a task."""
        way: list[TaskNode] = []  # from the task up to one that is known
        one: TaskNode | None = node
        levels, first = 0, ()  # type: tuple[int, tuple[str, ...]]
        while one is not None:
            known = self._known.get(one.id)
            if known is not None:
                levels, first = known
                break
            way.append(one)
            one = one.parent
        for above in reversed(way):
            levels += 1
            if len(first) < _SHOWN:
                first = (*first, above.step)
            if not levels % _EVERY:
                self._known[above.id] = levels, first
        last: list[str] = []
        one = node
        while one is not None and len(last) < min(2 * _SHOWN, levels):
            last.append(one.step)
            one = one.parent
        if levels > 2 * _SHOWN:
            last = [*last[:_SHOWN], f"...{levels - 2 * _SHOWN}...", *reversed(first)]
        return "/".join(reversed(last))

    def forget(self) -> None:
        """A run begins, and what was told of is gone."""
        self._known.clear()

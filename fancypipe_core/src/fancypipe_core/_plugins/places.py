"""Where in the code tasks were made, looked up once for each place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fancypipe_core._plugins.told import TaskNode

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["Places"]

_MOST = 10_000


class Places:
    """Remembers what places in the code are called."""

    def __init__(self) -> None:
        # By place: its name, and the code, so that nothing else has its number.
        self._known: dict[tuple[int, int], tuple[str, CodeType]] = {}

    def of(self, node: TaskNode) -> str:
        """Return where a task was made, as `file:line`."""
        instance = node.instance
        if instance is None:
            return node.where
        code = instance._code
        key = id(code), instance._offset
        known = self._known.get(key)
        if known is None:
            if len(self._known) > _MOST:
                self._known.clear()
            known = self._known[key] = node.where, code
        return known[0]

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()

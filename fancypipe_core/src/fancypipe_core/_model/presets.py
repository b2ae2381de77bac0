"""Inputs that a task has where its caller leaves them out, in place of its own defaults.

They hold for a whole session.  What travels to workers says which they are, so that tasks that
are made there have theirs, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Preset", "Presets"]


class Presets(Protocol):
    """What tasks have; it must be possible to pickle it."""

    def of(self, name: str, main: Callable[..., Any], skip: int) -> dict[str, Any]:
        """Return the inputs of a task.

        Args:
            name: The task's name.
            main: Its function.
            skip: How many of its first parameters are no inputs.

        Raises:
            BadInput: The task cannot have them.
        """


class Preset:
    """What an instance calls in a session with presets: a task, or the map of one.

    Args:
        target: What it would call without.
        presets: Those of the session.
    """

    __slots__ = ("presets", "target")

    def __init__(self, target: Any, presets: Presets) -> None:
        self.target = target
        self.presets = presets

    def __reduce__(self) -> tuple[Any, ...]:
        return (Preset, (self.target, self.presets))

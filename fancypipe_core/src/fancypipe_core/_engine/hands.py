"""What the user's code in the client and whoever drives tell each other: see `_engine.mains`."""

from __future__ import annotations

from threading import Condition
from typing import Any, Protocol

from fancypipe_core import errors
from fancypipe_core._base.slices import wait_for
from fancypipe_core._engine.modules import Steps
from fancypipe_core._engine.node import Node
from fancypipe_core._engine.parts import Feeder
from fancypipe_core.backend import JobId

__all__ = ["Alone", "Ask", "Hands", "Main", "Post", "Returned", "Taken"]

_OVER = "the run is over in which this module ran"


class Taken(BaseException):
    """While this thread was in the user's code another one has begun to drive."""


class Main:
    """The user's code of a module, while it is under way.

    Args:
        id: The attempt.
        node: The module.
        steps: What the engine does for it.

    Attributes:
        scope: The node below which what it makes stands: the module, or the map.
        since: When it began to hold up others, which it does in a thread of its own for a moment.
        is_aside: Whether it does so no more.
        pins: What it has waited for last: that may be in what it returns.
    """

    __slots__ = ("id", "is_aside", "node", "pins", "scope", "since", "steps")

    def __init__(self, id: JobId, node: Node, steps: Steps) -> None:
        self.id = id
        self.node = node
        self.steps = steps
        self.scope: Node = node.part.of.node if isinstance(node.part, Feeder) else node
        self.since = 0.0
        self.is_aside = False
        self.pins: list[int] = []


class Returned:
    """A main has returned, or raised."""

    def __init__(self, main: Main, value: Any, error: BaseException | None) -> None:
        self.main = main
        self.value = value
        self.error = error

    def lost(self) -> None:
        """Nobody wants to know."""


class Ask:
    """A main waits for a result.

    Args:
        node: The module, or the map.
        target: A reference.
        number: The node that stands for it, if it was demanded; else 0.
    """

    def __init__(self, node: Node, target: Any, number: int = 0) -> None:
        self.node = node
        self.target = target
        self.number = number
        self._changed = Condition()
        self._is_told = False
        self._value: Any = None
        self._error: BaseException | None = None

    def tell(self, value: Any, error: BaseException | None = None) -> None:
        """Let the main go on."""
        with self._changed:
            self._value, self._error, self._is_told = value, error, True
            self._changed.notify_all()

    def lost(self) -> None:
        self.tell(None, errors.Cancelled(_OVER))

    def wait(self) -> Any:
        """Return the value.

        Raises:
            BaseException: Why there is none.
        """
        with self._changed:
            wait_for(self._changed, lambda: self._is_told)
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            return self._value
        finally:
            del error  # it knows this frame: what is in such a circle would live on


Post = Returned | Ask
"""What a main wants done by the one that drives; it is told if nobody does any more."""


class Hands(Protocol):
    """How a thread drives, and lets others do so."""

    def leave(self) -> None:
        """The thread that drives goes into the user's code."""

    def come_back(self) -> bool:
        """It is out of it; tell whether it drives."""

    def give_way(self) -> bool:
        """Others have asked for something: tell whether somebody else drives from now on."""

    def post(self, post: Post) -> bool:
        """Have something done by the one that drives; tell whether a run is under way."""


class Alone:
    """The hands of one who drives always."""

    def leave(self) -> None:
        """Nobody takes over."""

    def come_back(self) -> bool:
        return True

    def give_way(self) -> bool:
        return False

    def post(self, _post: Post) -> bool:
        return False

"""The results of the elements of a map, for one who takes them one by one."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Any

from fancypipe_core._base.slices import wait_for
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.maps import Maps
from fancypipe_core._engine.node import Node
from fancypipe_core._engine.reader import Reader
from fancypipe_core._engine.roots import Root
from fancypipe_core._engine.spans import Span
from fancypipe_core._model.carriage import came, this_thread
from fancypipe_core._model.ref import Instance
from fancypipe_core._model.temp_paths import Keeper

__all__ = ["Stream"]


class Stream(Root):
    """A map whose results are taken while others come.

    Args:
        target: What `task.map()` returned.
        maps: The session's maps.
        files: Keeps temporary files as long as their values.

    Attributes:
        handed: How many elements the caller has got; so many more may be taken.
    """

    __slots__ = ("_changed", "_files", "_found", "_maps", "_raw", "handed", "is_told")

    def __init__(self, target: Instance[Any], maps: Maps, files: Keeper) -> None:
        super().__init__(target, _tell)
        self._maps = maps
        self._files = files
        self._raw: list[tuple[Span, Any]] = []
        self._found: deque[tuple[int, list[Any]]] = deque()
        self._changed = Condition()
        self.handed = 0
        self.is_told = False

    # ---- in the thread that drives ----

    def take_number(self, graph: Graph, scheduler: Scheduler) -> int:
        number = graph.number(self.target, None)
        if scheduler.state(number) is not None:  # others have asked for the same map
            made = self.target
            self.target = Instance(
                made._definition, made._args, made._kwargs, made._code, made._offset
            )
            number = graph.number(self.target, None)
        self._maps.sinks[number] = self._raw.append
        return number

    def open(self, reader: Reader, node: Node) -> None:
        self.pass_on()

    def pass_on(self) -> None:
        """Hand on what has come.

        Raises:
            DecodeError: It cannot be read in the client.
        """
        if not self._raw:
            return
        self._files.keep(self.number)
        found = [self._maps.opened(self.number, span, value) for span, value in self._raw]
        if this_thread.came is not None:
            self._files.hold(self.number, came())
            self._files.keep(self.number)
        self._raw.clear()
        with self._changed:
            self._found += found
            self._changed.notify_all()

    def over(self) -> None:
        """It has come to its end, with an error or without."""
        with self._changed:
            self.is_told = True
            self._changed.notify_all()

    def forget(self, error: BaseException) -> None:
        """This process is a fork, in which nothing more comes."""
        self._changed = Condition()  # a thread that is not here may hold the other
        self.error, self.is_told = error, True

    # ---- for the caller ----

    @property
    def has_come(self) -> bool:
        """Whether something is there that nobody has got."""
        return bool(self._found)

    def take(self) -> list[tuple[int, list[Any]]]:
        """Return what is there: lists of results, each with the index of its first."""
        found = list(self._found)
        for _ in found:
            self._found.popleft()
        return found

    def wait(self) -> None:
        """Wait until something is there, or nothing more will be."""
        with self._changed:
            wait_for(self._changed, lambda: self._found or self.is_told)


def _tell(root: Root) -> None:
    assert isinstance(root, Stream)
    root.over()

"""What an engine leaves in the process that uses it: children, threads, variables."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable
from time import monotonic

__all__ = ["Traces"]


class Traces:
    """This process as it is before an engine comes, so that what the engine leaves can go.

    Args:
        variables: Environment variables that the engine is known to change.
        children: How the names of its processes begin, those of `multiprocessing`.
        threads: How the names of its threads begin that are told to end, and not waited for.
    """

    def __init__(
        self, variables: Iterable[str] = (), *, children: str = "", threads: str = ""
    ) -> None:
        self._variables = {name: os.environ.get(name) for name in variables}
        self._children_begin, self._threads_begin = children, threads
        self._threads = set(threading.enumerate())
        self._children = set(multiprocessing.active_children())

    def kill_children(self) -> None:
        """Kill those of its processes that came since then."""
        for child in set(multiprocessing.active_children()) - self._children:
            if self._children_begin and child.name.startswith(self._children_begin):
                child.kill()

    def clear(self, limit: float) -> None:
        """Have it all be as it was.

        Args:
            limit: Seconds that the threads may take to end; what is left then stays.
        """
        self.kill_children()
        self.restore_variables()
        until = monotonic() + limit
        for thread in set(threading.enumerate()) - self._threads:
            if self._threads_begin and thread.name.startswith(self._threads_begin):
                thread.join(max(0.0, until - monotonic()))

    def restore_variables(self) -> None:
        """Give the variables the values that they had."""
        for name, value in self._variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

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
    """

    def __init__(self, variables: Iterable[str] = ()) -> None:
        self._variables = {name: os.environ.get(name) for name in variables}
        self._threads = set(threading.enumerate())
        self._children = set(multiprocessing.active_children())

    def kill_children(self, begin: str) -> None:
        """Kill processes of `multiprocessing` that came since then and whose names begin so."""
        for child in set(multiprocessing.active_children()) - self._children:
            if child.name.startswith(begin):
                child.kill()

    def join_threads(self, begin: str, limit: float) -> None:
        """Wait for threads that came since then, whose names begin so, and that are to end.

        Args:
            begin: How their names begin.
            limit: Seconds that all of them may take; what is left then stays.
        """
        until = monotonic() + limit
        for thread in set(threading.enumerate()) - self._threads:
            if thread.name.startswith(begin):
                thread.join(max(0.0, until - monotonic()))

    def restore_variables(self) -> None:
        """Give the variables the values that they had."""
        for name, value in self._variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

"""Threads of numerical libraries: tasks that run at the same time share the cores.

A library starts as many threads as there are cores, for each task that calls it.  So
while a session is open, each may use its share.  What is loaded already is told so;
what is loaded later reads it from the environment.  What the user has set is left alone.
"""

from __future__ import annotations

import functools
import os
import sys
from contextlib import suppress
from typing import Any

from fancypipe_core.toolkit import THREAD_VARIABLES, own_variables, usable_cores

__all__ = ["Libraries"]

_BRING_LIBRARIES = ("numpy", "torch", "mkl")


class Libraries:
    """The libraries of this process.

    Args:
        workers: How many tasks run at the same time.
    """

    def __init__(self, workers: int) -> None:
        self._share = max(1, usable_cores() // workers)
        self._limits = False  # now
        self._variables: list[str] = []  # that we have set
        self._before: dict[str, int] = {}  # how many threads each library had, by its file
        self._each_thread: list[Any] = []  # libraries of which each thread has its own number

    def limit(self) -> None:
        """From now on each may use its share."""
        if self._share == usable_cores() or any(name in os.environ for name in THREAD_VARIABLES):
            return
        self._limits = True
        for name in THREAD_VARIABLES:
            os.environ[name] = str(self._share)
            self._variables.append(name)
        own_variables.update(self._variables)  # programs of tasks with needs get others
        for library in _loaded():
            self._before[library.filepath] = library.num_threads
            if library.user_api == "openmp":
                self._each_thread.append(library)
            _set(library, min(self._share, library.num_threads or self._share))

    def limit_thread(self, cores: int | None = None) -> None:
        """Limit the thread that calls this: to so many cores, or to its share."""
        for library in self._each_thread:
            _set(library, cores or self._share)

    def restore(self) -> None:
        """From now on each may use what it could before."""
        if not self._limits:
            return
        self._limits = False
        own_variables.difference_update(self._variables)
        for name in self._variables:
            if os.environ.get(name) == str(self._share):  # else somebody has set it since
                del os.environ[name]
        for library in _loaded():
            # One that was loaded meanwhile would have taken all cores.
            _set(library, self._before.get(library.filepath, usable_cores()))


def _loaded() -> list[Any]:
    """Return the libraries that are loaded, as threadpoolctl knows them."""
    if not any(name in sys.modules for name in _BRING_LIBRARIES):
        return []
    import threadpoolctl  # that it is imported does not bring it to look again

    return _seen(len(sys.modules), threadpoolctl)


@functools.lru_cache(maxsize=1)
def _seen(_modules: int, threadpoolctl: Any) -> list[Any]:
    """Look; it takes milliseconds, and libraries come with modules."""
    return list(threadpoolctl.ThreadpoolController().lib_controllers)


def _set(library: Any, count: int) -> None:
    with suppress(Exception):  # whatever a library makes of it: it is only slower
        library.set_num_threads(count)

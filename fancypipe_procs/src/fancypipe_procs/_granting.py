"""In a worker process: a task with needs finds its devices, and threads for its cores."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from fancypipe_core.backend import Job
from fancypipe_core.toolkit import own_variables, task_variables
from fancypipe_procs._spawn import OURS

__all__ = ["Granting"]

_THREADS = "OMP_NUM_THREADS"
_BRING_LIBRARIES = ("numpy", "scipy", "torch", "mkl")


class Granting:
    """Sets what one task is to find, and puts it back before the next.

    The environment is put back as whatever tasks change.  Libraries that are loaded have
    read it long ago: they are told, if `threadpoolctl` is installed.
    """

    def __init__(self) -> None:
        self._before = 0  # threads of libraries, while a task has others

    def give(self, job: Job) -> None:
        """A job with needs is about to begin."""
        own_variables.clear()
        own_variables.update(os.environ.get(OURS, "").split())
        before = os.environ.get(_THREADS, "")
        os.environ.update(task_variables(job.needs, job.devices))
        if job.needs is not None and _THREADS in own_variables and before.isdigit():
            self._before = int(before)
            _limit(job.needs.cpus)

    def take_back(self) -> None:
        """The job has ended, and another is about to begin."""
        if self._before:
            _limit(self._before)
            self._before = 0


def _limit(threads: int) -> None:
    """Let the libraries that are loaded have so many threads."""
    if not any(name in sys.modules for name in _BRING_LIBRARIES):
        return
    with suppress(Exception):  # it is not installed, or a library will not: it is only slower
        import threadpoolctl

        threadpoolctl.threadpool_limits(threads)

"""What a worker process is started with: its environment, shared memory."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fancypipe_core.toolkit import THREAD_VARIABLES

__all__ = ["OURS", "VARIABLE", "environment", "sentinel", "shared_memory"]

OURS = "FANCYPIPE_THREADS_OF"
"""In a worker's environment: the variables for numerical libraries that we have set."""

VARIABLE = "FANCYPIPE_WORKER"
"""The mark of a worker and its descendants: that of the pool, a dot, and the worker's number."""


def shared_memory(size: int) -> int:
    """Return the descriptor of memory that a child can map, and seal then."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("fancypipe-cell", os.MFD_ALLOW_SEALING)
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def sentinel(pid: int) -> int:
    """Return a descriptor that is readable when the process has ended; -1 where there is none.

    Without one its death is seen by the end of its channel.
    """
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def environment(threads: int, mark: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return a worker's environment.

    Args:
        threads: How many threads numerical libraries may use, where the user has
            not said.
        mark: By which its descendants are known.
        variables: The caller's.
    """
    made = dict(variables)
    ours = [name for name in THREAD_VARIABLES if name not in made]
    made.update(dict.fromkeys(ours, str(threads)))
    made[OURS] = " ".join(ours)
    made[VARIABLE] = mark
    return made

"""What a worker process is started with: its environment, shared memory."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fancypipe_procs._orphans import VARIABLE

__all__ = ["environment", "sentinel", "shared_memory"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


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
    for name in _THREAD_VARIABLES:
        made.setdefault(name, str(threads))
    made[VARIABLE] = mark
    return made

"""The threads backend of fancypipe: jobs run on threads of this process.

For tasks that wait or that release the interpreter's lock (numpy, files,
external programs).  Values are passed as they are.
"""

from __future__ import annotations

from fancypipe_core.backend import Backend, BackendOptions, BackendPlugin

__all__ = ["plugin"]


def _make(options: BackendOptions) -> Backend:
    from fancypipe_threads._pool import ThreadsBackend

    return ThreadsBackend(options)


plugin = BackendPlugin(
    name="threads",
    aliases=("T",),
    help="threads of this process; for tasks that wait or release the GIL",
    make=_make,
    shares_memory=True,
    understands=frozenset({"cpus", "memory", "gpu"}),
)

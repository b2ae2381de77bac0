"""The threads backend of fancypipe: jobs run on threads of this process.

For tasks that wait or that release the interpreter's lock (numpy, files,
external programs).  Values are passed as they are.
"""

from __future__ import annotations

from fancypipe_core.backend import BackendPlugin

__all__ = ["plugin"]


plugin = BackendPlugin(
    name="threads",
    aliases=("T",),
    help="threads of this process; for tasks that wait or release the GIL",
    make="fancypipe_threads._pool:ThreadsBackend",
    shares_memory=True,
    understands=frozenset({"cpus", "memory", "gpu"}),
)

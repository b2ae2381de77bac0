"""The procs backend of fancypipe: jobs run in processes of this machine.

Each child is a fresh interpreter with one private channel, so that a death
costs one job, and values travel encoded.
"""

from __future__ import annotations

from fancypipe_core.backend import BackendPlugin
from fancypipe_procs._limits import ProcsSettings

__all__ = ["plugin"]


plugin = BackendPlugin(
    name="procs",
    aliases=("P",),
    help="processes of this machine; for Python code that computes",
    make="fancypipe_procs._pool:ProcsBackend",
    kills=True,
    settings=ProcsSettings,
    handles=True,
    understands=frozenset({"cpus", "memory", "gpu"}),
)

"""The pool machine, compiled anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fancypipe_core.toolkit.pool.states import TRANSITIONS
from tests import watched

__all__ = ["Watched"]

# In the order in which they import each other.
PARTS = (
    "account", "clock", "pool.workers", "pool.clocks", "pool.queue", "pool.start_backoff",
    "pool.roster", "pool.promises", "pool.dispatcher", "pool.blame", "pool.returns",
    "pool.deaths", "pool.machine",
)  # fmt: skip


class Watched(watched.Watched):
    """The machine's modules, and the steps of its workers.

    Args:
        changes: For a module's name, what to replace in its source by what.
    """

    def __init__(self, changes: Mapping[str, Sequence[tuple[str, str]]] | None = None) -> None:
        names = [f"fancypipe_core.toolkit.{part}" for part in PARTS]
        super().__init__(names, watched.Kind("workers", "Worker", "slots"), TRANSITIONS, changes)

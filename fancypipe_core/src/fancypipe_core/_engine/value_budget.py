"""How much memory and disk the values of a run may take before it goes more slowly."""

from __future__ import annotations

from collections.abc import Callable

from fancypipe_core._base.resources import size
from fancypipe_core._base.shared_memory import disk_held, memory_held

__all__ = ["ValueBudget"]

_ENOUGH = 0.8  # of the budget: when so little is held again, it is not used up any more


class ValueBudget:
    """Tells when the values that the client holds take too much.

    Args:
        memory: Bytes of shared memory; None for no limit.
        disk: Bytes of files, likewise.
        warn: Takes a sentence for the user.

    Attributes:
        is_used_up: Whether they do.
    """

    def __init__(
        self, memory: float | None, disk: float | None, warn: Callable[[str], None]
    ) -> None:
        self.is_used_up = False
        self._memory = memory
        self._disk = disk
        self._warn = warn
        self._warned_of: set[str] = set()

    def changes(self) -> bool:
        """Look at what is held now; return whether `is_used_up` is another than before."""
        before = self.is_used_up
        memory = self._exceeds(memory_held(), self._memory, "shared memory", "value_memory")
        disk = self._exceeds(disk_held(), self._disk, "disk", "value_disk")
        self.is_used_up = memory or disk
        return self.is_used_up != before

    def _exceeds(self, held: int, most: float | None, what: str, name: str) -> bool:
        if most is None or not held or held <= (most * _ENOUGH if self.is_used_up else most):
            return False
        if name not in self._warned_of:
            self._warned_of.add(name)
            self._warn(
                f"the values that tasks still need take {size(held)} of {what}, more than they "
                f"are to (setting {name}): until some are released, tasks are sent one at a time"
            )
        return True

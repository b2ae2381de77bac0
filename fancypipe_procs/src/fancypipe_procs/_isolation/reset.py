"""Between tasks: the process is put in order, or it is to be replaced."""

from __future__ import annotations

from collections.abc import Mapping

from fancypipe_procs._isolation.leaks import Leftovers, adopt_orphans, kill_children
from fancypipe_procs._isolation.state import Surroundings
from fancypipe_procs._limits import Limits

__all__ = ["Found", "Isolation"]


class Found:
    """What was found after a task.

    Attributes:
        notes: What the user is to be told.
        end: Why this process is to be replaced; empty if it is in order.
    """

    def __init__(self, notes: list[str] | None = None, end: str = "") -> None:
        self.notes = [] if notes is None else notes
        self.end = end


class Isolation:
    """Keeps a worker process in order; made before the first task, in the main thread."""

    def __init__(self) -> None:
        adopt_orphans()
        self._surroundings = Surroundings()
        self._leftovers = Leftovers(Limits())
        self.is_due = self._surroundings.is_due
        self.rested = self._surroundings.rested

    def put_right(self, label: str, idle: bool) -> Found:
        """Put back what tasks have changed, and look at what they have left.

        Args:
            label: The task that ran last.
            idle: Whether there is time.
        """
        failed = self._surroundings.put_back()
        notes, end = self._leftovers.look(label, idle)
        if failed:
            end = f"a task changed what cannot be put back: {', '.join(failed)}"
        return Found(notes, end)

    def adapt(self, variables: Mapping[str, str | None], folder: str) -> None:
        """From now on tasks are to find these variables, set or unset, and this folder."""
        self._surroundings.adapt(variables, folder)

    @staticmethod
    def clear() -> None:
        """This process ends: so do those that tasks have left."""
        kill_children()

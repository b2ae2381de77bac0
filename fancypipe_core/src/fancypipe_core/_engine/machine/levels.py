"""Which modules' mains are under way, which of them wait, and which go on beside the others.

Levels
    A module that waits for a result inside its `main` blocks the driver's thread;
    while it does, only modules that this result needs may be computed on top of
    it, one at a time, or two modules could wait for each other's frames.  Demands
    carry a level: how many modules are blocked.  Each wait has a number, larger
    than all before it, that goes from the demand to whatever it needs; so what an
    earlier wait has left is not taken for what this one needs.  Jobs know no
    levels.  What only gathers values waits for nothing, and is computed at once.

Aside
    Where a main has a thread of its own, it holds up nobody for long: once the driver
    says that it is *aside*, others are computed, whether it waits for a result or just
    goes on.  What nobody holds is let go of meanwhile.  So the driver keeps what such a
    main has waited for last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fancypipe_core._engine.machine.records import Records
from fancypipe_core._engine.machine.states import SETTLED, Id

__all__ = ["Levels"]


class Levels:
    """The mains that are under way.

    Args:
        records: The tasks that are known.

    Attributes:
        computing: Their attempts, in the order in which they began.
        beside: Of these, who is aside; and what it awaits.
        waits: The numbers of those that block modules now; 0 is the run's own.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self.computing: list[Id] = []
        self.beside: dict[Id, Sequence[int]] = {}
        self.waits = [0]
        self._asked: list[list[int]] = [[]]  # what each of these demanded
        self._last_wait = 0

    def demand(self, level: int, tasks: Iterable[int]) -> int:
        """These are wanted where so many modules are blocked; return the number of the wait."""
        if level:
            self._asked[level].extend(tasks)
        return self.waits[level]

    def set(self, level: int) -> None:
        """So many modules are blocked from now on."""
        del self.waits[level + 1 :], self._asked[level + 1 :]
        while len(self.waits) <= level:
            self._last_wait += 1
            self.waits.append(self._last_wait)
            self._asked.append([])

    def set_aside(self, id: Id, awaits: Sequence[int]) -> None:
        """A main holds up no other from now on."""
        if id in self.computing:
            self.beside[id] = awaits

    def set_all_aside(self) -> None:
        """No main holds up another, nor is one blocked, from now on."""
        # Each was blocked before the next began.
        stack = [id for id in self.computing if id not in self.beside]
        for level, id in enumerate(stack, 1):
            self.beside[id] = self._asked[level] if level < len(self._asked) else ()
        self.set(0)

    def ended(self, id: Id) -> None:
        """A main is over."""
        self.computing.remove(id)
        self.beside.pop(id, None)

    def clear(self) -> None:
        """No main that is under way counts any more."""
        self.computing.clear()
        self.beside.clear()
        self.set(0)

    def is_held_up(self) -> bool:
        """Whether a main goes on, or will before anything else; not one that is aside."""
        if len(self.computing) - len(self.beside) >= len(self.waits):
            return True
        return len(self.waits) > 1 and all(map(self._is_over, self._asked[-1]))

    def one_goes_on_aside(self) -> bool:
        """Whether a main that is aside has all that it awaits."""
        return any(all(map(self._is_over, awaits)) for awaits in self.beside.values())

    def awaited(self) -> Sequence[int]:
        """Return what is waited for before anything else that others wait for; all, if nothing."""
        if len(self.waits) > 1:
            return self._asked[-1]
        if self.beside:
            return list(self.beside.values())[-1]
        return list(self._records)

    def _is_over(self, task: int) -> bool:
        record = self._records.get(task)
        return record is None or record.state in SETTLED

    def check(self) -> None:
        """Verify the invariants.

        Raises:
            AssertionError: One does not hold.
        """
        assert self.beside.keys() <= set(self.computing), f"aside: {self.beside}"
        in_line = len(self.computing) - len(self.beside)
        assert in_line <= len(self.waits), f"at once: {self.computing}"

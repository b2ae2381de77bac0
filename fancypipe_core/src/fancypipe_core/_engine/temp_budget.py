"""How much disk temporary files may take before a run goes more slowly."""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from contextlib import suppress
from time import monotonic
from typing import Protocol

from fancypipe_core._base.needs import in_units
from fancypipe_core._base.resources import free_space

__all__ = ["Budget", "Budgets", "DiskLimit", "TempBudget", "taken"]

_ENOUGH = 0.8  # of the limit: when so little is taken again, it is kept to
_RESERVE = 1 << 30  # bytes that are to be left on the disk
_PAUSE = 0.5  # seconds between two looks, at least
_SHARE = 20  # times as long as a look takes there is none afterwards


class Budget(Protocol):
    """What is not to be used up."""

    is_used_up: bool

    def changes(self) -> bool:
        """Look at what is used now; return whether `is_used_up` is another than before."""


class Budgets:
    """Several, of which none is to be used up.

    Args:
        budgets: Those.
    """

    def __init__(self, *budgets: Budget) -> None:
        self.is_used_up = False
        self._budgets = budgets

    def changes(self) -> bool:
        """Look at all of them; return whether `is_used_up` is another than before."""
        before = self.is_used_up
        for budget in self._budgets:
            budget.changes()
        self.is_used_up = any(budget.is_used_up for budget in self._budgets)
        return self.is_used_up != before


class DiskLimit:
    """Decides whether temporary files take too much.

    Args:
        most: Bytes that they may take.

    Attributes:
        is_reached: Whether they do.
    """

    def __init__(self, most: int) -> None:
        self.is_reached = False
        self._most = most
        self._reserve = min(_RESERVE, most)

    def heed(self, used: int, free: int | None) -> str:
        """Take what there is now; return why the limit is reached, a phrase; empty if it is not.

        Once it is reached it stays so until clearly less is taken, or more is free.

        Args:
            used: Bytes that temporary files take.
            free: Bytes that are left on their disk; None if nobody knows.
        """
        before = self.is_reached
        most = self._most * _ENOUGH if before else self._most
        least = self._reserve / _ENOUGH if before else self._reserve
        why = ""
        if used > most:
            why = f"temporary files take {in_units(used)} (max_temp is {in_units(self._most)})"
        elif used and free is not None and free < least:
            why = f"{in_units(free)} are left on the disk of temporary files"
        self.is_reached = bool(why)
        return why


class TempBudget:
    """Tells when the temporary files of a session take too much.

    Args:
        directory: The session's folder.
        most: Bytes that what is in it may take.
        kept: What in it is the user's, and not counted.
        warn: Takes a sentence for the user.
        clock: Gives the time.

    Attributes:
        is_used_up: Whether they do.
    """

    def __init__(
        self,
        directory: str,
        most: int,
        kept: Container[str],
        warn: Callable[[str], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.is_used_up = False
        self._directory = directory
        self._limit = DiskLimit(most)
        self._kept = kept
        self._warn = warn
        self._warned = False
        self._clock = clock
        self._next = 0.0

    def changes(self) -> bool:
        """Look at what is there, unless that was just done; return whether `is_used_up` changes."""
        begin = self._clock()
        if begin < self._next:
            return False
        used = taken(self._directory, self._kept)
        why = self._limit.heed(used, free_space(self._directory))
        end = self._clock()
        self._next = end + max(_PAUSE, (end - begin) * _SHARE)
        before, self.is_used_up = self.is_used_up, self._limit.is_reached
        if why and not self._warned:
            self._warned = True
            self._warn(
                f"{why}: until some are needed no more, what runs goes on, and other tasks are "
                "sent one at a time"
            )
        return self.is_used_up != before


def taken(folder: str, but: Container[str] = ()) -> int:
    """Return the bytes of disk that all files below a folder take, but for some entries of it."""
    total = 0
    waiting = [folder]
    while waiting:
        # Tasks make and remove files meanwhile.
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.path in but:
                    continue
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        found = entry.stat(follow_symlinks=False)
                        total += getattr(found, "st_blocks", found.st_size // 512) * 512
    return total

"""What a backend says that its engine leaves, and how much of that was seen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from fancypipe_core.backend import Leftover

__all__ = ["Leftovers"]


class Leftovers:
    """Holds what is left against what a backend has declared.

    Args:
        declared: What may be left.
    """

    def __init__(self, declared: Iterable[Leftover]) -> None:
        self._declared = tuple(declared)
        self._seen: Counter[Leftover] = Counter()

    def undeclared(self, left: Iterable[str], sessions: int) -> list[str]:
        """Return what may not be left.

        Args:
            left: What is, each in a phrase.
            sessions: Of so many sessions, one after the other.
        """
        now: Counter[Leftover] = Counter()
        wrong = []
        for phrase in left:
            for one in self._declared:
                most = one.most * (sessions if one.adds_up else 1)
                if now[one] < most and re.fullmatch(one.what, phrase):
                    now[one] += 1
                    break
            else:
                wrong.append(phrase)
        self._seen += now
        return wrong

    def report(self) -> list[str]:
        """Return a line for each that was declared."""
        return [f"{self._seen[one]} times: {one.what}\n  {one.why}" for one in self._declared]

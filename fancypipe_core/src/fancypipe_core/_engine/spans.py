"""Which elements of a map go together: the sizes of spans, and how one that went wrong is cut.

Nothing in here runs anything: figures and places in, figures and places out.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

__all__ = ["MOST", "UNDER_WAY", "Cut", "Pace", "Span", "after_a_stop", "pieces"]

MOST = 4096
"""So many elements are in a span at most: cut twice, each of them is alone."""

UNDER_WAY = 16 * MOST
"""With so many elements of a map under way no more are taken: memory stays flat."""

_TOGETHER = 0.004  # seconds of work that are sent as one: some fifty times what sending costs
_LEAST = 0.0005  # seconds of work that a span is not made smaller than for the sake of the end
_PIECES = 64  # that a span is cut into at most: a worker's death costs more than so many jobs
_AHEAD = 32  # spans for each slot wait at a backend at most, however far away it is
_WITHIN = 4  # of the time limit of one element, a span is expected to take one part in so many
_WEIGHT = 0.5  # of the newest in the average


class Span(NamedTuple):
    """Elements that stand one after the other.

    Attributes:
        start: The index of the first.
        count: How many, 1 or more.
    """

    start: int
    count: int  # type: ignore[assignment]  # a tuple has a method of that name


class Cut(NamedTuple):
    """What becomes of a span whose worker stopped in it.

    Attributes:
        done: What has its values; None if nothing has.
        culprit: The one element that failed; None if none did.
        rest: What was not begun; None if there is nothing.
    """

    done: Span | None
    culprit: Span | None
    rest: Span | None


def after_a_stop(span: Span, at: int, failed: bool) -> Cut:
    """Cut a span whose worker came to the element `at`, counted from its first.

    Args:
        span: The span.
        at: How many elements have values.
        failed: Whether the next one failed; else it was not begun.

    Raises:
        ValueError: A span cannot end so.
    """
    if not 0 <= at < span.count or not (at or failed):
        raise ValueError(f"a span of {span.count} elements cannot stop at {at}")
    rest = at + failed
    return Cut(
        Span(span.start, at) if at else None,
        Span(span.start + at, 1) if failed else None,
        Span(span.start + rest, span.count - rest) if rest < span.count else None,
    )


def pieces(span: Span, most: int = _PIECES) -> list[Span]:
    """Cut a span, of which nobody knows which element is to blame, into even parts.

    Args:
        span: Two elements or more.
        most: How many parts there may be.
    """
    parts = min(span.count, most)
    edges = [span.start + span.count * part // parts for part in range(parts + 1)]
    return [Span(a, b - a) for a, b in itertools.pairwise(edges)]


class Pace:
    """How long the elements of one definition take, learned from those that have run.

    Args:
        limit: Seconds that one element may take; None for no limit.
        singly: Whether each element goes alone, whatever it takes.
    """

    __slots__ = ("limit", "seconds", "singly")

    def __init__(self, limit: float | None = None, singly: bool = False) -> None:
        self.limit = limit
        self.singly = singly
        self.seconds: float | None = None  # for one element; None before one has run

    def learn(self, count: int, seconds: float) -> None:
        """So many elements took so many seconds together."""
        each = seconds / count
        if self.seconds is None or each > self.seconds:
            self.seconds = each  # what is long is believed at once
        else:
            self.seconds += _WEIGHT * (each - self.seconds)

    def size(self, slots: int, left: int | None) -> int:
        """Return how many elements the next span has, 1 or more.

        Args:
            slots: How many spans run at the same time; maybe none yet.
            left: How many elements are not in any span yet; None if nobody knows.
        """
        if self.singly or self.seconds is None:
            return 1
        each = max(self.seconds, 1e-9)
        together = _TOGETHER if self.limit is None else min(_TOGETHER, self.limit / _WITHIN)
        size = int(together / each)
        if left is not None:
            # Toward the end they become smaller, so that all workers end at the same time.
            even = -(-left // (2 * max(slots, 1)))
            size = min(size, max(even, int(_LEAST / each)), left)
        return max(1, min(size, MOST))

    @staticmethod
    def window(slots: int, ahead: int, ended: int) -> int:
        """Return how many spans may be under way at the same time.

        It is opened as spans end: what the backend wants to have waiting was learned of
        other jobs, and it needs some spans to learn better.

        Args:
            slots: How many run at the same time.
            ahead: How many more jobs the backend wants to have waiting.
            ended: How many spans of this map have ended.
        """
        return min(slots + max(slots, min(ahead, _AHEAD * slots)), 2 * slots + ended)

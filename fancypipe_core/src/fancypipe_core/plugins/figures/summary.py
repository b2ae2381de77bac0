"""The summary of a run, from its journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["LEAST", "summary_of_journal"]

LEAST = 5.0
"""Seconds; a run that takes less has no summary."""


def summary_of_journal(journal: Path) -> Sequence[str]:
    """Return what a run took its time for, in lines; none of one that was short, or has no end.

    What cannot be read has no summary.
    """
    # What this needs costs a short run more than all else that is written at its end.
    from fancypipe_core.plugins.figures.facts import facts_of, read_lines
    from fancypipe_core.plugins.figures.said import summary_lines

    try:
        lines = read_lines(journal)
    except (OSError, ValueError):
        return ()
    if not lines or lines[-1].kind != "over" or (lines[-1].seconds or 0.0) < LEAST:
        return ()
    head, seconds = lines[0], lines[-1].seconds or 0.0
    return list(summary_lines(facts_of(lines), seconds, head.workers, head.unit))

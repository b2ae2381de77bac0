"""What the last run of the same pipeline says of how long this one takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fancypipe_core.hooks import RunInfo
from fancypipe_core.plugins.figures.facts import facts_of, read_lines
from fancypipe_core.plugins.journal import NAME
from fancypipe_core.plugins.runs import find_runs

__all__ = ["Earlier", "earlier"]

_LOOKED_AT = 20  # runs, from the latest one back


class Earlier(NamedTuple):
    """An earlier run.

    Attributes:
        kinds: By the name of tasks how many there were, and how long one of them took.
        alike: Whether its command line was the same, so that there will be as many again.
    """

    kinds: Mapping[str, tuple[int, float]]
    alike: bool


def earlier(run: RunInfo, folder: Path) -> Earlier | None:
    """Return the last run before this one that was asked for the same; None if there is none.

    Args:
        run: This one.
        folder: Its folder; those of earlier ones are beside it.
    """
    before = [one for one in find_runs(folder.parent) if one.name != folder.name]
    for one in reversed(before[-_LOOKED_AT:]):
        try:
            facts = facts_of(read_lines(one / NAME))
        except (OSError, ValueError):
            continue
        kinds = facts.by_name()
        if facts.target == run.target and kinds:
            return Earlier(kinds, facts.argv == run.argv)
    return None

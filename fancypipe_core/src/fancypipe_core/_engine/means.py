"""What all who see to a run work with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fancypipe_core._engine.reactor import Reactor
from fancypipe_core._engine.report import Report
from fancypipe_core._model.temp_paths import Keeper

__all__ = ["Means"]


class Means(NamedTuple):
    """What all who see to a run work with.

    Attributes:
        reactor: Tells the scheduler what happens, and carries out what it wants.
        report: Takes the events of the run, and knows what went wrong.
        files: Keeps temporary files as long as their values.
        stop_if_interrupted: Raises if the user has asked for the end.
    """

    reactor: Reactor
    report: Report
    files: Keeper
    stop_if_interrupted: Callable[[], None]

"""What is done around a run: the caller's environment, what is kept of code, and observers."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from fancypipe_core._base.isolation import ambient
from fancypipe_core._engine.report import Report

if TYPE_CHECKING:
    from fancypipe_core._plugins.observers import Observers
    from fancypipe_core.hooks import RunInfo

__all__ = ["ObservedRuns"]


class ObservedRuns:
    """Tells observers of runs.

    Args:
        observers: Who wants to know; None if nobody does.
        report: Counts the tasks of a run.
        prepare: Called at the beginning of each.
        describe: Returns what observers are told of a run, given its id and its target.
    """

    def __init__(
        self,
        observers: Observers | None,
        report: Report,
        prepare: Callable[[], None],
        describe: Callable[[str, Any], RunInfo],
    ) -> None:
        self._observers = observers
        self._report = report
        self._prepare = prepare
        self._describe = describe
        self._info: RunInfo | None = None
        self._begin = 0.0

    def begin(self, target: Any) -> None:
        """A run begins; with what was asked for first."""
        self._info = None
        self._prepare()
        self._report.run_started()
        if self._observers is None:
            return
        self._begin = monotonic()
        self._info = self._describe(os.urandom(6).hex(), target)
        self._observers.run_started(self._info)
        ambient.refresh()  # an observer may set what it likes

    def over(self, error: BaseException | None) -> None:
        """It is over; with the first error, if anything that was asked for did not come."""
        info, self._info = self._info, None
        if self._observers is None or info is None:
            return
        from fancypipe_core.hooks import ENDS, Outcome

        counts: dict[str, int] = {end: self._report.counts[end] for end in ENDS}
        message = "" if error is None else str(error).split("\n", 1)[0]
        self._observers.run_over(
            info,
            Outcome(
                error is None,
                monotonic() - self._begin,
                counts,
                message,
                self._report.counts["cached"],
            ),
        )

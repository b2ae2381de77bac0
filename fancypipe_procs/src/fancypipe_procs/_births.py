"""Whether another worker process may be started: pauses between failures, and when to give up.

It decides and does nothing else; the time comes from outside.
"""

from __future__ import annotations

from fancypipe_core.errors import BackendStartError
from fancypipe_procs._limits import Limits

__all__ = ["Births"]

_LAST_LINES = 15  # of a worker that did not come up, in the error


class Births:
    """Counts the starts in a row that failed.

    Args:
        limits: How many are too many, and the pauses between them.

    Attributes:
        failures: How many in a row have failed.
        not_before: When the next may be made, on the monotonic clock.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.failures = 0
        self.not_before = 0.0
        self._last = 0.0
        self._why = ""
        self._output: tuple[str, ...] = ()

    def may(self, now: float, others_are_starting: bool) -> bool:
        """Tell whether a worker may be started now: after a failure one at a time."""
        return not self.failures or (now >= self.not_before and not others_are_starting)

    def failed(
        self, born: float, now: float, why: str, output: tuple[str, ...] = (), *, hung: bool = False
    ) -> None:
        """A worker did not come up.

        Args:
            born: When it was started.  Those that were started together fail
                together, and count as one.
            now: When it failed.
            why: A phrase.
            output: The last lines that it printed.
            hung: It took all its time for that: two of these are enough.
        """
        if born < self._last:
            return
        limits = self._limits
        self.failures += (limits.bad_starts + 1) // 2 if hung else 1
        pause = limits.first_pause * 2.0 ** min(self.failures - 1, 30)
        self._last = now
        self.not_before = now + min(pause, limits.longest_pause)
        self._why, self._output = why, output

    def succeeded(self) -> None:
        """A worker does its work."""
        self.failures = 0

    @property
    def hopeless(self) -> bool:
        """Whether nothing but another failure can be expected."""
        return self.failures >= self._limits.bad_starts

    def error(self) -> BackendStartError:
        """Return what the run is to end with, and begin to count anew."""
        self.failures = 0
        said = "".join(f"\n  | {line}" for line in self._output[-_LAST_LINES:])
        return BackendStartError(
            "no worker process starts, so the run stops; the last one: "
            f"{self._why}" + (f"; the last that it printed:{said}" if said else "")
        )

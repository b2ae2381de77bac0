"""Starts of workers that fail: the backoff between them, and when to give up."""

from __future__ import annotations

from fancypipe_core.toolkit.pool.workers import Rules

__all__ = ["Starts"]


class Starts:
    """Counts the starts in a row that failed.

    Args:
        rules: How many are too many, and the pauses between them.

    Attributes:
        failures: How many in a row have failed.
        why: What the last one died of, a phrase; empty if a worker has done its work since.
        output: The last lines that it printed.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.failures = 0
        self.why = ""
        self.output: tuple[str, ...] = ()
        self._last = -1.0

    def failed(
        self, born: float, now: float, why: str, output: tuple[str, ...] = (), *, hung: bool = False
    ) -> float:
        """A worker did not come up.

        Args:
            born: When it was started.  Those that were started together fail
                together, and count as one.
            now: When it failed.
            why: A phrase.
            output: The last lines that it printed.
            hung: It took all its time for that: two of these are enough.

        Returns:
            How long to wait before the next start, in seconds.
        """
        if born < self._last:
            return 0.0
        rules = self._rules
        self.failures += (rules.bad_starts + 1) // 2 if hung else 1
        pause = rules.first_pause * 2.0 ** min(self.failures - 1, 30)
        self._last = now
        self.why, self.output = why, output
        return min(pause, rules.longest_pause)

    def succeeded(self) -> None:
        """A worker does its work."""
        self.failures, self.why, self.output = 0, "", ()

    def count_anew(self) -> None:
        """Who was told that it is hopeless goes on all the same."""
        self.failures = 0

    @property
    def hopeless(self) -> bool:
        """Whether nothing but another failure can be expected."""
        return self.failures >= self._rules.bad_starts

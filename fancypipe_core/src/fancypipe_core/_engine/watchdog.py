"""Signs of life: while a backend is silent, it is asked whether its own parts live.

A task may run for days, so silence alone says nothing.  But a thread of the
engine that has died, or that stands still where it should not, would be waited
for in vain.  Then the run ends, and says so.
"""

from __future__ import annotations

from collections.abc import Callable

from fancypipe_core._plugins.blame import Owner, is_from_core
from fancypipe_core.backend import Watched
from fancypipe_core.errors import InternalError, PluginError

__all__ = ["LOOK", "Watchdog"]

LOOK = 1.0
"""Seconds of silence after which a backend is asked for a sign of life, again and again."""

_REPORT = "please report it, with this text"


class Watchdog:
    """Looks at a backend, in the engine's thread.

    Args:
        backend: It is asked if it is `Watched`.
        limit: Seconds for which the same part may stand still.
        story: Says how the run stands, for the message.
        owner: Whose backend it is; None for ours.

    Attributes:
        waits: Whether anything is counted that `heard` ends.
    """

    def __init__(
        self,
        backend: object,
        limit: float,
        story: Callable[[], str],
        owner: Owner | None = None,
    ) -> None:
        self._owner = None if owner is None or owner.is_ours else owner
        self._check = backend.check if isinstance(backend, Watched) else None
        self._limit = limit
        self._story = story
        self._said = ""
        self._looks = 0
        self._silence = 0.0
        self.waits = False

    def heard(self) -> None:
        """The backend reported something."""
        self.waits = False
        self._said = ""
        self._silence = 0.0

    def silent(self, seconds: float = LOOK) -> None:
        """Nothing was heard for so many seconds more.

        Raises:
            InternalError: A part of the backend is dead, or stands still.
        """
        self.waits = True
        self._silence += seconds
        if self._check is None or self._silence < LOOK:
            return
        self._silence = 0.0
        try:
            said = self._check()
        except InternalError as error:
            if self._owner is not None and not is_from_core(error):
                text = f"{self._owner}: {error}\n{self._story()}"
                raise PluginError(text, plugin=self._owner.name) from error
            raise InternalError(f"{error}\n{self._advice()}:\n{self._story()}") from error
        except Exception as error:
            if self._owner is None:
                raise
            raise self._owner.blamed("check()", error)  # noqa: B904 - it has its cause
        # It is looks that are counted, not time: a laptop that was asleep has lost none.
        if not said or said != self._said:
            self._said, self._looks = said, 0
            return
        self._looks += 1
        if self._looks * LOOK >= self._limit:
            raise InternalError(
                f"a part of the engine has not moved for {self._limit:g} s (the setting "
                f"freeze_limit): {said.rstrip()}\n{self._advice()}:\n{self._story()}"
            )

    def _advice(self) -> str:
        return f"This is a bug of fancypipe or of {self._owner or 'the backend'}: {_REPORT}"

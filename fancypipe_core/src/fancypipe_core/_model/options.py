"""What an author says about how a task is to be run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fancypipe_core._base.backoff import Backoff
from fancypipe_core._base.needs import Needs, needs_of

__all__ = ["GivenNeeds", "Options", "options_of"]

GivenNeeds = Mapping[str, Any] | None
"""What a task needs: `{"cpus": 4, "memory": "8G", "gpu": 1}`, or some of these."""


class Options(NamedTuple):
    """What a task's author says about how it is to be run.

    Attributes:
        name: How messages call it; None for the function's or class's own name.
        retries: How often it is tried again after an exception, 0 or more.
        timeout: Seconds that one attempt may take; None for no limit.
        retry_delay: How long further attempts wait; None if they do not.
        needs: What it needs of its machine; None for one core and nothing else.
        priority: Among tasks that are ready, the higher goes first.
        cache: Whether results of earlier runs count, where a run is resumed.
        version: What an author changes to have results of earlier runs count no more.
    """

    name: str | None = None
    retries: int = 0
    timeout: float | None = None
    retry_delay: Backoff | None = None
    needs: Needs | None = None
    priority: int = 0
    cache: bool = True
    version: str = ""


def options_of(  # noqa: PLR0913, PLR0917 - as many as there are
    name: str | None = None,
    retries: Any = 0,
    timeout: Any = None,
    retry_delay: Any = 0,
    needs: Any = None,
    priority: Any = 0,
    cache: Any = True,
    version: Any = "",
) -> Options:
    """Return options as an author gives them.

    Raises:
        ValueError: One is out of range; the text is a phrase.
    """
    if type(retries) is not int or retries < 0:
        raise ValueError(f"retries must be a whole number from 0, not {retries!r}")
    if timeout is not None and (type(timeout) not in (int, float) or timeout <= 0):
        raise ValueError(f"timeout must be seconds above 0, not {timeout!r}")
    if type(priority) is not int or abs(priority) > _MOST:
        raise ValueError(f"priority must be a whole number, not {priority!r}")
    if type(cache) is not bool:
        raise ValueError(f"cache must be True or False, not {cache!r}")
    if type(version) is not str:
        raise ValueError(f"version must be a text such as '2', not {version!r}")
    backoff = _backoff(retry_delay)
    if backoff is not None and (why := backoff.fault()):
        raise ValueError(f"retry_delay: {why}")
    return Options(name, retries, timeout, backoff, needs_of(needs), priority, cache, version)


_MOST = 1_000_000


def _backoff(delay: Any) -> Backoff | None:
    """Return the delays that an author means; a number is one that stays the same."""
    if isinstance(delay, Backoff) or delay is None:
        return delay
    return Backoff(delay, factor=1.0, ceiling=delay, jitter=0.0) if delay != 0 else None

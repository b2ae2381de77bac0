"""Observers that settings ask for, beside those of most runs; each is imported only then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from fancypipe_core._settings.table import Settings

__all__ = ["asked_for"]


def asked_for(settings: Settings, folder: Callable[[], Path | None]) -> Iterator[object]:
    """Yield them.

    Args:
        settings: Those in force.
        folder: Tells the run's folder; None if it has none.

    Raises:
        ConfigError: One needs what is not installed, or cannot have its setting.
    """
    if settings.otel:
        from fancypipe_core.plugins.otel import Spans

        yield Spans()
    if settings.metrics_file:
        from fancypipe_core.plugins.prometheus import Metrics

        yield Metrics(settings.metrics_file)
    if settings.on_end:
        from fancypipe_core.plugins.on_end import OnEnd

        yield OnEnd(settings.on_end, folder)  # last: what the others write is there

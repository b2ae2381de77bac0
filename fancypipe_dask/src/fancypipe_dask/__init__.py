"""The dask backend of fancypipe: jobs run on a dask cluster, wherever that is."""

from __future__ import annotations

from dataclasses import dataclass

from fancypipe_core.backend import BackendPlugin, setting
from fancypipe_core.toolkit import EngineSettings

__all__ = ["plugin"]


@dataclass(frozen=True)
class DaskSettings(EngineSettings):
    """Of a pipeline's run."""

    dashboard: str | None = setting(
        None, help="Where dask's page is shown to all.", default_text="nowhere", value="[HOST]:PORT"
    )


plugin = BackendPlugin(
    name="dask",
    aliases=("D",),
    help="the workers of a dask cluster, on this machine or anywhere",
    make="fancypipe_dask._cluster:DaskBackend",
    kills=True,
    unit="slot",
    settings=DaskSettings,
    certificates="vague",
)

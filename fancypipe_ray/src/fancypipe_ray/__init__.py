"""The ray backend of fancypipe: jobs run on a ray cluster, on this machine or elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from fancypipe_core.backend import BackendPlugin, Leftover, setting
from fancypipe_core.toolkit import EngineSettings

__all__ = ["plugin"]


@dataclass(frozen=True)
class RaySettings(EngineSettings):
    """Of a pipeline's run."""

    address: str | None = setting(
        None,
        help="The cluster, or auto for the one of this machine.",
        default_text="one is made here",
        value="ADDRESS|auto",
    )
    resources: str = setting(
        "",
        help="What each job takes of the cluster.",
        value="NAME=AMOUNT,...",
        default_text="CPU=1",
    )


plugin = BackendPlugin(
    name="ray",
    aliases=("Y",),
    help="the workers of a ray cluster, on this machine or anywhere",
    make="fancypipe_ray._cluster:RayBackend",
    kills=True,
    unit="slot",
    settings=RaySettings,
    certificates="vague",
    leftovers=(
        Leftover(
            r"descriptor \d+ -> socket:\[\d+\] \(not connected\)",
            "ray.shutdown() may leave sockets unclosed whose other ends, ray's servers, are gone",
            most=4,  # to the store of the cluster's state, the node, and two workers
            adds_up=True,
        ),
        Leftover(
            r"descriptor \d+ -> \S+/logs/python-core-driver-\w+\.log \(deleted\)",
            "ray keeps its log of this process open until ray.init() is called again",
        ),
    ),
)

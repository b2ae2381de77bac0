"""The settings of the backend, and the limits of what tasks may leave in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from fancypipe_core.backend import setting

__all__ = ["Limits", "ProcsSettings"]


@dataclass(frozen=True)
class ProcsSettings:
    """The limits that a user may have a reason to change."""

    start_limit: float = setting(
        60.0,
        help="Seconds that a new worker process has to start.",
        least=0.1,
        value="SECONDS",
    )
    frozen_limit: float = setting(
        20.0,
        help="Seconds that a worker process may be stopped, or have tasks and run none.",
        least=1.0,
        value="SECONDS",
    )


class Limits(NamedTuple):
    """What tasks may leave in a worker.  Each field's annotation says why it is what it is."""

    threads: Annotated[
        int, "threads that tasks leave in a worker: so many are told, ten times as many are its end"
    ] = 20
    descriptors: Annotated[
        int,
        "open descriptors that tasks leave in a worker: as for threads; the usual limit of a"
        " process is 1024",
    ] = 50
    processes: Annotated[
        int, "processes that tasks leave behind a worker: the first is told, so many are its end"
    ] = 50

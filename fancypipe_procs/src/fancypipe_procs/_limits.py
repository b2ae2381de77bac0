"""The limits of the pool and of its children: every wait has one."""

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
    """How long, and how many.  Each field's annotation says why it is what it is."""

    start: Annotated[
        float,
        "seconds that a new worker process has to come up; an interpreter on a slow network"
        " disk takes tens",
    ] = 60.0
    bad_starts: Annotated[
        int, "so many starts in a row that fail are no accident: the run is given up"
    ] = 5
    first_pause: Annotated[float, "seconds between a failed start and the next; doubles"] = 0.1
    longest_pause: Annotated[float, "seconds; where the doubling ends"] = 5.0
    frozen: Annotated[
        float,
        "seconds that a worker may be stopped, or have jobs and run none; a loaded machine"
        " may forget a process for some",
    ] = 20.0
    hung_up: Annotated[
        float, "seconds between the end of a worker's channel and its death, if it is dying"
    ] = 1.0
    farewell: Annotated[
        float, "seconds that a worker which ends has for what its tasks registered for that"
    ] = 10.0
    unkillable: Annotated[
        float,
        "seconds after which a killed process that does not die, since it hangs in the"
        " kernel, is taken for dead",
    ] = 10.0
    call_back: Annotated[
        float, "seconds of silence of a worker while another is idle, before it is asked for jobs"
    ] = 0.002
    take_back: Annotated[
        float, "seconds in which a worker should have answered that; a store takes nanoseconds"
    ] = 0.02
    cancel: Annotated[float, "seconds that a cancelled job has to end by itself"] = 0.1
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

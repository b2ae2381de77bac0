"""Starts the backend in earnest, and lets one worker tell what it has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any, NamedTuple

from fancypipe_core import errors
from fancypipe_core._base import cores as _cores
from fancypipe_core._doctor.finding import Finding, several
from fancypipe_core._model.task import task
from fancypipe_core._settings import session as _configured
from fancypipe_core._settings import table
from fancypipe_core._settings.parameters import Parameters
from fancypipe_core._settings.session import Configured, Given
from fancypipe_core.session import Session

__all__ = ["InForce", "in_force", "look"]

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


@task(name="doctor")
def tell() -> dict[str, Any]:
    """What a worker has."""
    return {
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "threads": {name: os.environ.get(name, "") for name in _THREADS},
    }


class InForce(NamedTuple):
    """What the run would have.

    Attributes:
        core: The engine's settings, and where each came from.
        configured: All that is in force; None if the backend is broken.
        error: How it is broken.
    """

    core: table.Resolved[table.Settings]
    configured: Configured | None
    error: str = ""

    @property
    def parameters(self) -> Parameters | None:
        """Inputs from a file; None if there are none, or the backend is broken."""
        return None if self.configured is None else self.configured.parameters

    @property
    def live(self) -> bool:
        """Whether the backend shares memory with this process."""
        return self.configured is not None and self.configured.plugin.shares_memory


def in_force(given: Given) -> InForce:
    """Return what the run would have.

    Raises:
        ConfigError: A setting is unknown, belongs elsewhere, or cannot have that value.
        BackendNotFound: The backend is not installed.
    """
    given = given._replace(defaults={})  # no progress is shown here
    try:
        configured = _configured.configure(given)
    except errors.PluginError as error:
        return InForce(_configured.core_settings(given), None, str(error))
    # Observers look at runs of the user's.
    return InForce(configured.core, configured._replace(observers=None))


def look(force: InForce) -> Iterator[Finding]:
    """Yield what is found."""
    settings = force.core.settings
    begin = perf_counter()
    if force.configured is None:
        yield _broken(settings.backend, force.error)
        return
    name = force.configured.plugin.name
    try:
        with Session.of(force.configured) as session:
            told = session.run(tell())
    except (errors.FancyPipeError, OSError) as error:
        yield _broken(name, str(error))
        return
    took = perf_counter() - begin
    yield Finding("ok", f"the backend {name} starts, and a task on it answers, in {took:.2g} s")
    if told["python"] != sys.version.split()[0]:
        yield Finding(
            "problem",
            f"its workers have Python {told['python']} ({told['executable']}), and this is "
            f"{sys.version.split()[0]}",
            "use the same Python everywhere",
        )
    yield from _counts(settings.workers, force.core.origins["workers"])
    yield from _threads(told["threads"], settings.workers)


def _broken(name: str, why: str) -> Finding:
    return Finding(
        "problem",
        f"the backend {name} does not work: {' '.join(why.split())}",
        "take another one: -workertype=NAME (fancypipe backends lists them)",
    )


def _counts(workers: int, origin: table.Origin) -> Iterator[Finding]:
    usable, there = _cores.usable_cores(), os.cpu_count() or 1
    by = "by default" if origin.kind == "default" else str(origin)
    text = f"{several(workers, 'worker')} ({by}) on {several(usable, 'core')}"
    if usable < there:
        quota = _cores.quota()
        why = f"a quota of {quota:g}" if quota is not None and quota < there else "the affinity"
        text += f"; the machine has {there}, {why} allows no more"
    if workers > 2 * usable:
        advice = f"for tasks that compute, more workers gain nothing: -numworkers={usable}"
        yield Finding("warning", text, advice)
    else:
        yield Finding("ok", text)


def _threads(told: Mapping[str, str], workers: int) -> Iterator[Finding]:
    """How many threads numerical libraries have in a worker, and who said so."""
    counts = {name: int(text) for name, text in told.items() if text.isdigit() and text != "0"}
    if not counts:
        return
    usable = _cores.usable_cores()
    mine = {name: count for name, count in counts.items() if name in os.environ}
    name, most = max(counts.items(), key=lambda pair: (pair[1], pair[0] in mine))
    by = f"{name} in the environment" if name in mine else "set by fancypipe: cores / workers"
    text = f"numerical libraries have {several(most, 'thread')} in each worker ({by})"
    if workers * most > 2 * usable and name in mine:
        yield Finding(
            "warning",
            f"{text}: {workers * most} threads on {several(usable, 'core')}",
            f"unset {name}, or take fewer workers: -numworkers={max(1, usable // most)}",
        )
    else:
        yield Finding("ok", text)

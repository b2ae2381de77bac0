"""Starts the backend in earnest, and lets one worker tell what it has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any

from fancypipe_core import _plugins, _settings, errors
from fancypipe_core._doctor.finding import Finding, several
from fancypipe_core._session import run
from fancypipe_core._settings import cores as _cores
from fancypipe_core._task import task

__all__ = ["look"]

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


def look(settings: _settings.Settings, origin: str) -> Iterator[Finding]:
    """Yield what is found.

    Args:
        settings: Those of the run.
        origin: Where the number of workers comes from.
    """
    begin = perf_counter()
    given = {**vars(settings), "progress": False}
    try:
        told = run(tell(), **given)
    except errors.BackendNotFound:
        raise
    except (errors.FancyPipeError, OSError) as error:
        yield Finding(
            "problem",
            f"the backend {settings.backend} does not work: {' '.join(str(error).split())}",
            "take another one: -workertype=NAME (fancypipe backends lists them)",
        )
        return
    name = _plugins.find(settings.backend).name
    took = perf_counter() - begin
    yield Finding("ok", f"the backend {name} starts, and a task on it answers, in {took:.2g} s")
    if told["python"] != sys.version.split()[0]:
        yield Finding(
            "problem",
            f"its workers have Python {told['python']} ({told['executable']}), and this is "
            f"{sys.version.split()[0]}",
            "use the same Python everywhere",
        )
    yield from _counts(settings.workers, origin)
    yield from _threads(told["threads"], settings.workers)


def _counts(workers: int, origin: str) -> Iterator[Finding]:
    usable, there = _cores.usable(), os.cpu_count() or 1
    text = f"{several(workers, 'worker')} ({origin}) on {several(usable, 'core')}"
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
    usable = _cores.usable()
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

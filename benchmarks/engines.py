"""Calls that do nothing on engines of others, beside their own: `python -m benchmarks.engines`.

Both use two workers of this machine that are up, and the same number of calls.  An engine that
is not installed is left out.  Then come submissions on procs, as by `benchmarks.submit`, with what
they must reach: 10,000 in a second, and five short ones beside a long one in less than 0.1 s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any

from benchmarks.submit import measured, ours
from benchmarks.table import markdown
from fancypipe_core import Session, task

_WORKERS = 2
_SUBMITTED = 10_000  # in a second, at least
_SHORT = 0.1  # seconds, at most


def nothing(number: int) -> int:
    """Return the number."""
    return number


does_nothing = task(nothing)


def _seconds(work: Callable[[], list[Any]], calls: int) -> float:
    began = perf_counter()
    assert work() == list(range(calls))
    return perf_counter() - began


def _through_us(engine: str, calls: int) -> float:
    with Session(engine, _WORKERS) as session:
        session.run([does_nothing(number) for number in range(100)])
        return _seconds(lambda: list(session.run([does_nothing(i) for i in range(calls)])), calls)


def _dask(calls: int) -> float:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(nothing, range(100), pure=False))
        return _seconds(
            lambda: list(
                client.gather([client.submit(nothing, i, pure=False) for i in range(calls)])
            ),
            calls,
        )


def _ray(calls: int) -> float:
    import ray

    ray.init(num_cpus=_WORKERS, include_dashboard=False, log_to_driver=False)
    try:
        theirs = ray.remote(nothing)
        ray.get([theirs.remote(number) for number in range(100)])
        return _seconds(lambda: list(ray.get([theirs.remote(i) for i in range(calls)])), calls)
    finally:
        ray.shutdown()


def main(calls: int = 10_000) -> int:
    """Print two tables; return 1 if submissions on procs do not reach what they must."""
    rows = []
    for engine, own in {"dask": _dask, "ray": _ray}.items():
        with suppress(ImportError):
            through, alone = _through_us(engine, calls), own(calls)
            rates = (f"{calls / through:,.0f}", f"{calls / alone:,.0f}", f"{alone / through:.1f}")
            rows.append([engine, *rates])
    print(f"{calls:,} calls, {_WORKERS} workers; load {os.getloadavg()[0]:.1f}")
    print(markdown(["engine", "through fancypipe, per s", "its own submit, per s", "ratio"], rows))
    with ours("procs") as submit:
        seen = measured(submit, calls)
    enough, soon = seen.submitted >= _SUBMITTED, seen.short < _SHORT
    rows = [
        ["submissions / s", f"{seen.submitted:,.0f}", f"at least {_SUBMITTED:,}", _said(enough)],
        ["five short beside one of 1 s", f"{seen.short:.3f} s", f"under {_SHORT} s", _said(soon)],
    ]
    print(f"\nprocs, {_WORKERS} workers; load {os.getloadavg()[0]:.1f}")
    print(markdown(["what", "seen", "must be", "reached"], rows))
    return 0 if enough and soon else 1


def _said(reached: bool) -> str:
    return "yes" if reached else "no"


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))

"""Calls that do nothing on engines of others, beside their own: `python -m benchmarks.engines`.

Both use two workers of this machine that are up, and the same number of calls.  An engine that
is not installed is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any

from benchmarks.table import markdown
from fancypipe_core import Session, task

_WORKERS = 2


def nothing(number: int) -> int:
    """Return the number."""
    return number


ours = task(nothing)


def _seconds(work: Callable[[], list[Any]], calls: int) -> float:
    began = perf_counter()
    assert work() == list(range(calls))
    return perf_counter() - began


def _through_us(engine: str, calls: int) -> float:
    with Session(engine, _WORKERS) as session:
        session.run([ours(number) for number in range(100)])
        return _seconds(lambda: list(session.run([ours(i) for i in range(calls)])), calls)


def _dask(calls: int) -> float:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
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


def main(calls: int = 10_000) -> None:
    """Print a table."""
    rows = []
    for engine, own in {"dask": _dask, "ray": _ray}.items():
        with suppress(ImportError):
            through, alone = _through_us(engine, calls), own(calls)
            rates = (f"{calls / through:,.0f}", f"{calls / alone:,.0f}", f"{alone / through:.1f}")
            rows.append([engine, *rates])
    print(markdown(["engine", "through fancypipe, per s", "its own submit, per s", "ratio"], rows))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""What a submission costs and how long it waits: `python -m benchmarks.submit [BACKEND ...]`.

Each of ours stands beside the executor of the standard library with the same kind and number of
workers.  In a round everybody is measured once.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from benchmarks.clusters import Cluster
from benchmarks.table import markdown
from fancypipe_core import Session, task

_WORKERS = 2
_SHORT = 5  # submissions beside a long one
_LONG = 1.0  # seconds that it takes
_OURS = ("threads", "procs", "remote")

Submit = Callable[[Callable[[Any], Any], Any], "Future[Any]"]


def noop(value: Any) -> Any:
    """Give back what it was given."""
    return value


def nap(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds)


_TASKS = {noop: task(noop), nap: task(nap)}


class Seen(NamedTuple):
    """What was measured.

    Attributes:
        submitted: Submissions for each second, while they are made.
        done: The same, until all results are there.
        short: Seconds until five short ones are done beside a long one.
    """

    submitted: float
    done: float
    short: float


@contextmanager
def ours(backend: str) -> Iterator[Submit]:
    """Open a session."""
    cluster = Cluster(_WORKERS) if backend == "remote" else None
    if cluster is not None:
        cluster.open()
    where: dict[str, Any] = {"jobmanager": cluster.address} if cluster else {"workers": _WORKERS}
    try:
        with Session(backend, **where) as session:
            yield lambda function, value: session.submit(_TASKS[function](value))
    finally:
        if cluster is not None:
            cluster.close()


@contextmanager
def through_executor(backend: str) -> Iterator[Submit]:
    """Open a session, and take it as an executor."""
    with Session(backend, _WORKERS) as session, session.executor() as executor:
        yield executor.submit


@contextmanager
def pool(make: Callable[[int], ThreadPoolExecutor | ProcessPoolExecutor]) -> Iterator[Submit]:
    """Open an executor of the standard library."""
    with make(_WORKERS) as executor:
        yield executor.submit


def measured(submit: Submit, count: int) -> Seen:
    """Measure one that is open."""
    wait([submit(noop, n) for n in range(200)])  # all are up
    begin = time.perf_counter()
    futures = [submit(noop, n) for n in range(count)]
    submitted = time.perf_counter() - begin
    results = [future.result() for future in futures]
    done = time.perf_counter() - begin
    if results != list(range(count)):
        raise RuntimeError("wrong results")
    long = submit(nap, _LONG)
    begin = time.perf_counter()
    wait([submit(noop, n) for n in range(_SHORT)])
    short = time.perf_counter() - begin
    long.result()
    return Seen(count / submitted, count / done, short)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.submit", description=__doc__)
    parser.add_argument("backends", nargs="*", default=_OURS, metavar="BACKEND")
    parser.add_argument("--n", type=int, default=10_000, help="how many are submitted")
    parser.add_argument("--rounds", type=int, default=3, help="of which the middle counts")
    asked = parser.parse_args(arguments)
    contenders: dict[str, Callable[[], Any]] = {}
    for backend in asked.backends:
        contenders[backend] = partial(ours, backend)
        if backend == "threads":
            contenders["threads, executor()"] = partial(through_executor, backend)
            contenders["ThreadPoolExecutor"] = partial(pool, ThreadPoolExecutor)
        elif backend == "procs":
            contenders["procs, executor()"] = partial(through_executor, backend)
            contenders["ProcessPoolExecutor"] = partial(pool, ProcessPoolExecutor)
    rounds: dict[str, list[Seen]] = {name: [] for name in contenders}
    for _ in range(asked.rounds):
        for name, opened in contenders.items():
            with opened() as submit:
                rounds[name].append(measured(submit, asked.n))
    rows = []
    for name, seen in rounds.items():
        submitted, done, short = (median(figures) for figures in zip(*seen, strict=True))
        rows.append([name, f"{submitted:,.0f}", f"{done:,.0f}", f"{1000 * short:.1f}"])
    what = f"{_WORKERS} workers, {asked.n:,} submissions, middle of {asked.rounds} rounds"
    print(f"{what}; load {os.getloadavg()[0]:.1f}")
    head = ["who", "submissions / s", "results / s", f"{_SHORT} beside one of {_LONG:g} s, ms"]
    print(markdown(head, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

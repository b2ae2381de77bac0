"""What is run.  Each workload checks its results: wrong ones are not measured."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import jobs, memory
from benchmarks.contenders import Contender, Node, Ours
from benchmarks.storm import Storm

__all__ = ["WORKLOADS", "Measure", "Workload"]

Figures = dict[str, float]


@dataclass(frozen=True)
class Measure:
    """A column of a workload's table.

    Attributes:
        key: Its name in the figures that a run gives.
        title: Its heading.
        form: How a number is written: `time`, `rate` (n per second), `bytes`, `count`.
        ratio: Whether contenders are compared by it; one column is.
    """

    key: str
    title: str
    form: str
    ratio: bool = False


SECONDS = Measure("seconds", "time", "time", ratio=True)
RATE = Measure("seconds", "tasks/s", "rate")


@dataclass(frozen=True)
class Workload:
    """Something to run.

    Attributes:
        title: What it is, with `{n}`.
        sizes: The values of n that it is run with by default.
        measures: What is reported of it.
        run: Runs it on an open contender; returns the figures.
        is_graph: Whether its tasks depend on each other.
        only_ours: Whether it is written for fancypipe, so that there are no peers.
        folder: Where its modules are, if they are not ours.
        memory: Whether one more run is made to watch the memory of all processes.
    """

    title: str
    sizes: Sequence[int]
    measures: Sequence[Measure]
    run: Callable[[Contender, int], Figures]
    is_graph: bool = False
    only_ours: bool = False
    folder: Path | None = None
    memory: bool = False


def _check(values: Any, expected: Any) -> None:
    if values != expected:
        raise AssertionError(f"wrong result: {str(values)[:80]} instead of {str(expected)[:80]}")


def warm(contender: Contender) -> None:
    """Bring all workers up, and what they import."""
    count = 50 * contender.workers
    _check(contender.many(jobs.noop, range(count)), list(range(count)))


def _warm_numpy(contender: Contender) -> None:
    """As `warm`, with numpy imported by all, also by the client."""
    warm(contender)
    import_module("numpy")
    count = 20 * contender.workers
    _check(contender.many(jobs.load_numpy, range(count)), list(range(count)))


def noop(contender: Contender, n: int) -> Figures:
    """Independent tasks that do nothing, one call for each, all results gathered."""
    warm(contender)
    begin = perf_counter()
    values = contender.many(jobs.noop, range(n))
    seconds = perf_counter() - begin
    _check(values, list(range(n)))
    return {"seconds": seconds}


def roundtrip(contender: Contender, n: int) -> Figures:
    """One task, from the call to its result, again and again."""
    warm(contender)
    times = []
    for number in range(n):
        begin = perf_counter()
        value = contender.one(jobs.noop, number)
        times.append(perf_counter() - begin)
        _check(value, number)
    times.sort()
    return {"p50": times[n // 2], "p99": times[min(n - 1, n * 99 // 100)]}


def _timed(contender: Contender, nodes: Sequence[Node], wanted: Sequence[int]) -> Figures:
    expected: list[Any] = []
    for node in nodes:
        expected.append(node.function(*[expected[need] for need in node.needs], *node.args))
    warm(contender)
    begin = perf_counter()
    values = contender.graph(nodes, wanted)
    seconds = perf_counter() - begin
    _check(values, [expected[number] for number in wanted])
    return {"seconds": seconds}


def tree(contender: Contender, n: int) -> Figures:
    """Leaves, and tasks that join two each until one is left."""
    nodes = [Node(jobs.noop, (), (leaf,)) for leaf in range(n)]
    level = list(range(n))
    while len(level) > 1:
        above = []
        for left, right in zip(level[::2], level[1::2], strict=False):
            above.append(len(nodes))
            nodes.append(Node(jobs.add, (left, right)))
        level = above + level[len(level) // 2 * 2 :]
    return _timed(contender, nodes, level)


def chain(contender: Contender, n: int) -> Figures:
    """Tasks that each need the one before."""
    nodes = [Node(jobs.noop, (), (0,))]
    nodes += [Node(jobs.increase, (number,)) for number in range(n)]
    return _timed(contender, nodes, [n])


def layers(contender: Contender, n: int) -> Figures:
    """Layers of 50 tasks; each task needs three of the layer below, drawn at random."""
    draw = random.Random(1)
    wide = 50
    nodes = [Node(jobs.noop, (), (number,)) for number in range(wide)]
    for layer in range(1, n):
        below = range((layer - 1) * wide, layer * wide)
        nodes += [Node(jobs.mix, draw.sample(below, 3)) for _ in range(wide)]
    return _timed(contender, nodes, range(len(nodes) - wide, len(nodes)))


def array(contender: Contender, n: int) -> Figures:
    """A large array made by one task and read by eight others."""
    nodes = [Node(jobs.make_array, (), (n,))]
    nodes += [Node(jobs.sum_array, (0,), (part,)) for part in range(8)]
    _warm_numpy(contender)
    begin = perf_counter()
    values = contender.graph(nodes, range(1, 9))
    seconds = perf_counter() - begin
    count = n * 1024 * 1024 // 8
    total = count * (count - 1) / 2
    for part, value in enumerate(values):
        if abs(value - part - total) > 1e-6 * total:
            raise AssertionError(f"wrong sum: {value}")
    return {"seconds": seconds}


def results(contender: Contender, n: int) -> Figures:
    """Results of 1 MB each, all brought to the client and kept there."""
    _warm_numpy(contender)
    begin = perf_counter()
    values = contender.many(jobs.make_result, range(n))
    seconds = perf_counter() - begin
    for number, value in enumerate(values):
        if value.nbytes != 1024 * 1024 or value[0] != number or value[-1] != number:
            raise AssertionError(f"wrong result {number}")
    return {"seconds": seconds}


def memory_per_task(contender: Contender, n: int) -> Figures:
    """Growth of the client's peak memory over a run of n tasks that do nothing."""
    warm(contender)
    before = memory.own_peak()
    values = contender.many(jobs.noop, range(n))
    after = memory.own_peak()
    _check(values, list(range(n)))
    return {"bytes": (after - before) / n}


def storm(contender: Contender, n: int) -> Figures:
    """Tasks of 10 ms, undisturbed, and with a random child killed every half second."""
    warm(contender)
    begin = perf_counter()
    _check(contender.many(jobs.sleep_10_ms, range(n)), list(range(n)))
    calm = perf_counter() - begin
    with Storm(0.5) as weather:
        begin = perf_counter()
        values = contender.many(jobs.sleep_10_ms, range(n))
        seconds = perf_counter() - begin
    _check(values, list(range(n)))
    return {"seconds": seconds, "calm": calm, "hits": float(weather.hits)}


def brain(contender: Contender, n: int) -> Figures:
    """The brain example with its first n volumes; 0 for its quick look."""
    assert isinstance(contender, Ours)
    whole = import_module("pipeline").brain
    _warm_numpy(contender)
    with tempfile.TemporaryDirectory() as out:
        begin = perf_counter()
        contender.run(whole(out=Path(out), volumes=n or None, quick=not n))
        return {"seconds": perf_counter() - begin}


_BRAIN = Path(__file__).resolve().parents[1] / "examples" / "brain"

WORKLOADS: dict[str, Workload] = {
    "noop": Workload("{n:,} independent no-ops", [10_000, 100_000], [SECONDS, RATE], noop),
    "roundtrip": Workload(
        "round trip of one no-op in an open session, {n:,} times",
        [2_000],
        [Measure("p50", "p50", "time", ratio=True), Measure("p99", "p99", "time")],
        roundtrip,
    ),
    "tree": Workload("binary tree of {n:,} leaves", [4_096], [SECONDS], tree, is_graph=True),
    "chain": Workload("chain of {n:,}", [1_000], [SECONDS], chain, is_graph=True),
    "layers": Workload(
        "{n} layers of 50, three needs each", [100], [SECONDS], layers, is_graph=True
    ),
    "array": Workload(
        "float64 array of {n} MB made by one task, summed by eight",
        [256],
        [SECONDS, Measure("pss", "peak memory of all processes", "bytes")],
        array,
        is_graph=True,
        memory=True,
    ),
    "results": Workload("{n:,} results of 1 MB", [2_000], [SECONDS, RATE], results),
    "memory": Workload(
        "memory of the client per task, {n:,} no-ops",
        [100_000],
        [Measure("bytes", "per task", "bytes", ratio=True)],
        memory_per_task,
    ),
    "storm": Workload(
        "{n:,} tasks of 10 ms, a random child killed every 0.5 s",
        [2_000],
        [
            SECONDS,
            Measure("calm", "undisturbed", "time"),
            Measure("hits", "kills", "count"),
        ],
        storm,
        only_ours=True,
    ),
    "brain": Workload(
        "brain example, {n} volumes", [2], [SECONDS], brain, only_ours=True, folder=_BRAIN
    ),
}

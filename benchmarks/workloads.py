"""What is run.  Each workload checks its results: wrong ones are not measured."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks import jobs
from benchmarks.contenders import Contender, Node, Unable
from benchmarks.memory import PeakWatch, own_peak, processor_time
from benchmarks.ours import Ours
from benchmarks.storm import Storm

__all__ = ["WORKLOADS", "Measure", "Workload"]

Figures = dict[str, float]


@dataclass(frozen=True)
class Measure:
    """A column of a workload's table.

    Attributes:
        key: Its name in the figures that a run gives.
        title: Its heading.
        form: How a number is written: `time`, `rate` (n per second), `bytes`, `count`, `times`,
            `percent`.
    """

    key: str
    title: str
    form: str


SECONDS = Measure("seconds", "time", "time")
RATE = Measure("seconds", "tasks/s", "rate")
OVER = Measure("over", "over the ideal", "percent")


@dataclass(frozen=True)
class Workload:
    """Something to run.

    Attributes:
        title: What it is, with `{n}`.
        n: Its size.
        quick: Its size for a quick look.
        run: Runs it on an open contender; returns the figures.
        measures: What is reported of it; contenders are compared by the first.
        each_alike: Whether it takes as long for each of few tasks as of many.
        only_ours: Whether it is written for fancypipe, so that there are no peers.
        folder: Where its modules are, if they are not ours.
        rounds: How many times each contender runs it.
    """

    title: str
    n: int
    quick: int
    run: Callable[[Contender, int], Figures]
    measures: Sequence[Measure] = (SECONDS,)
    each_alike: bool = False
    only_ours: bool = False
    folder: Path | None = None
    rounds: int = 5


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


def noop_cpu(contender: Contender, n: int) -> Figures:
    """As `noop`, by the processor time of the client and its workers."""
    warm(contender)
    before, begin = processor_time(os.getpid()), perf_counter()
    values = contender.many(jobs.noop, range(n))
    after = processor_time(os.getpid())
    seconds = perf_counter() - begin
    _check(values, list(range(n)))
    if before is None or after is None:
        raise Unable("this platform does not tell what processor time other processes take")
    return {"cpu": after - before, "seconds": seconds}


def mapped(contender: Contender, n: int) -> Figures:
    """As `noop`, by one call for all, in any order."""
    warm(contender)
    _check(sorted(contender.map(jobs.noop, range(n // 10))), list(range(n // 10)))
    begin = perf_counter()
    values = contender.map(jobs.noop, range(n))
    seconds = perf_counter() - begin
    _check(sorted(values), list(range(n)))
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


def array_memory(contender: Contender, n: int) -> Figures:
    """The same, timed by nobody: how many times the array all processes' memory grows by."""
    with PeakWatch(os.getpid()) as watch:
        # What is there before the array is made, imports and all.
        _warm_numpy(contender)
        before = watch.begin()
        array(contender, n)
    if watch.peak is None or before is None:
        raise Unable("this platform does not tell how much memory processes share")
    return {"growth": (watch.peak - before) / (n * 1024 * 1024), "peak": float(watch.peak)}


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


def _over(contender: Contender, function: Callable[..., Any], args: Sequence[float]) -> Figures:
    """Run tasks that wait; compare with what nobody can be quicker than."""
    warm(contender)
    begin = perf_counter()
    values = contender.many(function, args)
    seconds = perf_counter() - begin
    _check(values, list(args))
    ideal = max(sum(args) / contender.workers, *args) + 2 * contender.delay
    return {"over": seconds / ideal - 1, "seconds": seconds}


def mixed(contender: Contender, n: int) -> Figures:
    """Tasks of which one in twenty takes half a second, and the others a millisecond."""
    long = n // 20
    seconds = [0.5] * long + [0.001] * (n - long)
    random.Random(1).shuffle(seconds)
    return _over(contender, jobs.sleep, seconds)


def sleeps(contender: Contender, n: int) -> Figures:
    """Tasks that wait 10 ms each."""
    return _over(contender, jobs.sleep, [0.01] * n)


def memory_per_task(contender: Contender, n: int) -> Figures:
    """Growth of the client's peak memory over a run of n tasks that do nothing."""
    warm(contender)
    before, begin = own_peak(), perf_counter()
    values = contender.many(jobs.noop, range(n))
    after = own_peak()
    seconds = perf_counter() - begin
    _check(values, list(range(n)))
    return {"bytes": (after - before) / n, "seconds": seconds}


def storm(contender: Contender, n: int) -> Figures:
    """Tasks of 10 ms, undisturbed, and with a random child killed every half second."""
    warm(contender)
    begin = perf_counter()
    _check(contender.many(jobs.sleep, [0.01] * n), [0.01] * n)
    calm = perf_counter() - begin
    with Storm(0.5) as weather:
        begin = perf_counter()
        values = contender.many(jobs.sleep, [0.01] * n)
        seconds = perf_counter() - begin
    _check(values, [0.01] * n)
    return {"seconds": seconds, "calm": calm, "hits": float(weather.hits)}


def start(contender: Contender, n: int) -> Figures:
    """A script that starts, runs one no-op and ends, and a bare interpreter, in turn."""
    took: dict[str, list[float]] = {"script": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.py"
        file.write_text(contender.program(), encoding="utf-8")
        commands = {"script": [sys.executable, str(file)], "bare": [sys.executable, "-c", "pass"]}
        subprocess.run(commands["script"], check=True)  # from here on its files are in memory
        for _ in range(n):
            for name, command in commands.items():
                begin = perf_counter()
                subprocess.run(command, check=True)
                took[name].append(perf_counter() - begin)
    script, bare = median(took["script"]), median(took["bare"])
    return {"over": script - bare, "seconds": script, "bare": bare}


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
    "noop": Workload(
        "{n:,} independent no-ops", 100_000, 5_000, noop, [SECONDS, RATE], each_alike=True, rounds=3
    ),
    "noop-cpu": Workload(
        "processor time of {n:,} independent no-ops, in all processes",
        100_000,
        5_000,
        noop_cpu,
        [Measure("cpu", "processor time", "time"), SECONDS],
        only_ours=True,
    ),
    "map": Workload(
        "{n:,} no-ops by one call", 100_000, 20_000, mapped, [SECONDS, RATE], each_alike=True
    ),
    "roundtrip": Workload(
        "round trip of one no-op in an open session, {n:,} times",
        1_000,
        200,
        roundtrip,
        [Measure("p50", "p50", "time"), Measure("p99", "p99", "time")],
    ),
    "tree": Workload("binary tree of {n:,} leaves", 4_096, 512, tree),
    "chain": Workload("chain of {n:,}", 1_000, 200, chain),
    "layers": Workload("{n} layers of 50, three needs each", 100, 10, layers),
    "array": Workload("float64 array of {n} MB made by one task, summed by eight", 256, 32, array),
    "array-memory": Workload(
        "growth of all processes' memory while {n} MB are made and summed by eight",
        256,
        32,
        array_memory,
        [
            Measure("growth", "growth, in arrays", "times"),
            Measure("peak", "peak of all processes", "bytes"),
        ],
        rounds=3,
    ),
    "results": Workload("{n:,} results of 1 MB", 2_000, 100, results, [SECONDS, RATE], rounds=3),
    "mixed": Workload(
        "{n} tasks: one in 20 of 0.5 s, the others of 1 ms", 200, 40, mixed, [OVER, SECONDS]
    ),
    "sleeps": Workload("{n} tasks of 10 ms", 400, 100, sleeps, [OVER, SECONDS]),
    "memory": Workload(
        "memory of the client per task, {n:,} no-ops",
        1_000_000,
        50_000,
        memory_per_task,
        [Measure("bytes", "per task", "bytes"), SECONDS],
        rounds=2,
    ),
    "start": Workload(
        "a whole process: start, one no-op, end; median of {n}",
        5,
        2,
        start,
        [
            Measure("over", "over bare Python", "time"),
            SECONDS,
            Measure("bare", "bare Python", "time"),
        ],
    ),
    "storm": Workload(
        "{n:,} tasks of 10 ms, a random child killed every 0.5 s",
        2_000,
        200,
        storm,
        [SECONDS, Measure("calm", "undisturbed", "time"), Measure("hits", "kills", "count")],
        only_ours=True,
    ),
    "brain": Workload(
        "brain example, {n} volumes (0: its quick look)", 2, 0, brain, only_ours=True, folder=_BRAIN
    ),
}

"""Where the time of a task that does nothing goes: `python -m benchmarks.profile_task`.

First each stage of a task's path is timed alone, on n tasks.  Then a real run is
made, and the processor time of client and workers is taken.  What the stages do
not explain is system calls, the garbage collector, and colder caches.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any, TypeVar

from benchmarks import jobs as functions
from benchmarks.table import markdown
from fancypipe_core import Session, task
from fancypipe_core import backend as contract
from fancypipe_core._codec.values import EncodedValues, LiveValues
from fancypipe_core._engine.driver import Driver
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.reader import Reader
from fancypipe_core._engine.report import Report
from fancypipe_core._engine.roots import gatherer
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core._wire.messages import (
    FromWorker,
    Jobs,
    Reports,
    ToWorker,
    decode_command,
    encode_report,
)
from fancypipe_core._worker.inline import InlineBackend
from fancypipe_core._worker.runner import Runner

T = TypeVar("T")

noop = task(functions.noop)
_AT_ONCE = 256  # jobs in a frame


class Stages:
    """Times stages, each with its place."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.seconds: dict[tuple[str, str], float] = {}

    def time(self, place: str, name: str, work: Callable[[], T]) -> T:
        """Do the work and keep how long it took."""
        with _no_collector():
            begin = perf_counter()
            result = work()
            self.seconds[place, name] = perf_counter() - begin
        return result

    def rest(self, place: str, name: str, whole: float, *parts: str) -> None:
        """Keep what is left of a whole when the stages with these names are taken away."""
        known = sum(
            s for (where, part), s in self.seconds.items() if where == place and part in parts
        )
        self.seconds[place, name] = whole - known


@contextmanager
def _no_collector() -> Iterator[None]:
    """Keep the garbage collector out: whom it hits is chance."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Echo:
    """A backend that answers each job at once with the same value."""

    def __init__(self, answer: contract.Ok) -> None:
        self._answer = answer
        self._sink: contract.Sink = print

    def start(self, sink: contract.Sink) -> None:
        """Report room for many."""
        self._sink = sink
        sink([contract.Slots(2, 4 * _AT_ONCE - 2)])

    def submit(self, jobs: Sequence[contract.Job]) -> None:
        """Answer."""
        self._sink([contract.Done(job.id, self._answer, 1e-6) for job in jobs])

    def cancel(self, ids: Sequence[contract.JobId]) -> None:
        """Nothing waits."""

    recall = cancel

    def stop(self, grace: float) -> None:
        """Nothing runs."""


def schedule(n: int) -> None:
    """Take n tasks through the scheduler alone."""
    machine = Scheduler()
    machine.handle(table.Room(2, 4 * _AT_ONCE - 2))
    actions = machine.handle(table.Demand([0]))
    while actions:
        following: list[table.Action] = []
        for action in actions:
            if isinstance(action, table.Grow):
                grown = [
                    table.GrownTask(number, () if number else range(1, n + 1), local=not number)
                    for number in action.tasks
                ]
                following += machine.handle(table.Grown(grown))
            elif isinstance(action, table.Submit):
                following += machine.handle(table.Returned(action.ids))
            elif isinstance(action, table.Compute):
                following += machine.handle(table.Returned([action.id]))
        actions = following
    assert machine.state(0) is table.State.DONE


def stages_of(backend: str, n: int, folder: str) -> Stages:
    """Time each stage of n tasks on a backend."""
    stages = Stages(n)
    live = backend != "procs"
    values = LiveValues() if live else EncodedValues()
    answer = contract.Ok(contract.Live(1)) if live else EncodedValues().pack_result(1).body
    reply = answer if isinstance(answer, contract.Ok) else contract.Ok(answer)
    driver = Driver(Echo(reply), values, Scheduler, Report(None, values.open), Keeper(folder))
    graph, reader = driver.graph, Reader(driver.graph, values)

    refs = stages.time("client", "make instances", lambda: [noop(i) for i in range(n)])
    root = graph.nodes[gatherer(graph, refs, None)]
    numbers = stages.time(
        "client", "find references, make nodes", lambda: list(graph.grow(root.id))
    )
    stages.time(
        "client", "grow: look at inputs", lambda: [graph.grow(number) for number in numbers]
    )
    made = stages.time(
        "client",
        "make jobs",
        lambda: [
            graph.job(graph.nodes[number], 1, contract.Live if live else None) for number in numbers
        ],
    )
    stages.time("client", "schedule", lambda: schedule(n))
    done = _worker(stages, made, live, folder)
    for event in done:
        assert isinstance(event, contract.Done)
        assert isinstance(event.reply, contract.Ok)
        outputs = event.reply.outputs
        graph.nodes[event.id[0]].value = outputs.value if live else outputs  # type: ignore[union-attr]
    gathered = stages.time("client", "open results", lambda: reader.gather(root))
    assert gathered == list(range(n))
    graph.clear()

    driver.start(1.0)
    refs = [noop(i) for i in range(n)]
    with _no_collector():
        begin = perf_counter()
        driver.run(refs, 0.0)
        whole = perf_counter() - begin
    inside = [
        name for place, name in stages.seconds if place == "client" and name != "make instances"
    ]
    stages.rest(
        "client",
        "take what came, settle, release",
        whole,
        *(name for name in inside if "frames" not in name),
    )
    return stages


def _worker(
    stages: Stages, made: Sequence[contract.Job], live: bool, folder: str
) -> Sequence[contract.Event]:
    """Time the way to the worker, the work, and the way back."""
    frames = []
    if not live:
        writer, reader = ToWorker(), FromWorker()
        parts = [made[at : at + _AT_ONCE] for at in range(0, len(made), _AT_ONCE)]
        frames = stages.time(
            "client", "write frames", lambda: [writer.jobs(part) for part in parts]
        )

        def read() -> list[contract.Job]:
            found: list[contract.Job] = []
            for frame in frames:
                command = decode_command(frame)
                assert isinstance(command, Jobs)
                found += reader.jobs(command, frame[1])
            return found

        made = stages.time("worker", "read frames", read)
    ended: list[contract.Event] = []
    backend = InlineBackend(Runner(folder, live=live))
    backend.start(ended.extend)
    backend.submit(made)

    def drive() -> None:
        while len(ended) < len(made):
            backend.drive(0)

    stages.time("worker", "run: decode, call, encode", drive)
    ended = [event for event in ended if isinstance(event, contract.Done)]
    if live:
        return ended
    parts_back = [ended[at : at + _AT_ONCE] for at in range(0, len(ended), _AT_ONCE)]
    frames = stages.time("worker", "write frames", lambda: [encode_report(p) for p in parts_back])
    reports = Reports()
    return stages.time(
        "client",
        "read frames",
        lambda: [event for frame in frames for event in reports.read(frame)],
    )


def real(backend: str, n: int, workers: int) -> dict[str, float]:
    """Run n tasks; return seconds of wall time and of processor time, by process."""
    idle = _children(backend, 0, workers)[1]
    figures, children = _children(backend, n, workers)
    figures["workers"] = max(children - idle, 0.0)
    return figures


def _children(backend: str, n: int, workers: int) -> tuple[dict[str, float], float]:
    before = _cpu(resource.RUSAGE_CHILDREN)
    with Session(backend, workers) as session:
        session.run([noop(i) for i in range(100)])
        own, begin = _cpu(resource.RUSAGE_SELF), perf_counter()
        session.run([noop(i) for i in range(n)])
        figures = {"wall": perf_counter() - begin, "client": _cpu(resource.RUSAGE_SELF) - own}
    return figures, _cpu(resource.RUSAGE_CHILDREN) - before


def _cpu(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile_task", description=__doc__)
    parser.add_argument("--backend", default="procs", choices=["procs", "threads", "serial"])
    parser.add_argument("--n", type=int, default=20_000, help="tasks; 20000 by default")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5, help="the median of so many; 5 by default")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = [
            stages_of(options.backend, options.n, folder).seconds for _ in range(options.repeat)
        ]
    runs = [real(options.backend, options.n, options.workers) for _ in range(options.repeat)]

    def each(seconds: Sequence[float]) -> float:
        return median(seconds) / float(options.n) * 1e6

    rows: list[Sequence[str]] = []
    sums: dict[str, float] = {}
    for place in ("client", "worker"):
        for where, name in found[0]:
            if where == place:
                took = each([one[where, name] for one in found])
                sums[place] = sums.get(place, 0.0) + took
                rows.append([name, place, f"{took:.2f}"])
    for place, took in sums.items():
        rows.append([f"**all stages in the {place}**", place, f"**{took:.2f}**"])
    print(f"{options.backend}, {options.n:,} no-ops, µs per task, median of {options.repeat}\n")
    print(markdown(["stage alone", "where", "µs"], rows))
    usage: list[Sequence[Any]] = [
        ["wall time", f"{each([run['wall'] for run in runs]):.2f}"],
        ["processor time of the client", f"{each([run['client'] for run in runs]):.2f}"],
        ["processor time of the children", f"{each([run['workers'] for run in runs]):.2f}"],
    ]
    print(f"\n{markdown(['real run, ' + str(options.workers) + ' workers', 'µs'], usage)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What it costs to decide who runs a job: `python -m benchmarks.dispatch`.

Processor time for each job, in the pool machine and in what the threads do instead of
it.  Nothing runs: workers answer at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from time import process_time
from typing import Any, cast

from benchmarks.table import markdown
from fancypipe_core.backend import (
    BackendOptions,
    Call,
    Done,
    Event,
    Job,
    JobRunner,
    Live,
    Ok,
)
from fancypipe_core.toolkit.pool import Pool, Rules
from fancypipe_core.toolkit.pool import states as to
from fancypipe_threads._pool import ThreadsBackend

_JOBS = 5000
_ROUNDS = 6  # of which the quickest counts
_CALL = Call("task", Live(None))
_OK = Ok(Live(None))
_attempts = count(1)


def _jobs() -> list[Job]:
    attempt = next(_attempts)
    return [Job((number, attempt), _CALL, Live(((), {}, None))) for number in range(_JOBS)]


def machine(workers: int, together: int, seconds: float) -> float:
    """Return the seconds for a job in the machine.

    Args:
        workers: How many there are.
        together: How many jobs a worker reports at once.
        seconds: How long each is said to have taken.
    """
    pool = Pool(Rules(workers), 0.0)
    sent: dict[int, deque[Job]] = {}
    now = spent = 0.0

    def timed(call: Callable[[Any, float], list[to.Action]], told: Any) -> None:
        nonlocal spent
        begin = process_time()
        actions = call(told, now)
        spent += process_time() - begin
        started: list[to.Event] = []
        for action in actions:
            if isinstance(action, to.Start):
                started.append(to.Up(action.worker))
            elif isinstance(action, to.Send):
                sent.setdefault(action.worker, deque()).extend(action.jobs)
        if started:
            timed(pool.handle, started)

    rounds = []
    for _ in range(_ROUNDS):
        spent, left = 0.0, _JOBS
        timed(pool.ask, to.Submit(_jobs()))
        while left:
            now += seconds * together
            events: list[to.Event] = []
            for worker, queue in sent.items():
                ended = [queue.popleft() for _ in range(min(together, len(queue)))]
                left -= len(ended)
                if ended:
                    events.append(to.Ended(worker, [Done(job.id, _OK, seconds) for job in ended]))
            timed(pool.handle, events)
        rounds.append(spent)
    return min(rounds) / _JOBS


class _Idler:
    """A runner that runs nothing."""

    out_of_memory = False

    def connect(self, _sink: Any) -> None: ...
    def enter(self) -> None: ...
    def leave(self, _token: Any) -> None: ...
    def tell(self, _notes: Any) -> None: ...
    def run(self, job: Job) -> Done:
        return Done(job.id, _OK, 1e-5)


def threads() -> float:
    """Return the seconds for a job in the threads' queue and reports."""
    rounds = []
    for _ in range(_ROUNDS):
        over = threading.Event()
        seen = 0

        def hear(events: Sequence[Event]) -> None:
            nonlocal seen
            seen += sum(type(event) is Done for event in events)
            if seen >= _JOBS:
                over.set()  # noqa: B023 - of this round

        backend = ThreadsBackend(BackendOptions(1, "", lambda: cast(JobRunner, _Idler())))
        backend.start(hear)
        jobs = _jobs()
        begin = process_time()
        backend.submit(jobs)
        over.wait(60)
        rounds.append(process_time() - begin)
        backend.stop(1.0)
    return min(rounds) / _JOBS


def main() -> None:
    """Measure, and show a table."""
    figures = {
        "machine, 2 workers, 64 short jobs in a report": machine(2, 64, 1e-5),
        "machine, 2 workers, each job reported alone": machine(2, 1, 1e-5),
        "machine, 2 workers, long jobs": machine(2, 1, 0.05),
        "machine, 8 workers, long jobs": machine(8, 1, 0.05),
        "threads: their own queue and reports, with the record of the result": threads(),
    }
    rows = [[name, f"{seconds * 1e6:.1f} µs"] for name, seconds in figures.items()]
    print(markdown(["what", "processor time for a job"], rows))


if __name__ == "__main__":
    main()

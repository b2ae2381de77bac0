"""Many tasks in one session: what is held does not grow.

`FANCYPIPE_SOAK=600 pytest tests/conformance/test_soak.py` goes on for ten
minutes for each backend.  What grows is looked for between two moments, both
long after the start, when all that is kept for later use is there.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Session, current, errors, task
from fancypipe_core._engine.graph import Graph

SECONDS = float(os.environ.get("FANCYPIPE_SOAK", "0"))
ROUND = 200  # tasks, and a few more
ROUNDS = 5  # between two looks
PAYLOAD = 16 * 1024  # bytes

Held = dict[str, int]


def held() -> Held:
    """Count what this process holds.  Blocks are all small objects, also those without cycles."""
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return {
        "blocks": sys.getallocatedblocks(),
        "objects": len(gc.get_objects()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
    }


@task
def held_there() -> Held:
    return held()


@task
def numbers(size: int, seed: int) -> Any:
    return np.full(size, seed, dtype=np.uint8)


@task
def total(arrays: list[Any], factor: Any = 1) -> int:
    return int(factor * sum(int(array.sum()) for array in arrays))


@task
def blob(seed: int) -> bytes:
    return bytes([seed % 256]) * PAYLOAD


@task
def size_of(data: bytes) -> int:
    return len(data)


@task
def grows(n: int) -> Any:
    """A sub-graph, a file and a wait inside."""
    path = current().tempfile()
    path.write_text("x" * n)
    return length(path) + length(path).result() if n % 10 == 0 else length(path)


@task
def length(path: Path) -> int:
    return int(path.stat().st_size)


@task(retries=1)
def fails(n: int) -> None:
    try:
        os.environ[f"NO_SUCH_{n}"]
    except KeyError as error:
        raise ValueError(n) from error


@task
def prints(n: int) -> None:
    print(f"number {n}")  # noqa: T201


class Marked(list[int]):
    """Can be found."""


@task
def fails_with(value: Any) -> None:
    raise ValueError(len(value))


_leak: list[Any] = []


@task
def leaks(n: int) -> int:
    _leak.append(f"{n} is kept")
    return n


def a_round(session: Session, more: Callable[[int], Any] | None = None) -> int:
    """Run a mixture of tasks; return how many."""
    sums = [total([numbers(PAYLOAD, i), numbers(100, 1)], 2) for i in range(30)]
    sizes = [size_of(blob(i)) for i in range(30)]
    files = [grows(i) for i in range(20)]
    others = [prints(i) for i in range(2)]
    extra = [more(i) for i in range(ROUND)] if more is not None else []
    session.run([sums, sizes, files, others, extra])
    for n in range(3):
        with pytest.raises(ValueError, match=r"task fails \(n=\d+\) failed on attempt 2"):
            session.run([fails(n), size_of(blob(n))])
    return ROUND


def growth(session: Session, more: Callable[[int], Any] | None = None) -> dict[str, Held]:
    """Return what client and worker hold more after the last rounds than before them."""

    def look() -> dict[str, Held]:
        return {"client": held(), "worker": session.run(held_there())}

    until = time.monotonic() + SECONDS / 2
    rounds = 0
    while rounds < ROUNDS or time.monotonic() < until:
        a_round(session, more)
        rounds += 1
    look()
    before = look()
    for _ in range(rounds):
        a_round(session, more)
    after = look()
    tasks = {"tasks": rounds * ROUND}
    return {
        who: {name: count - before[who][name] for name, count in after[who].items()} | tasks
        for who in after
    }


def too_much(grown: dict[str, Held]) -> dict[str, int]:
    """Return what has grown by more than chance: much less than one object for each task."""
    found: dict[str, int] = {}
    for who, more in grown.items():
        limits = {
            "blocks": more["tasks"] // 2,
            "objects": more["tasks"] // 2,
            "descriptors": 0,
            "threads": 0,
            "memory": max(more["tasks"] * PAYLOAD // 16, 4_000_000),
        }
        found |= {f"{who}: {name}": more[name] for name in limits if more[name] > limits[name]}
    return found


pytestmark = [
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into /proc"),
    # It may go on for long; the watchdog of the other tests is not for this one.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.mark.fault(78)
@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_nothing_grows(backend: str, tmp_path: Path) -> None:
    with Session(backend, 1, tempdir=str(tmp_path)) as session:
        assert too_much(growth(session)) == {}
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("backend", "who"), [("threads", "client"), ("procs", "worker")])
def test_one_object_for_each_task_is_found(backend: str, who: str) -> None:
    with Session(backend, 1) as session:
        found = too_much(growth(session, leaks))
    _leak.clear()
    assert f"{who}: blocks" in found


def test_nodes_that_are_kept_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of the engine that keeps values: one object per task, and its memory."""
    kept: list[Any] = []
    release = Graph.release

    def bad(graph: Graph, numbers: Any) -> None:
        numbers = list(numbers)
        kept.extend(graph.nodes[n].value for n in numbers if n in graph.nodes)
        release(graph, numbers)

    monkeypatch.setattr(Graph, "release", bad)
    with Session("procs", 1) as session:
        found = too_much(growth(session))
    assert "client: blocks" in found


@pytest.mark.fault(78)
@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_a_failure_keeps_nothing_alive(backend: str) -> None:
    """What its frames hold goes with the error."""
    with Session(backend, 1) as session:
        for n in range(3):
            with pytest.raises(errors.TaskError):
                session.run(fails_with(Marked([n])))
        with pytest.raises(errors.RunFailed), Session(backend, 1, keep_going=True) as other:
            other.run([fails_with(Marked([3])), fails_with(Marked([4]))])
        gc.collect()
        assert [one for one in gc.get_objects() if type(one) is Marked] == []

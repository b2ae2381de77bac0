"""Every workload runs at a tiny size on every backend, and finds a wrong result."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.contenders import Contender
from benchmarks.jobs import noop
from benchmarks.peers import ALL
from benchmarks.targets import LINES
from benchmarks.workloads import WORKLOADS
from fancypipe_core import task

TINY = {"array": 2, "array-memory": 2, "layers": 2, "memory": 200, "start": 1, "storm": 60}
SIZES = {name: TINY.get(name, 20) for name in WORKLOADS if name != "brain"}  # that has its own
RUN = set(SIZES) - {"storm"} - (set() if hasattr(task(noop), "map") else {"map"})


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["serial", "threads", "procs", "remote"])
def test_each_workload_gives_what_its_table_shows(backend: str) -> None:
    contender = ALL[backend].make(2)
    contender.open()
    try:
        for name in RUN:
            workload = WORKLOADS[name]
            figures = workload.run(contender, SIZES[name])
            assert {measure.key for measure in workload.measures} <= set(figures), name
    finally:
        contender.close()


def test_the_storm_passes() -> None:
    made = ALL["procs"].make(2)
    made.open()
    try:
        assert WORKLOADS["storm"].run(made, SIZES["storm"])["seconds"] > 0
    finally:
        made.close()


@pytest.mark.parametrize("name", ["inline", "ThreadPoolExecutor", "Pool", "manager queue"])
def test_peers_of_the_standard_library_give_the_same(name: str) -> None:
    made = ALL[name].make(2)
    made.open()
    try:
        for workload in ("noop", "tree") if not ALL[name].only else ("noop", "roundtrip"):
            WORKLOADS[workload].run(made, SIZES[workload])
    finally:
        made.close()


class Wrong(Contender):
    """All that it says is wrong."""

    def one(self, function: Any, arg: Any) -> Any:
        return None

    def many(self, function: Any, args: Any) -> list[Any]:
        return [None for _ in args]

    map = many

    def graph(self, nodes: Any, wanted: Any) -> list[Any]:
        return [-1 for _ in wanted]


@pytest.mark.parametrize("name", sorted(set(SIZES) - {"start"}))
def test_a_wrong_result_is_no_figure(name: str) -> None:
    with pytest.raises((AssertionError, TypeError)):
        WORKLOADS[name].run(Wrong(2), SIZES[name])


class Warm(Wrong):
    """Right until it is warm, and wrong from then on."""

    def __init__(self) -> None:
        super().__init__(2)
        self.warm: set[str] = set()

    def many(self, function: Any, args: Any) -> list[Any]:
        return self._answer("many", args)

    def map(self, function: Any, args: Any) -> list[Any]:
        return self._answer("map", args)

    def _answer(self, asked: str, args: Any) -> list[Any]:
        right = asked not in self.warm
        self.warm.add(asked)
        return list(args) if right else [-1 for _ in args]


@pytest.mark.parametrize(
    "name", ["noop", "map", "roundtrip", "tree", "chain", "layers", "mixed", "sleeps", "memory"]
)
def test_a_wrong_result_of_what_is_timed_is_no_figure(name: str) -> None:
    with pytest.raises((AssertionError, TypeError)):
        WORKLOADS[name].run(Warm(), SIZES[name])


def test_targets_name_what_there_is() -> None:
    for line in LINES:
        assert line.workload in WORKLOADS
        assert ALL[line.ours].ours
        assert not line.peer or line.peer in ALL
        must, goal = (line.must, line.goal) if line.kind == "rate" else (line.goal, line.must)
        assert must < goal, f"the goal of {line} is easier than what must be"

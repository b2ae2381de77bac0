"""The graph: one node for an instance, as long as somebody needs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fancypipe_core import task
from fancypipe_core._codec.values import LiveValues
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.machine import states
from fancypipe_core._engine.machine.scheduler import Scheduler


@task
def nothing() -> None:
    pass


@pytest.fixture(params=["marks", "looks up"])
def graph(request: pytest.FixtureRequest) -> Iterator[Graph]:
    """A graph that marks instances with their nodes, and one that may not."""
    first, second = Graph(LiveValues()), Graph(LiveValues())
    first.begin()
    second.begin()
    yield first if request.param == "marks" else second
    first.clear()
    second.clear()


def test_an_instance_has_one_node_in_each_run() -> None:
    one, other, instance = Graph(LiveValues()), Graph(LiveValues()), nothing()
    numbers = set()
    for graph in (one, other):
        graph.begin()
        numbers.add(id(graph.nodes[graph.number(instance, None)]))
        assert graph.number(instance, None) == graph.number(instance, None)
    assert len(numbers) == 2
    for graph in (one, other):
        graph.clear()
    assert instance._node is None


def test_a_released_node_is_nobodys(graph: Graph) -> None:
    instance = nothing()
    number = graph.number(instance, None)
    graph.release([number])
    assert number not in graph.nodes
    assert graph.number(instance, None) != number


def test_a_node_that_is_about_to_be_released_is_not_given_out(graph: Graph) -> None:
    """Reports are taken between the scheduler's answer and what is done about it."""
    machine = Scheduler(make=graph.nodes.__getitem__)
    instance = nothing()
    number = graph.number(instance, None)

    def told(event: states.Event) -> dict[type, Any]:
        return {type(action): action for action in machine.handle(event)}

    told(states.Room(1, 0))
    told(states.Demand([number]))
    told(states.Returned([(number, 1)]))
    released = told(states.Drop([number]))[states.Release]
    another = graph.number(instance, None)
    assert another != number
    graph.release(released.tasks)
    assert graph.number(instance, None) == another
    told(states.Demand([another]))
    assert machine.state(another) is states.State.RUNNING

"""Paths of many tasks are those of each, and cost no more the deeper the tasks lie."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fancypipe_core._engine.node import Node
from fancypipe_core._model.options import Options
from fancypipe_core._plugins.paths import Paths

asked = [0]


class Made(Node):
    """A node that counts how often it is asked who made it."""

    __slots__ = ("maker",)

    @property
    def name(self) -> str:
        return f"task{self.id % 7}"

    @property
    def parent(self) -> Any:
        asked[0] += 1
        return self.maker

    @parent.setter
    def parent(self, maker: Any) -> None:
        self.maker = maker


def made(number: int, parent: Node | None, ordinal: int = 1) -> Made:
    return Made(number, parent, ordinal, None, Options(), False)


def test_they_are_those_of_the_nodes() -> None:
    draw = random.Random(3)
    nodes: list[Made] = []
    for number in range(1, 3001):
        deep = draw.random() < 0.9  # so some lie hundreds of levels deep
        parent = None if not nodes else nodes[-1] if deep else draw.choice(nodes)
        nodes.append(made(number, parent, draw.randint(1, 3)))
    paths = Paths()
    draw.shuffle(nodes)
    for node in [*nodes, *nodes[:100]]:
        assert paths.of(node) == node.path
    assert max(node.path.count("/") for node in nodes) == 12
    assert any("..." in node.path for node in nodes)


@pytest.mark.parametrize("order", ["up", "down", "anyhow"])
def test_the_deepest_cost_what_others_do(order: str) -> None:
    nodes: list[Made] = []
    for number in range(1, 5001):
        nodes.append(made(number, nodes[-1] if nodes else None))
    if order != "down":
        nodes.reverse()
    if order == "anyhow":
        random.Random(3).shuffle(nodes)
    paths = Paths()
    asked[0] = 0
    for node in nodes:
        paths.of(node)
    assert asked[0] < 60 * len(nodes), "half as many again as levels between two that are known"

"""A graph that grows without end is told of, and ends before memory does."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from fancypipe_core import Session, errors, task
from fancypipe_core._engine import growth

BACKENDS = ("serial", "threads", "procs")


@task
def again(n: int) -> Any:
    return again(n + 1)


@task
def down(n: int) -> Any:
    return down(n - 1) if n else "bottom"


@task
def same(n: int) -> int:
    return n


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Graphs are large with a few hundred tasks; there is a gigabyte, and most of it is left."""
    monkeypatch.setattr(growth, "_FIRST", 300)
    monkeypatch.setattr(growth, "_STEP", 100)
    monkeypatch.setattr(growth, "_DEEP", 500)
    memory(monkeypatch, 1 << 30, 900 << 20, 60 << 20)
    return monkeypatch


def memory(monkeypatch: pytest.MonkeyPatch, total: int | None, left: int, own: int) -> None:
    """There is so much; and what this process takes grows by 10 MB between two looks."""
    takes = itertools.count(own, 10 << 20)
    monkeypatch.setattr(growth, "total_memory", lambda: total)
    monkeypatch.setattr(growth, "free_memory", lambda: left)
    monkeypatch.setattr(growth, "memory_of_this_process", lambda: next(takes) if own else 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_recursion_without_end_ends_before_memory_does(
    small: pytest.MonkeyPatch, backend: str
) -> None:
    memory(small, 1 << 30, 38 << 20, 900 << 20)
    with Session(backend, 2, debug=True) as session:
        with pytest.raises(errors.GraphError) as caught:
            session.run(again(0))
        assert session.run(same(3)) == 3
    said = str(caught.value)
    assert said.startswith("the graph has grown to 40")
    assert "; the newest is again/again/again/again/again/again/..." in said
    assert "test_growth.py:" in said
    assert "levels deep, as tasks make tasks that make tasks. This process takes 954.2 MB" in said
    assert "of the 1.1 GB of memory that there are, and 39.8 MB are left: the run ends" in said


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_deep_one_is_told_of_once_and_goes_on(
    small: pytest.MonkeyPatch, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Session(backend, 2) as session:
        assert session.run(down(900)) == "bottom"
        said = capfd.readouterr().err
        assert said.count("fancypipe: ") == 1
        assert ". If it never ends, end it by hand (Ctrl-C)" in said
        assert session.run(down(400)) == "bottom"
        assert session.run([same(n) for n in range(900)]) == list(range(900))
    assert "by hand" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("total", "left", "own"),
    [
        (1 << 30, 10 << 20, 400 << 20),  # others take it
        (1 << 30, 41 << 20, 900 << 20),  # as much is left as some steps take
        (None, 10 << 20, 900 << 20),  # nobody knows
        (1 << 30, 10 << 20, 0),
    ],
)
def test_it_goes_on_as_long_as_there_is_memory_or_it_is_not_ours(
    small: pytest.MonkeyPatch, total: int | None, left: int, own: int
) -> None:
    memory(small, total, left, own)
    with Session("serial") as session:
        assert session.run(down(450)) == "bottom"


def test_it_is_looked_at_seldom(small: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    look = growth.Growth.look

    def counting(self: growth.Growth, nodes: Any) -> None:
        looked.append(len(nodes))
        look(self, nodes)

    small.setattr(growth.Growth, "look", counting)
    with Session("serial") as session:
        session.run(down(250))
        assert not looked
        session.run(down(950))
    assert 5 <= len(looked) <= 7

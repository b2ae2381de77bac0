"""Large values in one process: written once, mapped by each task, and copied for nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from fancypipe_core import Session, task
from fancypipe_core._base import private_mapping, shared_memory
from fancypipe_core._base.shared_memory import memory_descriptors

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="there is no such memory on this system"
)
np: Any = pytest.importorskip("numpy")

COUNT = 5 << 20  # numbers of 8 bytes: 40 MiB


@pytest.fixture(params=["serial", "threads"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    before = memory_descriptors()
    with Session(request.param, workers=4) as opened:
        yield opened
    del opened
    assert memory_descriptors() == before


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many buffers were written each time."""
    made: list[int] = []
    put = shared_memory.put

    def noted(pieces: Any, *more: Any) -> Any:
        made.append(len(pieces))
        return put(pieces, *more)

    monkeypatch.setattr(shared_memory, "put", noted)
    return made


@task
def ones() -> Any:
    return np.ones(COUNT, dtype=np.int64)


@task
def total(array: Any, number: int) -> int:
    return int(array.sum()) + number


@task
def spoilt(array: Any, number: int) -> int:
    """Write over the input in two steps, between which others run; return what it was."""
    before = int(array[::2].sum())
    array[::2] = number
    before += int(array[1::2].sum())
    array[:] = -1
    return before


@task
def same(value: Any) -> Any:
    return value


def test_each_task_has_its_own(session: Session, puts: list[int]) -> None:
    array = ones()
    found = session.run([spoilt(array, n) for n in range(8)], [total(array, n) for n in range(8)])
    assert found == ([COUNT] * 8, [COUNT + n for n in range(8)])
    assert puts == [1]


def test_what_is_given_is_as_it_was(session: Session, puts: list[int]) -> None:
    mine = np.ones(COUNT, dtype=np.int64)
    assert session.run([spoilt(mine, n) for n in range(8)]) == [COUNT] * 8
    assert puts == [1]
    assert mine.sum() == COUNT
    mine[:] = 2
    assert session.run(total(mine, 0)) == 2 * COUNT


def test_the_caller_gets_an_array_of_his_own(session: Session) -> None:
    array = ones()
    one, other = session.run(same(array), array)
    assert one.flags.writeable
    one[:] = 5
    assert other.sum() == COUNT


def test_what_cannot_be_written_to_is_handed_on_as_it_is(session: Session, puts: list[int]) -> None:
    mine = np.ones(COUNT, dtype=np.int64)
    mine.flags.writeable = False
    assert session.run([total(mine, n) for n in range(3)]) == [COUNT + n for n in range(3)]
    assert puts == []


def test_one_after_the_other_is_given_the_same_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    kind = private_mapping.PrivateMapping

    def noted(*given: int) -> Any:
        made.append(given)
        return kind(*given)

    monkeypatch.setattr(private_mapping, "PrivateMapping", noted)
    with Session("serial") as session:
        array = ones()
        assert session.run([total(array, n) for n in range(8)]) == [COUNT + n for n in range(8)]
        assert len(made) == 1

"""The generator of `random`, lent to the calls of a run and given back."""

from __future__ import annotations

import os
import random

import pytest

from fancypipe_core._base.random_state import Generator, generators


@pytest.fixture
def generator() -> Generator:
    return generators()[0]


def _lend(generator: Generator, draws: int) -> list[float]:
    """Return what is drawn while the generator is lent."""
    give_back = generator.save()
    generator.renew()
    drawn = [random.random() for _ in range(draws)]
    give_back()
    return drawn


@pytest.mark.parametrize("draws", [0, 3, 2000])
def test_the_caller_finds_the_state_that_was_there(generator: Generator, draws: int) -> None:
    random.seed(1)
    random.gauss(0, 1)  # it keeps a second number for the next call
    before = random.getstate()
    for _ in range(3):
        _lend(generator, draws)
        assert random.getstate() == before


def test_no_number_is_drawn_twice(generator: Generator) -> None:
    drawn = [number for _ in range(20) for number in _lend(generator, 100)]
    assert len(set(drawn)) == len(drawn)


def test_who_seeds_while_it_is_lent_leaves_nothing_to_the_next(generator: Generator) -> None:
    give_back = generator.save()
    generator.renew()
    random.seed(7)
    wanted = random.random()
    give_back()
    assert wanted not in _lend(generator, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_draws_other_numbers_than_its_parent(generator: Generator) -> None:
    _lend(generator, 1)  # the next goes on from here
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, repr(_lend(generator, 5)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        theirs = file.read()
    os.waitpid(pid, 0)
    assert theirs != repr(_lend(generator, 5))

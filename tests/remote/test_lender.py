"""What a worker lends to its host processes: as stories, and against a model.

The model finds each of these when it is planted (`BUGS`).
"""

from __future__ import annotations

from importlib import util
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancypipe_core.backend import Equipment
from fancypipe_remote._protocol import lender as _lender
from fancypipe_remote._protocol.lender import Grant, Lender

THERE = Equipment(8, 100, ("4", "7", "9"))
A, B, C = "a", "b", "c"


def lender(*devices: str, memory: int = 100) -> Lender[str]:
    return Lender(Equipment(4, memory, devices))


def test_two_clients_never_have_the_same_device() -> None:
    made = lender("4", "7")
    assert made.claim(A, 1, 0, 1) == [Grant(A, 1, ("4",))]
    assert made.claim(B, 1, 0, 1) == [Grant(B, 1, ("7",))]
    assert made.claim(B, 2, 0, 1) == []
    assert made.give_back(A, 1) == [Grant(B, 2, ("4",))]


def test_who_comes_first_is_served_first() -> None:
    made = lender("4", "7")
    made.claim(A, 1, 0, 1)
    made.claim(B, 1, 0, 2)
    assert made.claim(A, 2, 0, 1) == [], "what is free is kept for the oldest"
    assert made.give_back(A, 1) == [Grant(B, 1, ("4", "7"))]
    assert made.give_back(B, 1) == [Grant(A, 2, ("4",))]


def test_a_younger_one_passes_that_takes_nothing_of_what_is_kept() -> None:
    made = lender("4")
    made.claim(A, 1, 0, 1)
    made.claim(B, 1, 30, 1)
    assert made.claim(C, 1, 80, 0) == [], "30 of the memory are kept"
    assert made.claim(C, 2, 70, 0) == [Grant(C, 2, ())]


def test_what_there_is_not_so_much_of_is_given_as_a_whole() -> None:
    made = lender("4", memory=100)
    assert made.claim(A, 1, 500, 3) == [Grant(A, 1, ("4",))]
    assert made.lent.memory == 100


def test_memory_that_nobody_knows_is_not_counted() -> None:
    made = lender(memory=0)
    assert made.claim(A, 1, 10**12, 0)
    assert made.claim(B, 1, 10**12, 0)


def test_what_a_host_process_had_is_free_only_when_all_of_it_is_dead() -> None:
    made = lender("4")
    made.claim(A, 1, 0, 1)
    made.claim(A, 2, 0, 1)
    made.claim(B, 1, 0, 1)
    assert made.hung_up(A) == []
    assert made.has(A)
    assert made.died(A) == [Grant(B, 1, ("4",))]
    assert not made.has(A)


def test_who_waits_can_be_told_who_has_it() -> None:
    made = lender("4", "7")
    made.claim(A, 1, 0, 1)
    made.claim(C, 1, 50, 0)
    made.claim(B, 1, 0, 2)
    assert list(made.waiting) == [(B, 1)]
    assert made.holders(B, 1) == [A]


class Want(NamedTuple):
    memory: int
    gpu: int


class World:
    """Host processes that claim, give back, hang up and die at any time."""

    def __init__(self, seed: int, module: ModuleType = _lender) -> None:
        self.random = Random(seed)
        self.made: Any = module.Lender(THERE)
        self.waits: dict[tuple[str, int], Want] = {}
        self.has: dict[tuple[str, int], tuple[Want, tuple[str, ...]]] = {}
        self.gone: set[str] = set()  # they have hung up, and are not dead
        self.hosts = [A, B, C]
        self.number = 0

    def step(self) -> None:
        host = self.random.choice(self.hosts)
        kinds = ["claim"] * 4 + ["back"] * 3 + ["repeat", "stranger", "hang up", "die"]
        kind = self.random.choice(kinds)
        if kind == "claim" and host not in self.gone:
            self.number += 1
            want = Want(
                self.random.choice((0, 0, 30, 60, 100, 200)), self.random.choice((0, 1, 2, 5))
            )
            self.waits[host, self.number] = Want(min(want.memory, 100), min(want.gpu, 3))
            self.hear(self.made.claim(host, self.number, *want))
        elif kind == "back" and (self.has or self.waits):
            self.give_back(self.random.choice([*self.has, *self.waits]))
        elif kind == "repeat" and self.has:
            key = self.random.choice(list(self.has))
            self.hear(self.made.claim(*key, *self.has[key][0]))
        elif kind == "stranger":
            self.hear(self.made.give_back(host, 10**6))
        elif kind == "hang up":
            self.gone.add(host)
            self.waits = {key: want for key, want in self.waits.items() if key[0] != host}
            self.hear(self.made.hung_up(host))
        elif kind == "die":
            self.waits = {key: want for key, want in self.waits.items() if key[0] != host}
            self.has = {key: lent for key, lent in self.has.items() if key[0] != host}
            self.gone.discard(host)
            self.hear(self.made.died(host))
        self.look()

    def give_back(self, key: tuple[str, int]) -> None:
        self.has.pop(key, None)
        self.waits.pop(key, None)
        self.hear(self.made.give_back(*key))

    def hear(self, grants: list[Any]) -> None:
        """Hold what is granted against what must be: in this order, and no other."""
        kept: Want | None = None
        due = []
        memory = 100 - sum(want.memory for want, _ in self.has.values())
        gpu = 3 - sum(want.gpu for want, _ in self.has.values())
        for key, want in list(self.waits.items()):
            lacks_memory = want.memory and want.memory + (kept.memory if kept else 0) > memory
            if lacks_memory or (want.gpu and want.gpu + (kept.gpu if kept else 0) > gpu):
                kept = kept or want
                continue
            due.append(key)
            memory -= want.memory
            gpu -= want.gpu
        assert [(grant.host, grant.number) for grant in grants] == due
        for grant in grants:
            assert grant.host not in self.gone, "it has hung up"
            key = grant.host, grant.number
            taken = {name for _, names in self.has.values() for name in names}
            assert not taken & set(grant.devices), "a device is lent twice"
            assert len(set(grant.devices)) == self.waits[key].gpu
            self.has[key] = self.waits.pop(key), grant.devices

    def look(self) -> None:
        self.made.check()
        assert list(self.made.waiting) == list(self.waits)
        assert self.made.lent[1:] == (
            sum(want.memory for want, _ in self.has.values()),
            sum(want.gpu for want, _ in self.has.values()),
        )
        for host in self.hosts:
            assert self.made.has(host) == any(key[0] == host for key in self.has)

    def end(self) -> None:
        """When all give back what they have, all who wait get what they want."""
        for _ in range(len(self.has) + len(self.waits)):
            if self.has:
                self.give_back(next(iter(self.has)))
        assert not self.waits, "they wait for ever"


def play(seed: int, module: ModuleType = _lender) -> None:
    world = World(seed, module)
    for _ in range(60):
        world.step()
    world.end()


def play_all(module: ModuleType) -> None:
    for seed in range(300):
        play(seed, module)


@given(st.integers(0, 2**32))
@settings(deadline=None)
def test_against_the_model(seed: int) -> None:
    play(seed)


BUGS = {
    "the youngest is served first": (
        "in list(self._waiting.items()):",
        "in reversed(list(self._waiting.items())):",
    ),
    "nothing is kept for the oldest": ("account.kept = needs\n", "account.kept = None\n"),
    "what is kept stays so": ("        account.kept = None\n        for", "        for"),
    "what was claimed stays claimed": ("        self._waiting.pop((host, number), None)\n", ""),
    "what was given back stays lent": ("        self._account.end((host, number))\n", ""),
    "what was given back is kept from others": (
        "        self._account.end((host, number))\n        return self._grant()",
        "        self._account.end((host, number))\n        return []",
    ),
    "who has hung up is granted what it waited for": (
        "            del self._waiting[key]\n        return self._grant()",
        "            pass\n        return self._grant()",
    ),
    "what the dead had stays theirs": (
        "            self._account.end(key)\n",
        "            pass\n",
    ),
    "what waits for others is taken for what it has": (
        "        for key in [key for key in self._waiting if key[0] == host]:\n",
        "        for key in [key for key in self._account.promises if key[0] == host]:\n",
    ),
    "more is claimed than there is": (
        "self._account.within(Needs(0, memory, gpu))",
        "Needs(0, memory, gpu)",
    ),
    "a claim that comes twice counts twice": (
        "if key not in self._account.promises and key not in self._waiting:",
        "if True:",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_found(bug: str) -> None:
    old, new = BUGS[bug]
    source = Path(str(_lender.__file__)).read_text("utf-8")
    assert source.count(old) == 1, f"{source.count(old)} times:\n{old}"
    spec = util.spec_from_loader("lender_changed", None)
    assert spec is not None
    module = util.module_from_spec(spec)
    exec(compile(source.replace(old, new), "<lender, changed>", "exec"), module.__dict__)
    with pytest.raises((AssertionError, LookupError)):
        play_all(module)

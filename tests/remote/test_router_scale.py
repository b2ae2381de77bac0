"""A manager with many clients and workers: the shares of the plain rule, for little work."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancypipe_remote._protocol import fair_share, messages, parties, router
from fancypipe_remote._protocol.endpoint import ClientSide
from fancypipe_remote._protocol.fair_share import fair, shares
from fancypipe_remote._protocol.router import Identity, Out, Router
from fancypipe_remote._protocol.supervisor import WorkerSide
from tests.remote.simulation import hello

Address = bytes


def plain_shares(
    slots: Mapping[Address, int],
    needs: Mapping[Address, int],
    before: Mapping[Address, Mapping[Address, int]],
) -> dict[Address, dict[Address, int]]:
    """The rule as it is said: each keeps what it has, and takes what is free; product of all."""
    free = dict(slots)
    left = dict(zip(needs, fair(sum(slots.values()), list(needs.values())), strict=True))
    found: dict[Address, Counter[Address]] = {client: Counter() for client in needs}
    for wanted in (before, dict.fromkeys(needs, slots)):
        for client in needs:
            for worker, count in wanted.get(client, {}).items():
                given = max(0, min(count, free.get(worker, 0), left[client]))
                found[client][worker] += given
                free[worker] = free.get(worker, 0) - given
                left[client] -= given
    return {client: {w: n for w, n in share.items() if n} for client, share in found.items()}


def some(kind: str, most: int) -> st.SearchStrategy[dict[Address, int]]:
    return st.dictionaries(
        st.integers(0, most).map(lambda n: f"{kind}{n}".encode()), st.integers(0, 12), max_size=most
    )


@given(st.lists(st.tuples(some("w", 6), some("c", 6)), min_size=1, max_size=6))
def test_shares_are_those_of_the_plain_rule(turns: list[tuple[Any, Any]]) -> None:
    now: dict[Address, dict[Address, int]] = {}
    plain: dict[Address, dict[Address, int]] = {}
    for slots, needs in turns:
        now, plain = shares(slots, needs, now), plain_shares(slots, needs, plain)
        assert now == plain


class House:
    """A manager, and parties that hear what it says at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.router = Router(Identity("m1", "0.1.0", "hostM", 1))
        self.sides: dict[bytes, ClientSide | WorkerSide] = {}
        self.outs: list[Out] = []

    def join(self, link: bytes, slots: int = 0) -> None:
        name = link.decode()
        if slots:
            side: ClientSide | WorkerSide = WorkerSide(hello("worker", name, slots), None, self.now)
        else:
            side = ClientSide(hello("client", name), None, self.now)
        self.sides[link] = side
        self.turn(link)

    def turn(self, link: bytes) -> None:
        side = self.sides[link]
        role = "client" if isinstance(side, ClientSide) else "worker"
        for parts in side.tick(self.now):
            self.deliver(self.router.take(link, role, parts, self.now))

    def use(self, link: bytes, need: int, using: Mapping[bytes, int]) -> None:
        side = self.sides[link]
        assert isinstance(side, ClientSide)
        side.use(need, using)
        self.turn(link)

    def deliver(self, outs: Sequence[Out]) -> None:
        self.outs += outs
        for out in outs:
            if out.to in self.sides:
                self.sides[out.to].take(out.parts, self.now)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while (tick := self.router.next_tick) <= until:
            self.now = max(self.now, tick)
            self.deliver(self.router.tick(self.now))
            for link, side in list(self.sides.items()):
                if side.next_tick <= self.now:
                    self.turn(link)
        self.now = until


LINKS = [b"c0", b"c1", b"c2", b"c3"], [b"w0", b"w1", b"w2"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from([*LINKS[0], *LINKS[1]]),
        st.integers(0, 9),
        st.lists(st.integers(0, 4), min_size=3, max_size=3),
        st.sampled_from((0.0, 0.01, 0.7)),
    ),
    max_size=25,
)


@settings(max_examples=200)
@given(STEPS)
def test_clients_are_told_what_the_plain_rule_says(steps: list[Any]) -> None:
    house = House()
    for n, link in enumerate([*LINKS[0], *LINKS[1]]):
        house.join(link, 0 if link in LINKS[0] else 1 + 2 * n)
    for link, number, counts, seconds in steps:
        side = house.sides.get(link)
        if side is None:
            house.join(link, 0 if link in LINKS[0] else 1 + number)
        elif number == 9:
            role = "client" if link in LINKS[0] else "worker"
            house.deliver(house.router.take(link, role, messages.encode(messages.Bye()), house.now))
            del house.sides[link]
        elif number == 8:
            house.router.unreachable(link, house.now)
            side.link.greet(house.now, house.now)
            house.turn(link)
        elif isinstance(side, ClientSide):
            using = {w: n for w, n in zip(side.workers, counts, strict=False) if n}
            house.use(link, number, using)
        else:
            side.slots = min(number, side.link._hello.slots)
            side.link.hurry()
            house.turn(link)
        house.router.check()
        house.pass_time(seconds)
    house.pass_time(2.0)
    house.router.check()
    clients, workers = house.router._clients, house.router._workers
    slots = {address: worker.slots for address, worker in workers.items()}
    needs = {address: client.need for address, client in clients.items()}
    held = Counter[bytes]()
    for client in clients.values():
        held.update(client.using)
    # What they had last is kept: so the rule gives the same once more.
    told = plain_shares(slots, needs, {a: client.share for a, client in clients.items()})
    for address, client in clients.items():
        assert client.link is not None
        side = house.sides[client.link]
        assert isinstance(side, ClientSide)
        assert side.clients == len(clients)
        assert {a: (w.host, w.slots) for a, w in side.workers.items()} == {
            a: (w.hello.host, w.slots) for a, w in workers.items()
        }
        for worker, info in side.workers.items():
            free = slots[worker] - held[worker] + client.using.get(worker, 0)
            assert info.share == max(0, min(told[address].get(worker, 0), free))
    for here in workers.values():
        assert here.link is not None
        side = house.sides[here.link]
        assert isinstance(side, WorkerSide)
        assert side._clients.keys() == clients.keys()


def lines_of(what: Callable[[], object]) -> int:
    """Return how many lines of the router are run."""
    files = {router.__file__, parties.__file__, fair_share.__file__}
    count = 0

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in files:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        what()
    finally:
        sys.settrace(before)
    return count


def busy_house(clients: int, workers: int) -> House:
    house = House()
    for n in range(workers):
        house.join(b"w%d" % n, 8)
    for n in range(clients):
        house.join(b"c%d" % n)
    house.pass_time(1.5)
    for n in range(clients):
        use(house, n, 50)
    house.pass_time(1.5)
    return house


def use(house: House, client: int, need: int) -> None:
    side = house.sides[b"c%d" % client]
    assert isinstance(side, ClientSide)
    using = {worker: 1 for worker, info in side.workers.items() if info.share}
    house.use(b"c%d" % client, need, using)


@pytest.mark.fault(86)
def test_work_grows_with_clients_and_workers_and_not_with_their_product() -> None:
    work, sent = {}, {}
    for scale in (1, 4):
        clients, workers = 20 * scale, 100 * scale
        house = busy_house(clients, workers)
        house.outs.clear()
        began = house.now

        def all_change(house: House = house, clients: int = clients) -> None:
            for turn in range(5):
                for n in range(clients):
                    use(house, n, 30 + turn + n % 7)
                house.pass_time(0.2)

        work[scale] = lines_of(all_change) / (house.now - began)
        sent[scale] = sum(len(part) for out in house.outs for part in out.parts)
        assert house.router.counts == (clients, workers)
        assert len(house.outs) / (house.now - began) < 12 * (clients + workers)
    assert work[4] < 4 * 1.5 * work[1], work
    assert sent[4] < 4 * 1.5 * sent[1], sent


@pytest.mark.fault(86)
def test_who_changes_his_mind_all_the_time_costs_no_more() -> None:
    work = {}
    for changes in (20, 200):
        house = busy_house(20, 100)
        beats = [messages.encode(messages.ClientBeat(n % 9, {})) for n in range(changes)]

        def change(house: House = house, beats: list[messages.Parts] = beats) -> None:
            for beat in beats:
                house.deliver(house.router.take(b"c0", "client", beat, house.now))
                house.pass_time(0.2 / len(beats))

        work[changes] = lines_of(change)
    assert work[200] < 3 * work[20], work


@pytest.mark.fault(86)
def test_200_clients_and_1000_workers_are_all_there() -> None:
    house = busy_house(200, 1000)
    for turn in range(3):
        for n in range(0, 200, 7):
            use(house, n, 20 + turn)
        house.pass_time(1.0)
    assert house.router.counts == (200, 1000)
    assert not [line for line in house.router.log if "gone" in line]
    given = [sum(w.share for w in side.workers.values())
             for side in house.sides.values() if isinstance(side, ClientSide)]  # fmt: skip
    assert sum(given) <= 8000
    assert min(given) >= 20

"""The router, the links and the connections, in a simulated cluster that fails."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.fair_share import fair, shares
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._protocol.router import Identity, Router
from tests.remote.simulation import Echo, Talker, World, hello

W1, W2, C1, C2 = (name.ljust(16, b".") for name in (b"w1", b"w2", b"c1", b"c2"))
LINES = 400


def world(seed: int = 0, loss: float = 0.0) -> World:
    made = World(seed, loss)
    made.start_manager()
    return made


def test_bytes_go_there_and_back() -> None:
    here = world()
    Echo(here, W1)
    Echo(here, W2)
    client = Talker(here, C1, LINES)
    here.run(lambda: client.has_all(W1, W2), 60)
    assert not client.lost


def test_the_way_to_a_host_and_back_is_measured() -> None:
    here = world()
    here.delay = 0.2
    Echo(here, W1)
    client = Talker(here, C1, LINES)
    here.run(lambda: bool(client.side.round_trips), 10)
    here.run(lambda: client.has_all(W1), 60)
    (connection,) = client.side.connections
    # Through the manager, so four times a delay of up to 0.2 s; those that are quick show it.
    assert 0.1 < client.side.round_trips[connection.number] < 0.8


def test_any_order_of_start() -> None:
    here = World(1)
    client = Talker(here, C1, 10)
    here.at(20.0, here.start_manager)
    here.at(30.0, lambda: Echo(here, W1))
    here.run(lambda: client.has_all(W1), 35)


@settings(max_examples=40)
@given(st.integers(0), st.sampled_from((0.0, 0.02, 0.2)), st.integers(0, 3))
def test_nothing_is_lost_when_managers_die(seed: int, loss: float, deaths: int) -> None:
    here = world(seed, loss)
    Echo(here, W1)
    Echo(here, W2)
    client, other = Talker(here, C1, LINES), Talker(here, C2, LINES)
    for _ in range(deaths):
        when = here.rnd.random() * 10
        here.at(when, here.kill_manager)
        here.at(when + here.rnd.random() * 4, here.start_manager)
    here.at(15.0, here.start_manager)
    here.at(15.0, lambda: setattr(here, "loss", 0.0))
    here.run(lambda: client.has_all(W1, W2) and other.has_all(W1, W2), 120)
    assert not client.lost
    assert not other.lost


def test_a_dead_worker_is_known_within_three_seconds() -> None:
    here = world()
    Echo(here, W1)
    Echo(here, W2)
    client = Talker(here, C1, LINES)
    here.run(lambda: len(client.got) == 2, 10)
    killed = here.now
    here.kill(W1)
    here.run(lambda: W1 in client.lost, killed + 3)
    assert client.lost[W1] == "the worker is gone: the manager hears nothing of it"
    here.run(lambda: client.has_all(W2), 60)


@pytest.mark.parametrize("way", ["frozen", "cut"])
def test_a_worker_that_falls_silent_is_taken_for_dead_and_may_come_back(way: str) -> None:
    here = world()
    worker = Echo(here, W1)
    client = Talker(here, C1, LINES)
    here.run(lambda: bool(client.got.get(W1)), 10)
    silent = here.now
    getattr(here, way).add(W1)
    here.run(lambda: W1 in client.lost, silent + 5)
    del client.connections[W1], client.lost[W1]
    getattr(here, way).discard(W1)
    here.run(lambda: client.has_all(W1), here.now + 30)
    # What was begun for the connection that was given up has ended.
    here.run(lambda: worker.hosts == 1, here.now + 5)


def test_a_short_silence_is_no_death() -> None:
    here = world()
    Echo(here, W1)
    client = Talker(here, C1, LINES)
    here.run(lambda: bool(client.got.get(W1)), 10)
    here.cut.add(W1)
    here.at(here.now + 1.5, here.cut.clear)
    here.run(lambda: client.has_all(W1), 60)
    assert not client.lost


@pytest.mark.parametrize("seed", range(20))
def test_a_manager_that_had_lost_all_and_meets_the_client_first_costs_no_worker(seed: int) -> None:
    here = world(seed)
    Echo(here, W1)
    client = Talker(here, C1, LINES)
    here.run(lambda: bool(client.got.get(W1)), 10)
    cut = here.now
    here.cut |= {W1, C1}  # by its own network, say
    here.at(cut + 5.0, lambda: here.cut.discard(C1))
    here.at(cut + 6.0, lambda: here.cut.discard(W1))
    here.run(lambda: client.has_all(W1), 60)
    assert not client.lost


def test_what_a_dead_client_wanted_ends_after_its_grace() -> None:
    here = world()
    worker = Echo(here, W1)
    client = Talker(here, C1, LINES)
    here.run(lambda: worker.hosts == 1, 10)
    here.kill(C1)
    killed = here.now
    here.run(lambda: worker.hosts == 0, killed + 16)
    assert here.now >= killed + 10
    assert not client.lost


@pytest.mark.fault(50)
def test_a_client_that_was_away_for_too_long_is_told_when_it_is_back() -> None:
    """What told it the first time got lost, and it has nothing to say by itself."""
    here = world()
    worker = Echo(here, W1)
    client = Talker(here, C1, 10)
    here.run(lambda: client.has_all(W1), 10)
    here.cut.add(C1)
    here.run(lambda: worker.hosts == 0, here.now + 20)
    here.cut.clear()
    here.run(lambda: W1 in client.lost, here.now + 10)


@pytest.mark.fault(36)
@settings(max_examples=30)
@given(st.integers(0), st.sampled_from((0.0, 0.3, 0.9)))
def test_the_death_of_a_host_process_is_told_whatever_gets_lost(seed: int, loss: float) -> None:
    here = world(seed)
    worker = Echo(here, W1)
    client = Talker(here, C1, 10)
    here.run(lambda: client.has_all(W1), 10)
    here.loss = loss
    (host,) = worker.running.values()
    here.kill(host.address)
    worker.lose(host.key, "it died")
    here.at(here.now + 5, lambda: setattr(here, "loss", 0.0))
    here.run(lambda: W1 in client.lost, here.now + 12)
    if not loss:
        assert client.lost[W1] == "it died"


def test_a_manager_that_stays_away_is_said_after_the_limit() -> None:
    here = world()
    worker = Echo(here, W1)
    client = Talker(here, C1, LINES)
    here.run(lambda: bool(client.got.get(W1)), 10)
    here.kill_manager()
    here.run(lambda: bool(client.lost), 100)
    assert client.side.link.state is LinkState.OVER
    assert "the manager on hostM (pid 1) has sent nothing for 60 s" in client.side.link.why
    assert client.lost == {W1: client.side.link.why}
    assert worker.hosts == 1, "a worker waits longer"
    here.run(lambda: worker.hosts == 0, 1000)


# ---- the router ----


def router() -> Router:
    return Router(Identity("m1", "0.1.0", "hostM", 1))


def said(outs: list[object]) -> list[object]:
    return [messages.decode(out.parts, by_manager=False) for out in outs]  # type: ignore[attr-defined]


def test_another_protocol_is_refused_by_name() -> None:
    told = messages.Hello("worker", (99, 0), "9.1.0", "3.11", "hostW", 7, 4)
    machine = router()
    (answer,) = said(machine.take(W1, "worker", messages.encode(told), 0.0))  # type: ignore[arg-type]
    assert answer == messages.Refused(
        "this manager (fancypipe-remote 0.1.0 on hostM) speaks version 3 of the protocol, the "
        "worker on hostW (fancypipe-remote 9.1.0) version 99; install the same version of "
        "fancypipe-remote on both"
    )
    assert machine.counts == (0, 0)


def test_a_workers_key_makes_no_client() -> None:
    machine = router()
    (answer,) = said(machine.take(C1, "worker", messages.encode(hello("client", "h")), 0.0))  # type: ignore[arg-type]
    assert answer == messages.Refused("a key for a worker does not make a client")


@pytest.mark.parametrize(
    "parts", [[b""], [b"", b"\xc1"], [b"", b"\x90"], [b"x", b"y"], [b"", b"a", b"b", b"c"], []]
)
def test_who_cannot_be_read_is_thrown_out(parts: list[bytes]) -> None:
    machine = router()
    machine.take(W1, "worker", messages.encode(hello("worker", "h", 2)), 0.0)
    assert machine.counts == (0, 1)
    (answer,) = said(machine.take(W1, "worker", parts, 0.0))  # type: ignore[arg-type]
    assert isinstance(answer, messages.Refused)
    assert machine.counts == (0, 0)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_a_manager_lives_whatever_comes(parts: list[bytes]) -> None:
    machine = router()
    machine.take(W1, "worker", messages.encode(hello("worker", "h", 2)), 0.0)
    machine.take(C1, "client", parts, 0.0)
    machine.check()
    assert machine.counts == (0, 1)


def test_workers_do_not_talk_to_workers() -> None:
    machine = router()
    for link in (W1, W2, C1):
        role: messages.Role = "client" if link == C1 else "worker"
        outs = machine.take(link, role, messages.encode(hello(role, link.decode(), 2)), 0.0)
    _, told = said(outs)  # type: ignore[arg-type]
    assert isinstance(told, messages.Workers)
    _, other = told.workers
    close = messages.encode(messages.Close(1, ""), other.address)
    assert machine.take(W1, "worker", close, 0) == []
    (out,) = machine.take(C1, "client", close, 0)
    assert out.to == W2


# ---- shares ----


@given(st.integers(0, 100), st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_shares_are_fair_and_nothing_lies_idle(total: int, needs: list[int]) -> None:
    given = fair(total, needs)
    assert sum(given) == total
    short = [got for got, need in zip(given, needs, strict=True) if got < need]
    if short:
        # Who has less than it needs has, but for one, no less than any other.
        assert max(given) - min(short) <= 1
        assert all(got <= need for got, need in zip(given, needs, strict=True))
        # What cannot be divided goes to those of them who came first: nobody is passed for ever
        # by others who come later.
        have = [got for got, need in zip(given, needs, strict=True) if got < need]
        assert have == sorted(have, reverse=True)


def test_who_came_first_has_the_only_slot() -> None:
    assert fair(1, [5, 5, 5]) == [1, 0, 0]
    assert fair(5, [9, 1, 9]) == [2, 1, 2]
    assert fair(4, [9, 0, 9, 9]) == [2, 0, 1, 1]


@given(
    st.lists(st.integers(0, 16), max_size=6),
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
)
def test_slots_stay_where_they_are_as_far_as_they_can(
    slots: list[int], needs: list[int], later: list[int]
) -> None:
    workers = {b"w%d" % n: count for n, count in enumerate(slots)}
    clients = {b"c%d" % n: need for n, need in enumerate(needs)}
    first = shares(workers, clients, {})
    for found in (first, shares(workers, clients, first)):
        for worker, count in workers.items():
            assert sum(share.get(worker, 0) for share in found.values()) <= count
    assert shares(workers, clients, first) == first
    more = {b"c%d" % n: need for n, need in enumerate(later)}
    second = shares(workers, more, first)
    for client, share in second.items():
        old = first.get(client, {})
        kept = sum(min(old.get(worker, 0), count) for worker, count in share.items())
        assert kept == min(sum(old.values()), sum(share.values()))

"""Who has a key may do the work of its role, and lies at its own cost: the machines alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._protocol.messages import Parts, address_of
from fancypipe_remote._protocol.router import Identity, Router
from tests.remote.lies import ADDRESS, LIES, a_lie, for_a_while, hello, raw
from tests.remote.simulation import Echo, Talker, World

L1, L2, W1, H1, C1 = b"liar 1", b"liar 2", b"w1", b"w1/1", b"c1"


# ---- the machines --------------------------------------------------------------


def router() -> Router:
    return Router(Identity("m1", "0.1.0", "hostM", 1))


def said(machine: Router, link: bytes, role: str, parts: Parts, now: float = 0.0) -> list[Any]:
    """Return what this link is told when it says that."""
    outs = machine.take(link, role, parts, now)
    machine.check()
    return [messages.decode(out.parts, by_manager=False) for out in outs if out.to == link]


@pytest.mark.fault(61, 82)
@pytest.mark.parametrize("name", LIES)
def test_the_relay_refuses_a_lie_on_one_line_and_hears_its_teller_no_more(name: str) -> None:
    machine = router()
    said(machine, W1, "worker", hello("worker", "honest", 2))
    said(machine, L1, "worker", hello("worker", "liar", 4))
    machine.log.clear()
    outs = machine.take(L1, "worker", raw(LIES[name]), 0.0)
    machine.check()
    (refusal,) = [out for out in outs if out.to == L1]
    assert refusal.last
    assert isinstance(messages.decode(refusal.parts, by_manager=False), messages.Refused)
    assert machine.counts == (0, 1)
    (line,) = machine.log
    assert line.startswith("refused worker on liar (pid 7): ")
    assert messages.printable(line) == line


@pytest.mark.fault(62, 81)
def test_a_key_is_asked_at_each_message() -> None:
    machine = router()
    said(machine, C1, "client", hello("client", "honest", ticket=b"secret"))
    said(machine, W1, "worker", hello("worker", "honest", 2))
    # What is known of a client does not let a worker's key do what clients do.
    told = said(machine, L1, "worker", hello("worker", "liar", ticket=b"secret"))
    assert [type(one) for one in told] == [messages.Welcome, messages.Clients]
    assert machine.counts == (1, 2), "another role's ticket is another party's"
    for what in (raw(["c", 1, {}]), hello("client", "honest", ticket=b"secret")):
        said(machine, L2, "worker", hello("worker", "liar"))
        (refusal,) = said(machine, L2, "worker", what)
        assert isinstance(refusal, messages.Refused)
        assert "worker" in refusal.why
    # Under the name of its link neither: the transport has one link of a name at a time.
    (refusal,) = said(machine, C1, "worker", raw(["w", 1, 0.0]))
    assert refusal == messages.Refused("the name of its link is that of a client")
    # The client says hello over its next link, and is who it was.
    before = address_of("client", b"secret")
    assert said(machine, b"c1 again", "client", hello("client", "honest", ticket=b"secret"))
    out = machine.take(W1, "worker", raw(["close", 1, ""], before), 0.0)
    assert [(one.to, one.parts[0]) for one in out] == [(b"c1 again", address_of("worker", W1))]


@pytest.mark.fault(81)
def test_nobody_is_told_a_links_name() -> None:
    machine = router()
    links = [b"link %d" % number for number in range(6)]
    heard = b""
    for number, link in enumerate(links):
        role = "worker" if number % 2 else "client"
        for out in machine.take(link, role, hello(role, f"h{number}", 2), 0.0):
            heard += b"".join(out.parts)
    for out in machine.tick(2.0):
        heard += b"".join(out.parts)
    assert not [link for link in links if link in heard]
    for link in links:  # an address is no name, either
        role = "worker" if links.index(link) % 2 else "client"
        assert address_of(role, link) in heard
        assert said(machine, address_of(role, link), role, raw(["bye"])) == [messages.Who()]


def test_a_list_of_all_fits_into_a_message() -> None:
    one = messages.Worker(ADDRESS, "h" * 100, 2**62, "p" * 32, "v" * 32, 10_000, 1e6, 10_000)
    share = {n.to_bytes(messages.ADDRESS, "big"): 10_000 for n in range(messages.MOST_PARTIES)}
    workers = messages.Workers(2**62, (one,) * 100, (), share, 2**62, True)
    parts = messages.encode(workers)
    assert len(parts) <= messages.MOST_PARTS
    assert messages.decode(parts, by_manager=False) == workers


def party(here: World, link: bytes) -> bytes:
    """Return the address of who is at a link of a simulated cluster."""
    role = "host" if b"/" in link else here.roles[link]
    return address_of(role, f"{role} {link.decode()}".encode())


BAD = [b"\xc1", ["s", -1, 0, 0, 0, 0], ["s", 1, 0, 2**62 + 1, 0, 0], ["hello"], ["opened", "\n"],
       ["s", 1, 0, 0, 0, float("nan")], ["close", 2**64 - 1, ""], ["look", 1, "/", "\x1b"],
       ["opened", 1, b"short"], ["seen", 1, 7]]  # fmt: skip


@pytest.mark.fault(61, 82)
@pytest.mark.parametrize(
    ("liar", "target", "lies"),
    [
        (L1, W1, [*BAD, ["s", 1, 0, 0, 0, 9], ["opened", 1, ADDRESS], ["seen", 1, True]]),
        (L1, H1, [*BAD, ["s", 1, 0, 0, 2**40, 9], ["open", 2, 1], ["look", 1, "/", "x"]]),
        (L1, C1, [*BAD, ["opened", 1, ADDRESS], ["open", 1, 1]]),
        (L1 + b"/1", C1, [*BAD, ["s", 1, 0, 0, 2**40, 9]]),
    ],
)
def test_what_cannot_be_read_ends_the_liars_connection_only(
    liar: bytes, target: bytes, lies: list[Any]
) -> None:
    """What clients lie to workers and host processes, and these to clients."""
    for lie in lies:
        lie_once(liar, target, lie)


def lie_once(liar: bytes, target: bytes, lie: Any) -> None:
    here = World(3)
    here.start_manager()
    client = Talker(here, C1, 200) if target == C1 else Talker(here, L1, 200)
    worker = Echo(here, L1 if target == C1 else W1)
    here.run(lambda: worker.hosts == 1, 10)
    # Who lies came first, so the connection is the client's first one; now the others come.
    if target == C1:
        Echo(here, W1)
    else:
        client = Talker(here, C1, 200)
    here.run(lambda: client.got.get(W1, b"") != b"", 10)
    side = here.sides[target]
    here._deliver(liar, b"", raw(lie, party(here, target), b"data"))
    here.run(lambda: bool(side.log), 10)
    (line,) = side.log
    said = f"the {here.roles[L1]} on liar 1 (pid 1) broke the protocol: "
    assert line.startswith(said if target != H1 else "somebody broke the protocol: ")
    if target == C1:
        assert list(client.lost) == [L1]
        assert list(client.side.liars) == [party(here, L1)]
    else:
        here.run(lambda: worker.hosts == 1, 10)
    here.run(lambda: client.has_all(W1), 60)
    assert W1 not in client.lost


@pytest.mark.fault(81)
def test_a_connection_is_between_those_whom_it_was_made_for() -> None:
    """Others can neither answer for the worker, nor speak or hang up for its host process."""
    here = World(5)
    here.start_manager()
    worker, thief = Echo(here, W1), Echo(here, L1)
    client, other = Talker(here, C1, 200), Talker(here, L2, 1)
    here.run(lambda: client.got.get(W1, b"") != b"", 10)
    number = client.connections[W1].number
    for sender in (L1, *(host.address for host in thief.running.values())):
        for said in (["opened", number, party(here, L1)], ["close", number, ""],
                     ["s", number, 0, 0, 0, 4 << 20]):  # fmt: skip
            here._deliver(sender, b"", raw(said, party(here, C1), b"stolen"))
    for said in (["close", number, ""], ["s", number, 0, 0, 0, 4 << 20]):
        here._deliver(L2, b"", raw(said, party(here, W1 + b"/1"), b"stolen"))
        here._deliver(L2, b"", raw(said, party(here, W1), b"stolen"))
    here.run(lambda: client.has_all(W1), 60)
    assert client.got[W1] == client.text
    assert W1 not in client.lost
    assert worker.started == 2, "one for each client"
    assert other.side.link.state is LinkState.MET


@pytest.mark.fault(81)
def test_nobody_takes_a_host_processs_address() -> None:
    machine = router()
    said(machine, C1, "client", hello("client", "honest"))
    said(machine, W1, "worker", hello("worker", "honest", 2))
    (welcome,) = said(machine, H1, "worker", hello("host", "honest", ticket=b"told to it alone"))
    assert isinstance(welcome, messages.Welcome)
    address = address_of("host", b"told to it alone")
    # Not with a client's key, whatever is said; nor by the address; nor as a worker.
    (refusal,) = said(machine, L1, "client", hello("host", "h", ticket=b"told to it alone"))
    assert refusal == messages.Refused("a key for a client does not make a host")
    said(machine, L2, "worker", hello("host", "honest", ticket=address))
    said(machine, b"liar 3", "worker", hello("worker", "honest", ticket=b"told to it alone"))
    (out,) = machine.take(C1, "client", raw(["close", 1, ""], address), 0.0)
    assert out.to == H1
    # It is in no list, no client's beat counts it, and other workers cannot write to it.
    told = said(machine, C1, "client", hello("client", "honest"))
    assert address not in b"".join(b"".join(messages.encode(one)) for one in told)
    assert machine.take(W1, "worker", raw(["close", 1, ""], address), 0.0) == []
    for lie in (["w", 1, 0.0], ["c", 1, {}]):
        said(machine, H1, "worker", hello("host", "honest", ticket=b"told to it alone"))
        (refusal,) = said(machine, H1, "worker", raw(lie))
        assert isinstance(refusal, messages.Refused)


def test_one_client_has_few_processes_at_a_worker() -> None:
    here = World(4)
    here.start_manager()
    worker = Echo(here, W1)
    client = Talker(here, C1, 1)
    here.run(lambda: client.has_all(W1), 10)
    (address,) = client.side.workers
    more = [client.side.open(address, 1) for _ in range(20)]
    here.run(lambda: all(one.closed or one.is_open for one in more), 10)
    assert worker.hosts == 4
    assert {one.closed for one in more} == {None, "it has too many connections"}


@pytest.mark.fault(61, 82)
def test_fuzz_the_machines() -> None:
    """Liars of both roles talk to manager, worker and client; these do what they do."""

    @settings(max_examples=20, database=None)
    @given(st.integers(0))
    def examples(seed: int) -> None:
        here = World(seed)
        here.start_manager()
        worker, client = Echo(here, W1), Talker(here, C1, 40)
        addresses = [b"", *(address_of(role, f"{role} {at}".encode()) for role, at in
                            (("worker", "w1"), ("host", "w1/1"), ("client", "c1")))]  # fmt: skip

        def lie() -> None:
            link = here.rnd.choice((L1, L2))
            here._deliver(link, b"", a_lie(here.rnd, addresses))

        here.roles.update({L1: "worker", L2: "client"})
        for at in range(150):
            here.at(1.0 + at * 0.01, lie)
        for at in range(6):
            for link, role in here.roles.items():
                if link in (L1, L2):
                    greeted = hello(role, role, 2)
                    here.at(0.9 + at * 0.3, lambda a=link, b=greeted: here._deliver(a, b"", b))  # type: ignore[misc]
        here.run(lambda: here.now > 3 and client.has_all(W1), 60)
        assert W1 not in client.lost
        assert worker.hosts <= 5
        for side in here.sides.values():
            assert all(messages.printable(line) == line for line in side.log)
        assert here.router is not None
        assert here.router.counts >= (1, 1)
        assert all(messages.printable(line) == line for line in here.router.log)

    for_a_while(examples)

"""Who has a key may do the work of its role, and lies at its own cost.

`FUZZ` in the environment is for how many seconds each fuzzer goes on; `nox -s fuzz` sets it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancypipe_core import Session, errors
from fancypipe_core.backend import JobId
from fancypipe_core.toolkit import SocketChannel
from fancypipe_remote._address import Address, parse
from fancypipe_remote._auth import secret as _secret
from fancypipe_remote._auth.keys import CLIENT, WORKER, PeerKeys
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._protocol.messages import Parts, address_of
from fancypipe_remote._protocol.router import Identity, Router
from tests.remote.cluster import Cluster, Party, cluster, eventually
from tests.remote.lies import Liar, hello, lying_worker, mutated, plain, raw
from tests.remote.simulation import Echo, Talker, World
from tests.remote.work import many

FUZZ = float(os.environ.get("FUZZ", "4"))  # seconds for each fuzzer

L1, L2, W1, H1, C1 = b"liar 1", b"liar 2", b"w1", b"w1/1", b"c1"
ADDRESS = bytes(range(16))

LIES: dict[str, Any] = {
    "nothing": b"",
    "no msgpack": b"\xc1 this is no message",
    "no record": [],
    "nobody says that": ["hullo"],
    "too deep": b"\x91" * 10_000,
    "text that is no UTF-8": b"\x92\xa5hello\xa2\xff\xfe",
    "a list without an end": b"\xdd\xff\xff\xff\xff",
    "negative slots": ["w", -1, 0.0],
    "more slots than it has": ["w", 5, 0.0],
    "more slots than there can be": ["w", 2**62, 0.0],
    "a load that is no number": ["w", 1, float("nan")],
    "a load without an end": ["w", 1, float("inf")],
    "a negative load": ["w", 1, -1.0],
    "what clients say": ["c", 1, {}],
    "what the manager says": ["workers", [], 1],
    "somebody else": ["hello", "worker", list(messages.PROTOCOL), "0", "3", "h", 7, 4, b"other"],
    "a new line in a name": ["hello", "worker", list(messages.PROTOCOL), "0", "3", "a\nb", 7, 4],
    "an escape in a version": ["hello", "worker", list(messages.PROTOCOL), "\x1b[2J", "3", "h", 7],
    "a long name": ["hello", "worker", list(messages.PROTOCOL), "0", "3", "h" * 101, 7, 4],
    "a negative process": ["hello", "worker", list(messages.PROTOCOL), "0", "3", "h", -7, 4],
    "a million slots": ["hello", "worker", list(messages.PROTOCOL), "0", "3", "h", 7, 10**6],
    "another role": ["hello", "client", list(messages.PROTOCOL), "0", "3", "h", 7, 0],
    "no role": ["hello", "king", list(messages.PROTOCOL), "0", "3", "h", 7, 0],
}


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


# ---- fuzzers -------------------------------------------------------------------


VALID: list[Parts] = [
    hello("worker", slots=2), hello("client"), raw(["w", 2, 0.5]), raw(["c", 3, {ADDRESS: 1}]),
    raw(["bye"]), raw(["who"]), raw(["workers", [], 1]), raw(["open", 1, 2], ADDRESS),
    raw(["opened", 1, ADDRESS], ADDRESS), raw(["look", 1, "/", "proof"], ADDRESS),
    raw(["seen", 1, True], ADDRESS), raw(["h"]), hello("host"), raw(["close", 1, "why"], ADDRESS),
    raw(["s", 1, 0, 0, 0, 4 << 20], ADDRESS, b"data"),
    raw(["s", 1, 0, 0, 4, 4 << 20, 0, True, True], ADDRESS),
]  # fmt: skip


def a_lie(rnd: Random, addresses: list[bytes]) -> Parts:
    """Return a message that nobody honest sends."""
    parts = rnd.choice(VALID)
    to = rnd.choice([*addresses, rnd.choice([b"", ADDRESS, b"x", b"y" * 17])])
    made = [to, mutated(rnd, plain(parts)), *parts[2:]]
    if rnd.random() < 0.1:
        made += [rnd.randbytes(rnd.randrange(20))] * rnd.choice([1, 5, 62, 63])
    return made[: rnd.randrange(1, len(made) + 1)] if rnd.random() < 0.05 else made


def for_a_while(test: Callable[[], None]) -> None:
    until = monotonic() + FUZZ
    while monotonic() < until:
        test()


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


# ---- processes -----------------------------------------------------------------


class Rig:
    """A manager, an honest worker, and the keys of both roles."""

    def __init__(self, made: Cluster) -> None:
        self.cluster = made
        self.manager, self.worker = made.parties
        secret = _secret.Secret((made.folder / "config/fancypipe/jobauth").read_text().strip(), "")
        self.address: Address = parse(made.address)
        self.client_keys = PeerKeys(secret, CLIENT)
        self.worker_keys = PeerKeys(secret, WORKER)
        self.secret = f"@{made.folder / 'config/fancypipe/jobauth'}"

    def session(self) -> Session:
        return Session(backend="remote", jobmanager=self.cluster.address, jobauth=self.secret)

    def all_live(self) -> None:
        for party in (self.manager, self.worker):
            assert party.process.poll() is None, party.text


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with cluster(tmp_path_factory.mktemp("rig"), workers=1) as made:
        yield Rig(made)


def memory(party: Party) -> float:
    """Return what a process holds in memory, in MB."""
    pages = int(Path(f"/proc/{party.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.fault(61, 82)
def test_a_manager_drops_liars_and_keeps_the_others(rig: Rig) -> None:
    honest = Liar(rig.address, rig.client_keys)
    honest.say(hello("client", "honest", ticket=b"honest"))
    assert honest.hear_of(messages.Workers)
    for name, lie in LIES.items():
        liar = Liar(rig.address, rig.worker_keys)
        liar.say(hello("worker", f"tells {name}", 4))
        assert liar.hear_of(messages.Welcome)
        liar.say(raw(lie))
        assert liar.hear_of(messages.Refused)
        if name == "no msgpack":
            assert not liar.is_heard()
        liar.close()
    for name in LIES:
        rig.manager.says(rf"refused worker on tells {re.escape(name)} \(pid 7\): ")
    assert rig.manager.text.isascii()
    assert "\x1b" not in rig.manager.text
    honest.say(raw(["c", 1, {}]))
    honest.hear_of(messages.Workers)
    honest.close()
    rig.all_live()


@pytest.mark.fault(62, 81)
def test_a_worker_key_runs_nothing_on_a_worker(rig: Rig) -> None:
    with rig.session() as session:
        assert sum(session.run(many(4))) == 6
        spy = Liar(rig.address, rig.worker_keys)
        spy.say(hello("worker", "spy"))
        (client,) = [c for c in spy.hear_of(messages.Clients).clients if c.pid == os.getpid()]
        watch = Liar(rig.address, rig.client_keys)
        watch.say(hello("client", "watch"))
        workers = watch.hear_of(messages.Workers).workers
        victim = next(one.address for one in workers if one.host != "spy")
        before = len(re.findall("a client connected", rig.worker.text))
        for name in (client.address, b""):
            thief = Liar(rig.address, rig.worker_keys, name)
            for role in ("client", "worker"):
                thief.say(hello(role, "thief"))
                thief.say(raw(["open", 10**6, 1], victim))
                thief.say(raw(["s", 10**6, 0, 0, 0, 4 << 20], victim, b"code"))
            assert thief.hear_of(messages.Refused)
            thief.close()
        again = Liar(rig.address, rig.worker_keys)
        again.say(hello("worker", "thief"))
        again.say(raw(["open", 10**6, 1], victim))
        assert sum(session.run(many(20))) == 190
        assert len(re.findall("a client connected", rig.worker.text)) == before
        for one in (spy, watch, again):
            one.close()
    rig.all_live()


def report(*done: Any, rare: Any = ()) -> bytes:
    return msgspec.msgpack.encode([done, [], rare])


def an_end(
    id: JobId, seconds: Any = 0.1, head: Any = b"N.", reply: Any = None, folder: Any = ""
) -> Any:
    return [*id, seconds, head, reply, folder]


def value(*payloads: Any) -> Any:
    return ["ok", payloads, []]


FALSE_REPORTS: dict[str, Callable[[JobId], bytes]] = {
    "no report": lambda _: b"\xc1",
    "text that is no UTF-8": lambda _: b"\x94\x90\x90\xa2\xff\xfe\x90",
    "too deep": lambda _: b"\x91" * 100_000,
    "seconds that are no number": lambda id: report(an_end(id, float("nan"))),
    "negative seconds": lambda id: report(an_end(id, -1.0)),
    "seconds without an end": lambda id: report(an_end(id, float("inf"))),
    "a folder of the system": lambda id: report(an_end(id, folder="/etc")),
    "another's folder": lambda id: report(an_end(id, folder=f"/tmp/slow-{id[0] + 1}.{id[1]}")),
    "a value of nothing": lambda id: report(an_end(id, head=b"")),
    "no payload": lambda id: report(an_end(id, reply=value())),
    "buffers that did not come": lambda id: report(an_end(id, reply=value([b"N.", 5, [], None]))),
    "negative buffers": lambda id: report(an_end(id, reply=value([b"N.", -1, [], None]))),
    "a hole that nothing fills": lambda id: report(
        an_end(id, reply=value([b"N.", 0, [[7, None]], None]))
    ),
    "a value that fills itself": lambda id: report(
        an_end(id, reply=value([b"", 0, [[0, None]], None]))
    ),
    "names of no holes": lambda id: report(an_end(id, reply=value([b"N.", 0, [], ["a"]]))),
    "a task that calls nothing": lambda id: report(
        an_end(id, reply=["more", [], [[-1, 0, None, False, [b"N.", 0, [], None], ""]],
                          [[b"", 0, [[0, None]], None]], [], []])
    ),
    "negative slots": lambda _: report(rare=[["slots", -1, 0]]),
    "slots that nobody asked for": lambda _: report(rare=[["slots", 10**5, 0]]),
    "a negative process": lambda id: report(
        rare=[["lost", *id, ["exit", "", "h", -1, True, True, [], 0]]]
    ),
}  # fmt: skip

FALSE_FRAMES: dict[str, bytes] = {
    "no frame": b"GET / HTTP/1.1\r\n\r\n",
    "a buffer of 2^62 bytes": b"\xfapf\x01" + (0).to_bytes(8, "little")
    + (1).to_bytes(4, "little") + (2**62).to_bytes(8, "little"),
    "a head of 2^62 bytes": b"\xfapf\x01" + (2**62).to_bytes(8, "little") + bytes(4),
}  # fmt: skip

_ALL = [*FALSE_FRAMES, *FALSE_REPORTS]


@pytest.mark.fault(82)
@pytest.mark.parametrize("group", range(0, len(_ALL), 8))
def test_a_lying_worker_is_left_out(
    rig: Rig, group: int, capsys: pytest.CaptureFixture[str]
) -> None:
    names = _ALL[group : group + 8]
    with ExitStack() as here:
        workers = [
            here.enter_context(lying_worker(rig.address, rig.worker_keys, name, _teller(name)))
            for name in names
        ]
        session = here.enter_context(rig.session())
        until = monotonic() + 60
        while not all(worker.told for worker in workers):
            assert monotonic() < until, [worker.told for worker in workers]
            assert sum(session.run(many(30, 0.01))) == 435
        assert sum(session.run(many(30, 0.01))) == 435
        assert [worker.told for worker in workers] == [1] * len(names)
    said = capsys.readouterr().err
    for name in names:
        assert f"the worker on {name} (pid 7) is left out: it broke the protocol: " in said
    assert Path("/etc/passwd").exists()
    rig.all_live()


def _teller(name: str) -> Callable[[SocketChannel, list[JobId]], None]:
    def tell(channel: SocketChannel, jobs: list[JobId]) -> None:
        if name in FALSE_FRAMES:
            channel._sock.sendmsg([memoryview(FALSE_FRAMES[name])])
        else:
            channel.send(FALSE_REPORTS[name](jobs[0]))

    return tell


def true_reports(id: JobId) -> list[Any]:
    """Return reports that are as they should be, in plain containers."""
    text = ["err", "ValueError", "no", "Traceback", "f.py:1", None, "h", 7, False]
    payload = [b"N.", 0, [], None]
    more = [
        "more", [[0, "t", [payload]]], [[0, 0, 1.0, False, payload, ""]],
        [[b"", 0, [[0, None]], None]], [], [],
    ]  # fmt: skip
    dead = ["lost", *id, ["exit", "exit code 1", "h", 7, True, False, ["last words"], 1]]
    filled = value(payload, [b"N.", 0, [[0, None]], None])
    made = [an_end(id), *(an_end(id, reply=reply) for reply in (filled, text, more))]
    return [
        *([[done], [], []] for done in made),
        [
            [],
            [[list(id), "stdout", "", "t"]],
            [["started", *id, "h:7"], ["slots", 1, 0]],
        ],
        [[], [], [dead]],
    ]


@pytest.mark.fault(82)
def test_fuzz_what_a_worker_reports(rig: Rig) -> None:
    """Results may be false, for that is what a worker is trusted with; no more than that."""
    rnd = Random(FUZZ)
    counts = [0, 0]

    def lie(channel: SocketChannel, jobs: list[JobId]) -> None:
        with suppress(errors.ChannelError):
            for id in jobs:
                channel.send(mutated(rnd, rnd.choice(true_reports(id))), rnd.choice([[], [b"b"]]))
                counts[0] += 1

    until = monotonic() + FUZZ
    with rig.session() as session:
        assert sum(session.run(many(4))) == 6
        while monotonic() < until:
            with lying_worker(rig.address, rig.worker_keys, "liar", lie) as liar:
                while not liar.told and monotonic() < until:
                    try:
                        session.run(many(20, 0.002))
                    except errors.TaskError:
                        counts[1] += 1
        assert sum(session.run(many(20))) == 190
    assert counts[0] > counts[1]


@pytest.mark.fault(61, 82)
def test_fuzz_the_processes(rig: Rig) -> None:
    """Liars of both roles come, lie and go, while honest work is done."""
    rnd = Random(FUZZ)
    before: tuple[float, float] | None = None
    until = monotonic() + FUZZ
    with rig.session() as session:
        assert sum(session.run(many(4))) == 6
        refused = len(re.findall("refused", rig.manager.text))
        while monotonic() < until:
            with ExitStack() as here:
                for keys, role in ((rig.worker_keys, "worker"), (rig.client_keys, "client")):
                    liar = Liar(rig.address, keys)
                    here.callback(liar.close)
                    liar.say(hello(role, f"fuzzing {role}", 2))
                    kind = messages.Clients if role == "worker" else messages.Workers
                    told = liar.hear_of(kind)
                    peers = getattr(told, kind.__name__.lower())
                    addresses = [
                        b"",
                        *(peer.address for peer in peers if peer.host != "fuzzing worker"),
                    ]
                    for _ in range(100):
                        liar.say(a_lie(rnd, addresses))
                assert sum(session.run(many(20, 0.001))) == 190
            rig.all_live()
            if before is None:
                before = memory(rig.manager), memory(rig.worker)
        assert len(re.findall("refused", rig.manager.text)) > refused
    assert before is not None
    for party, had in zip((rig.manager, rig.worker), before, strict=True):
        grown = memory(party) - had
        assert grown < 30, f"{grown} MB"
        assert "\x1b" not in party.text
    eventually(lambda: "Traceback" not in rig.worker.text, rig.worker.text)
    assert "Traceback" not in rig.manager.text

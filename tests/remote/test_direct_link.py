"""A client and its host process on one machine talk past the manager, as long as they can."""

from __future__ import annotations

import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancypipe_core import Session, errors
from fancypipe_core.toolkit import LocalListener, OpenPassage, SocketChannel, pack
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._protocol.side import Side
from fancypipe_remote._transport.direct import DirectLink, DirectListener, connect_directly
from fancypipe_remote._transport.loop import Loop
from tests.remote.cluster import Cluster, cluster
from tests.remote.simulation import Direct, Echo, EchoHost, Talker, World
from tests.remote.work import many, size, slow
from tests.waiting import wait_until

W1, W2, C1 = (name.ljust(16, b".") for name in (b"w1", b"w2", b"c1"))
PEER = b"p" * messages.ADDRESS
WORDS = messages.encode(messages.Segment(1, 0, 0, 0, 9), PEER, b"bytes")


# ---- the machines --------------------------------------------------------------


def together(seed: int = 0, lines: int = 400) -> tuple[World, Talker, EchoHost]:
    here = World(seed)
    here.start_manager()
    echo = Echo(here, W1)
    client = Talker(here, C1, lines)
    here.run(lambda: bool(client.got.get(W1)), 20)
    (host,) = echo.running.values()
    return here, client, host


@pytest.mark.fault(94)
@settings(max_examples=60)
@given(
    st.integers(0),
    st.lists(st.tuples(st.floats(0, 6), st.floats(0, 2)), max_size=4),
    st.lists(st.floats(0, 6), max_size=2),
)
def test_nothing_is_lost_where_links_and_managers_break(
    seed: int, links: list[tuple[float, float]], deaths: list[float]
) -> None:
    here, client, host = together(seed)
    began = here.now

    def join(seconds: float) -> None:
        if not here.direct:
            here.at(here.now + seconds, Direct(here, client, host).cut)

    for when, seconds in links:
        here.at(began + when, partial(join, seconds))
    for when in deaths:
        here.at(began + when, here.kill_manager)
        here.at(began + when + here.rnd.random() * 3, here.start_manager)
    here.at(began + 10, here.start_manager)
    here.run(lambda: client.has_all(W1), began + 60)
    assert not client.lost


def goes_on_without_a_manager() -> None:
    here, client, host = together(lines=4000)
    Direct(here, client, host)
    here.kill_manager()
    here.run(lambda: client.has_all(W1), here.now + 10)
    assert not client.lost


def notices_that_the_manager_is_gone() -> None:
    here, client, host = together(lines=40_000)
    link = Direct(here, client, host)
    here.kill_manager()
    killed, here.delay = here.now, 0.2
    here.run(lambda: not client.has_met, killed + 4)
    assert host.side.link.state is LinkState.SEEKING
    assert link.is_up
    assert not client.has_all(W1), "it was no test"


def a_cut_costs_no_beat() -> None:
    here, client, host = together(lines=2000)
    link = Direct(here, client, host)
    here.run(lambda: link.carried > 1000, here.now + 5)
    link.cut()  # with what is under way
    cut, got = here.now, len(client.got[W1])
    here.run(lambda: len(client.got[W1]) > got + 500, cut + 0.5)


CLAIMS: list[Callable[[], None]] = [
    goes_on_without_a_manager,
    notices_that_the_manager_is_gone,
    a_cut_costs_no_beat,
]


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_a_direct_link_changes(claim: Callable[[], None]) -> None:
    claim()


def _counts_as_the_manager(self: Side, parts: messages.Parts, now: float, **_: bool) -> None:
    _take(self, parts, now)


_take = Side.take


@pytest.mark.parametrize(
    ("claim", "name", "bug"),
    [
        (notices_that_the_manager_is_gone, "take", _counts_as_the_manager),
        (a_cut_costs_no_beat, "hurry", lambda *_: None),
    ],
)
def test_planted_bugs_are_found(
    monkeypatch: pytest.MonkeyPatch, claim: Callable[[], None], name: str, bug: Any
) -> None:
    monkeypatch.setattr(Side, name, bug)
    with pytest.raises(AssertionError):
        claim()


def test_over_a_direct_link_nobody_speaks_as_the_manager_or_for_others() -> None:
    here, client, host = together()
    here.run(lambda: client.has_all(W1), 60)
    manager = client.side.link.manager
    (connection,) = client.side.connections
    assert connection.peer == host.party
    for lie in (messages.Welcome("me", (3, 0), "1", "h", 1), messages.Bye(), messages.Workers(0)):
        client.side.take([b"x" * 16, pack(lie)], here.now, direct=True)
    assert client.side.link.manager is manager
    assert not connection.closed, "who lies ends what is his own only"
    assert client.side.workers
    client.side.take([host.party, pack(messages.Bye())], here.now, direct=True)
    assert connection.closed


# ---- the links -----------------------------------------------------------------


needs_names = pytest.mark.skipif(
    sys.platform != "linux", reason="sockets have no such names on this system"
)


@pytest.fixture
def listener() -> Iterator[DirectListener]:
    made = DirectListener()
    yield made
    made.close()


@needs_names
def test_messages_go_both_ways(listener: DirectListener) -> None:
    theirs = connect_directly(listener.name, listener.token, C1)
    assert theirs is not None
    known = [theirs.is_taken]
    ours = listener.accept(PEER)
    assert ours is not None
    ours.say([PEER, *WORDS[1:]])
    ours.say([PEER, WORDS[1]])
    assert theirs.heard() == [[C1, *WORDS[1:]], [C1, WORDS[1]]]
    assert [*known, theirs.is_taken] == [False, True], "it is known to listen when it speaks"
    theirs.say([C1, *WORDS[1:]])
    assert ours.heard() == [WORDS]
    theirs.close()
    with pytest.raises(errors.ConnectionLost):
        ours.heard()
    ours.close()
    assert connect_directly(listener.name, listener.token, C1) is None


@needs_names
@pytest.mark.parametrize("first", ["nothing", "another token", "no frame", "more"])
def test_who_has_not_the_token_is_not_let_in(listener: DirectListener, first: str) -> None:
    """Whoever holds a worker's key, too: the token was told to one host process."""
    liar = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    liar.connect(f"\0{listener.name}")
    link = DirectLink(liar, C1, is_taken=True)
    if first == "another token":
        link.send(bytes(16))
    elif first == "no frame":
        liar.send(listener.token)
    elif first == "more":
        link.send(listener.token + b"\0")
    theirs = connect_directly(listener.name, listener.token, C1)
    ours = listener.accept(PEER)
    assert ours is not None
    assert theirs is not None
    ours.say(WORDS)
    assert len(theirs.heard()) == 1
    with pytest.raises(errors.ConnectionLost):
        link.heard()
    for one in (link, ours, theirs):
        one.close()


@needs_names
def test_a_listener_that_nobody_comes_to(listener: DirectListener) -> None:
    assert listener.accept(PEER) is None
    assert connect_directly(listener.name, listener.token, C1) is None
    assert connect_directly("", b"", C1) is None


@pytest.mark.parametrize("said", [b"", b"\x01", b"no frame at all, and a long one at that"])
def test_what_is_no_message_is_refused(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    link = DirectLink(theirs, PEER, is_taken=True)
    if len(said) < 2:
        SocketChannel(ours, blocking=False).send(said)
    else:
        ours.send(said)
    with pytest.raises(errors.ProtocolError):
        link.heard()
    link.close()
    ours.close()


# ---- real processes ------------------------------------------------------------


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[DirectLink]:
    """The direct links that a client of this test has made."""
    made: list[DirectLink] = []
    join = Loop.join

    def noted(self: Loop, link: DirectLink) -> None:
        made.append(link)
        join(self, link)

    monkeypatch.setattr(Loop, "join", noted)
    return made


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A manager and a worker with two slots."""
    with cluster(tmp_path, workers=1) as made:
        monkeypatch.setenv("XDG_CONFIG_HOME", made.env["XDG_CONFIG_HOME"])
        yield made


def moved(link: DirectLink) -> int:
    return link.moved


@needs_names
def test_a_run_goes_past_the_manager(
    one: Cluster, links: list[DirectLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenPassage, "accept", lambda _: False)  # else large values go there
    with Session("remote", jobmanager=one.address) as session:
        assert session.run(many(20, 0.0)) == list(range(20))
        (link,) = links
        before = moved(link)
        data = os.urandom(16 << 20)  # more than any socket takes at once
        assert session.run(size(data)) == len(data)
        assert moved(link) > before + len(data)
    assert link.fileno() == -1


def test_where_it_is_refused_all_goes_through_the_manager(
    one: Cluster, links: list[DirectLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalListener, "accept", lambda _: None)
    with Session("remote", jobmanager=one.address) as session:
        assert session.run(many(20, 0.0)) == list(range(20))
    assert links == []


@needs_names
@pytest.mark.fault(94)
def test_a_link_that_is_cut_while_tasks_run_costs_none(
    one: Cluster, links: list[DirectLink], tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    ran.mkdir()

    def cut() -> None:
        wait_until(lambda: len(list(ran.iterdir())) > 10, "tasks run")
        for link in links:
            with suppress(OSError):
                link._sock.shutdown(socket.SHUT_RDWR)

    with Session("remote", jobmanager=one.address, max_losses=1) as session:
        cutter = threading.Thread(target=cut)
        cutter.start()
        assert session.run(many(100, 0.01, str(ran))) == list(range(100))
        cutter.join()
        assert links
        assert links[0].fileno() == -1
        assert session.run(many(100, 0.0)) == list(range(100))
    assert len(list(ran.iterdir())) == 100, "each ran once"


@needs_names
def test_a_fork_of_the_client_has_no_end_of_it(one: Cluster, links: list[DirectLink]) -> None:
    """Else the host process would not see the end of the client."""
    with Session("remote", jobmanager=one.address) as session:
        assert session.run(slow(1, 0.0)) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads
            child = os.fork()
        if not child:
            os._exit(links[0].fileno() != -1)
        assert os.waitpid(child, 0)[1] == 0
        assert session.run(slow(2, 0.0)) == 2
        assert links[0].fileno() != -1


@needs_names
@pytest.mark.fault(94)
def test_a_manager_that_is_killed_is_not_missed(one: Cluster, links: list[DirectLink]) -> None:
    with Session("remote", jobmanager=one.address) as session:
        assert session.run(slow(1, 0.0)) == 1
        one.parties[0].kill()
        before = moved(links[0])
        assert session.run(many(200, 0.01)) == list(range(200))
        assert moved(links[0]) > before
        manager = one.manager()
        manager.says("worker on .* joined")
        assert session.run(many(20, 0.0)) == list(range(20))


@needs_names
def test_whoever_pretends_to_be_the_host_gets_nothing(
    one: Cluster, links: list[DirectLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process of this user, which has a worker's key, is there first."""
    liars: list[socket.socket] = []
    init = DirectListener.__init__

    def watched(self: DirectListener) -> None:
        init(self)
        liar = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        liar.connect(f"\0{self.name}")
        DirectLink(liar, C1, is_taken=True).send(os.urandom(16))
        liars.append(liar)

    monkeypatch.setattr(DirectListener, "__init__", watched)
    with Session("remote", jobmanager=one.address) as session:
        assert session.run(many(20, 0.0)) == list(range(20))
        assert len(links) == len(liars) == 1
        assert moved(links[0]) > 1000
    for liar in liars:
        with suppress(ConnectionResetError):
            assert liar.recv(1000) == b""
        liar.close()

"""Links between a manager and its peers: what passes, what does not, what is left."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zmq

from fancypipe_core import errors
from fancypipe_core.testing._leaks import holdings
from fancypipe_remote._address import Address
from fancypipe_remote._auth.keys import WORKER, ManagerKeys
from fancypipe_remote._transport import (
    MAX_PART,
    MAX_PARTS,
    Dialer,
    Listener,
    Sent,
    Waiter,
    Waker,
)
from fancypipe_remote._transport._dialer import _dealer
from tests.remote.echo import PATIENCE, Echo, ask, dialer, keys, secret
from tests.remote.proxy import Direction, Proxy
from tests.waiting import wait_until

LOCAL = Address("127.0.0.1", 0)
_DIRECTIONS: tuple[Direction, ...] = ("up", "down")


def push(link: Dialer, *parts: bytes) -> None:
    """Send, waiting for room."""
    deadline = time.monotonic() + PATIENCE
    while not link.send(parts):
        assert time.monotonic() < deadline
        Waiter(link).wait(1)


# ---- messages ------------------------------------------------------------------


def test_messages_come_with_their_senders_role() -> None:
    of = secret()
    with (
        Echo(of) as echo,
        dialer(echo.address, keys(of)) as client,
        dialer(echo.address, keys(of, WORKER)) as worker,
    ):
        assert ask(client, b"a", b"", b"b") == [b"client", b"a", b"", b"b"]
        assert ask(worker, b"c") == [b"worker", b"c"]
        assert ask(client, b"d") == [b"client", b"d"]
    peers = [peer for peer, _, _ in echo.seen]
    assert peers[0] == peers[2] != peers[1]


def test_the_largest_message_passes_and_a_larger_one_is_a_mistake() -> None:
    of = secret()
    many = [b"x"] * (MAX_PARTS - 1)
    large = [bytes(MAX_PART)] * (MAX_PARTS - 1)
    with Echo(of) as echo, dialer(echo.address, keys(of)) as link:
        assert ask(link, *many) == [b"client", *many]
        assert ask(link, *large) == [b"client", *large]
        for wrong in ([], [bytes(MAX_PART + 1)], [b""] * (MAX_PARTS + 1)):
            with pytest.raises(ValueError, match="a message cannot have"):
                link.send(wrong)


def test_a_peer_that_sends_too_much_is_ignored() -> None:
    of = secret()
    with (
        Echo(of) as echo,
        dialer(echo.address, keys(of)) as bad,
        dialer(echo.address, keys(of)) as good,
    ):
        assert ask(bad, b"before") == [b"client", b"before"]
        bad._socket.send_multipart([b"x"] * (MAX_PARTS + 1))
        bad._socket.send_multipart([b"after"])
        assert ask(good, b"hello") == [b"client", b"hello"]
        wait_until(lambda: echo.remarks, "a remark")
        assert bad.receive() is None
        bad._socket.send_multipart([bytes(MAX_PART)] * 100)
        assert ask(good, b"again") == [b"client", b"again"]
    (remark,) = echo.remarks
    assert remark == (
        "a client is ignored from now on: its message was empty, or of more than 64 parts of "
        "12288 bytes"
    )


def test_full_and_gone() -> None:
    of = secret()
    listener = Listener(LOCAL, ManagerKeys(of))
    link = Dialer(listener.address, keys(of))
    try:
        waiter = Waiter(listener, link)
        message = None
        while message is None:
            link.send([b"hello"])
            assert waiter.wait(PATIENCE)
            message = listener.receive()
        peer, _, _ = message
        sent = 0
        while (outcome := listener.send(peer, [bytes(MAX_PART)])) is Sent.OK:
            sent += 1
            assert sent < 10_000, "the queue has no bound"
        assert outcome is Sent.FULL
        got = 0
        deadline = time.monotonic() + PATIENCE
        while got < sent:
            got += link.receive() is not None
            assert time.monotonic() < deadline
        wait_until(lambda: listener.send(peer, [b"x"]) is Sent.OK, "room again")
        assert listener.send(b"nobody", [b"x"]) is Sent.GONE
        link.close()
        wait_until(lambda: listener.send(peer, [b"x"]) is Sent.GONE, "the end of the link is seen")
    finally:
        link.close()
        listener.close()


def test_nothing_is_queued_for_a_manager_that_is_not_there() -> None:
    of = secret()
    listener = Listener(LOCAL, ManagerKeys(of))
    address = listener.address
    listener.close()
    with dialer(address, keys(of)) as link:
        assert not any(link.send([b"lost"]) for _ in range(1000))
        with Echo(of, address) as echo:  # it comes after all
            assert ask(link, b"hello") == [b"client", b"hello"]
        assert [parts for _, _, parts in echo.seen] == [[b"hello"]]
        with Echo(of, address):  # and comes again
            # What is sent before the break is known is lost with it, as the stream above expects.
            answers = (ask(link, b"back", seconds=1) for _ in range(PATIENCE))
            assert next(filter(None, answers), None) == [b"client", b"back"]


def test_a_waiter_wakes_when_there_is_room() -> None:
    of = secret()
    with Echo(of) as echo, Proxy(echo.address) as proxy, dialer(proxy.address, keys(of)) as link:
        assert ask(link, b"hello")
        proxy.stalled = True
        while link.send([bytes(MAX_PART)]):
            pass
        proxy.stalled = False
        deadline = time.monotonic() + PATIENCE
        waiter = Waiter(link)
        while not link.send([b"last"]):
            assert waiter.wait(PATIENCE) == [link]
            while link.receive():
                pass
            assert time.monotonic() < deadline


def test_each_redial_is_a_link_with_a_name_of_its_own() -> None:
    of = secret()
    with Echo(of) as echo, dialer(echo.address, keys(of)) as link:
        for number in range(20):
            text = str(number).encode()
            assert ask(link, text) == [b"client", text]
            link.redial()
        assert len({peer for peer, _, _ in echo.seen}) == 20


@pytest.mark.fault(81)
def test_a_name_that_is_taken_is_not_given_again() -> None:
    """The manager's name of a link, if somebody learned it: the link stays whose it is."""
    of = secret()
    with Echo(of) as echo, dialer(echo.address, keys(of)) as honest:
        assert ask(honest, b"one") == [b"client", b"one"]
        name = echo.seen[0][0]
        with dialer(echo.address, keys(of, WORKER)) as thief:
            thief._socket.close(0)
            thief._socket = zmq_socket = _dealer(thief._context, keys(of, WORKER))
            thief._descriptor = int(zmq_socket.getsockopt(zmq.FD))
            zmq_socket.setsockopt(zmq.ROUTING_ID, name)
            zmq_socket.connect(f"tcp://{echo.address}")
            assert ask(thief, b"mine now", seconds=0.5) is None
            assert ask(honest, b"two") == [b"client", b"two"]
    assert [parts for _, _, parts in echo.seen] == [[b"one"], [b"two"]]


def test_a_peer_comes_back_while_its_old_link_looks_alive() -> None:
    """The other half of the old link is still open: the new one must not be mute."""
    of = secret()
    with Echo(of) as echo, Proxy(echo.address) as proxy, dialer(proxy.address, keys(of)) as link:
        assert ask(link, b"one") == [b"client", b"one"]
        proxy.stalled = True
        link.redial(echo.address)
        assert ask(link, b"two") == [b"client", b"two"]


def test_what_is_on_its_way_at_the_end_can_be_waited_for() -> None:
    of = secret()
    with Echo(of) as echo:
        link = Dialer(echo.address, keys(of))
        push(link, b"bye")
        link.close(linger=PATIENCE)
        wait_until(lambda: echo.seen, "the last message")
    assert echo.seen[0][2] == [b"bye"]


def test_both_find_out_when_the_other_machine_falls_silent() -> None:
    of = secret()
    listener = Listener(LOCAL, ManagerKeys(of))
    try:
        with Proxy(listener.address) as proxy, dialer(proxy.address, keys(of)) as link:
            waiter, message = Waiter(listener, link), None
            while message is None:
                link.send([b"hello"])
                assert waiter.wait(PATIENCE)
                message = listener.receive()
            proxy.stalled = True
            wait_until(
                lambda: listener.send(message[0], [b"x"]) is Sent.GONE, "the manager sees it"
            )
            before = proxy.connections
            wait_until(lambda: proxy.connections > before, "the peer tries anew")
    finally:
        listener.close()


def test_a_link_that_is_cut_anywhere_comes_back() -> None:
    of = secret()
    body = bytes(5000)
    with Echo(of) as echo, Proxy(echo.address) as proxy, dialer(proxy.address, keys(of)) as link:
        for direction in _DIRECTIONS:
            for offset in (1, 11, 63, 64, 100, 270, 600, 3000, 9000):
                before = proxy.connections
                proxy.cut_at(direction, offset)
                link.redial()
                deadline = time.monotonic() + PATIENCE
                while proxy.connections < before + 2:
                    link.send([b"hello", body])
                    Waiter(link).wait(0.02)
                    while link.receive():
                        pass
                    assert time.monotonic() < deadline, "it does not try anew"
                proxy.cut_at(direction, None)
                link.redial()
                push(link, b"hello", body)
                wait_until(link.receive, "an answer")
        proxy.cut()  # what was on its way is lost, so it is sent until there is an answer
        wait_until(lambda: ask(link, b"hello", body, seconds=0.5), "an answer")
    assert all(parts == [b"hello", body] for _, _, parts in echo.seen)


def test_a_slow_and_late_link() -> None:
    of = secret()
    with (
        Echo(of) as echo,
        Proxy(echo.address, delay=0.05, rate=500_000) as proxy,
        dialer(proxy.address, keys(of)) as link,
    ):
        began = time.monotonic()
        parts = [bytes(10_000)] * 10
        assert ask(link, *parts) == [b"client", *parts]
        assert time.monotonic() - began > 0.1 + 0.4, "it is as slow as that"


# ---- waiting -------------------------------------------------------------------


def test_a_waker_ends_a_wait_from_another_thread() -> None:
    waker = Waker()
    waiter = Waiter(waker)
    assert waiter.wait(0) == []
    timer = threading.Timer(0.05, waker.wake)
    timer.start()
    assert waiter.wait(PATIENCE) == [waker]
    timer.join()
    for _ in range(100_000):  # far more than it can hold
        waker.wake()
    assert waiter.wait(PATIENCE) == [waker]
    assert waiter.wait(0) == [], "it is calm again"
    waker.close()
    waker.wake()


def test_a_waiter_takes_descriptors() -> None:
    read, write = os.pipe()
    try:
        waiter = Waiter()
        assert waiter.wait(0.01, [read]) == []
        os.write(write, b"x")
        assert waiter.wait(None, [read]) == [read]
        assert waiter.wait(None, [read]) == [read], "until it is read"
        assert waiter.wait(0) == []
    finally:
        os.close(read)
        os.close(write)


def test_nothing_is_missed_between_two_waits() -> None:
    """libzmq's descriptor tells of changes only; a waiter tells of what is there."""
    of = secret()
    listener = Listener(LOCAL, ManagerKeys(of))
    try:
        with dialer(listener.address, keys(of)) as link:
            waiter = Waiter(listener)
            sent = 0
            while sent < 10:
                sent += link.send([b"x"])
                waiter.wait(0)
                if not sent:
                    assert listener.receive() is None
            for _ in range(10):  # one by one, with a wait before each
                deadline = time.monotonic() + PATIENCE
                while listener.receive() is None:
                    assert waiter.wait(PATIENCE) == [listener]
                    assert time.monotonic() < deadline
    finally:
        listener.close()


# ---- where to listen -----------------------------------------------------------


def refusal(address: Address) -> str:
    with pytest.raises(errors.UsageError) as caught:
        Listener(address, ManagerKeys(secret()))
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.fault(45)
def test_a_port_in_use() -> None:
    with Echo(secret()) as echo:
        assert refusal(echo.address) == (
            f"cannot listen on {echo.address}: the port is in use; is another manager running?"
        )


@pytest.mark.fault(45)
@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-interface", "2001:db8::1"])
def test_an_address_that_this_machine_does_not_have(host: str) -> None:
    address = Address(host, 50007)
    assert refusal(address) == (
        f"cannot listen on {address}: this machine has no such interface or address"
    )


@pytest.mark.fault(45)
def test_a_privileged_port() -> None:
    code = """\
import os
from fancypipe_core import errors
from tests.remote.test_transport import Address, Listener, ManagerKeys, secret
os.setuid(65534)
try:
    Listener(Address("127.0.0.1", 7), ManagerKeys(secret()))
except errors.UsageError as error:
    print(error)
"""
    if os.geteuid() != 0:
        code = code.replace("os.setuid(65534)\n", "")
    over = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    start = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if start.exists() and int(start.read_text()) <= 7:
        pytest.skip("here everybody may use all ports")
    assert over.stdout == (
        "cannot listen on 127.0.0.1:7: ports below 1024 are for the administrator only\n"
    ), over.stderr


def test_all_interfaces_and_both_versions_of_ip() -> None:
    of = secret()
    with Echo(of, Address("*", 0)) as echo:
        hosts = ["127.0.0.1"]
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind(("::1", 0))
                hosts.append("::1")
            except OSError:  # no IPv6 here
                pass
        for host in hosts:
            with dialer(Address(host, echo.address.port), keys(of)) as link:
                assert ask(link, b"hello") == [b"client", b"hello"]


def test_many_links_have_room() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        Listener(LOCAL, ManagerKeys(secret())).close()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard == before[1]
        assert soft == (2**20 if hard == resource.RLIM_INFINITY else min(hard, 2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_scarce_room_is_told_in_time() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    listener = Listener(LOCAL, ManagerKeys(secret()))
    try:
        assert listener.remarks() == []
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, before[1]))
        assert listener.remarks() == [], "not looked at each time"
        listener._look_again = 0
        (remark,) = listener.remarks()
        assert remark == (
            f"{used} of {used} descriptors are in use, and each link takes one: without more "
            "(`ulimit -n`, or LimitNOFILE of systemd) no further connection is accepted"
        )
        assert listener.remarks() == [], "once a minute"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        listener.close()


# ---- what is left --------------------------------------------------------------


def test_nothing_is_left() -> None:
    of = secret()
    with Echo(of) as echo, dialer(echo.address, keys(of)) as link:
        assert ask(link, b"the first use of anything may keep something")
    before, links = holdings(), set(_threads())
    for _ in range(5):
        with Echo(of) as echo, dialer(echo.address, keys(of)) as link:
            assert ask(link, b"hello")
            link.redial()
            assert ask(link, b"hello")
        with pytest.raises(errors.UsageError):
            Listener(Address("203.0.113.7", 50007), ManagerKeys(of))
        with dialer(Address("127.0.0.1", 1), keys(of)) as link:
            assert not link.send([b"nobody"])
    assert holdings().more_than(before) == []
    assert set(_threads()) <= links, "also none of libzmq's"


def _threads() -> list[str]:
    return os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else []


def test_libzmq_is_used_in_one_place() -> None:
    import fancypipe_remote

    source = Path(fancypipe_remote.__file__).parent
    users = {
        path.relative_to(source).parts[0]
        for path in source.rglob("*.py")
        if "import zmq" in path.read_text() or "from zmq" in path.read_text()
    }
    assert users == {"_transport", "_auth"}

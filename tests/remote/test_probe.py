"""What is wrong with an address or a secret is told, word by word, within a second or so."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import AbstractContextManager

import pytest

from fancypipe_core import errors
from fancypipe_core.testing._leaks import holdings
from fancypipe_remote._address import Address
from fancypipe_remote._auth.keys import CLIENT, WORKER, ManagerKeys, PeerKeys
from fancypipe_remote._transport import Handshake, Listener
from fancypipe_remote._transport import probe as _probe
from fancypipe_remote._transport.probe import meet
from tests.remote import services
from tests.remote.echo import Echo, ask, dialer, keys, secret
from tests.remote.proxy import Proxy

# What is seen is 60 ms and less; this is for a machine that is slow and busy.
SOON = 8.0


def told(
    address: Address, of: PeerKeys | None = None, seconds: float = SOON
) -> errors.ChannelError:
    """Return the error of a meeting, which must come in time."""
    began = time.monotonic()
    with pytest.raises(errors.ChannelError) as caught:
        meet(address, of or keys(secret()), seconds)
    assert time.monotonic() - began < seconds + 5
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may be silent for a while; here only the caller's limit counts."""
    monkeypatch.setattr(_probe, "_SILENCE", SOON)


WRONG = (
    "the manager at {} answers, but has another -jobauth secret (or cluster name): use the secret "
    "of the manager's machine, where `fancypipe secret show-path` says which file it is in"
)


def test_the_right_one() -> None:
    of = secret()
    with Echo(of) as echo:
        for role in (CLIENT, WORKER):
            assert meet(echo.address, keys(of, role), SOON) == echo.address
        found = meet(Address("localhost", echo.address.port), keys(of), SOON)
        assert found == echo.address, "in numbers"
        with dialer(found, keys(of)) as link:
            assert ask(link, b"hello") == [b"client", b"hello"]
    assert len(echo.seen) == 1
    assert echo.remarks == []


@pytest.mark.fault(58)
@pytest.mark.parametrize("role", [CLIENT, WORKER])
def test_a_wrong_secret(role: str) -> None:
    with Echo(secret()) as echo:
        began = time.monotonic()
        error = told(echo.address, keys(secret(), role))
        assert time.monotonic() - began < SOON
        assert str(error) == WRONG.format(echo.address)
        assert isinstance(error, errors.AuthenticationFailed)
        assert error.exit_code == 3


@pytest.mark.fault(58)
def test_a_wrong_cluster_name() -> None:
    of = secret()
    with Echo(of) as echo:
        error = told(echo.address, PeerKeys(of, CLIENT, "north"))
    assert str(error) == WRONG.format(echo.address)
    assert error.exit_code == 3


@pytest.mark.fault(58)
def test_a_key_that_the_manager_does_not_admit() -> None:
    """The manager is the right one, and the key is not: this one the manager sees."""
    of = secret()
    stranger = keys(of)
    stranger._own = keys(secret())._own
    with Echo(of) as echo:
        for _ in range(5):
            error = told(echo.address, stranger)
            assert str(error) == WRONG.format(echo.address)
        with dialer(echo.address, stranger) as link:
            assert ask(link, b"let me in", seconds=0.5) is None
        with dialer(echo.address, keys(of)) as link:
            assert ask(link, b"hello")
    assert [parts for _, _, parts in echo.seen] == [[b"hello"]]
    assert echo.remarks == [
        "a peer at 127.0.0.1 was refused: it knows the manager but not our secret"
    ], "once, not each time"


@pytest.mark.fault(58)
def test_a_wrong_secret_is_no_wait_for_ever() -> None:
    with Echo(secret()) as echo, dialer(echo.address, keys(secret())) as link:
        assert ask(link, b"hello", seconds=0.5) is None
    assert echo.seen == []


def test_nothing_listens() -> None:
    with services.nothing() as address:
        error = told(address)
    assert str(error) == (
        f"nothing listens at {address}: is the manager running there (`fancypipe manager "
        f"-jobmanager={address}`), and is the port right?"
    )
    assert isinstance(error, errors.ConnectionLost)
    assert error.exit_code == 1


def test_an_unknown_host() -> None:
    error = told(Address("no-such-host.invalid", 5))
    assert str(error).startswith("the host 'no-such-host.invalid' is not known here (")
    assert isinstance(error, errors.ConnectionLost)


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (services.says(b"SSH-2.0-OpenSSH_9.6\r\n"), "'SSH-2.0-OpenSSH_9.6'"),
        (services.says(b"220 mail.example ESMTP\r\n"), "'220 mail.example ESMTP'"),
        (services.says(b"\x15\x03\x03\0\x02\x02\x32"), "a TLS alert (it is a TLS service)"),
        (services.says(b"J\0\0\0\x0a8.0\0"), r"b'J\x00\x00\x00\n8.0\x00'"),
        (services.says(b"x" * 1000), repr("x" * 64)),
        (services.says(b"\xff" * 1000), repr(b"\xff" * 64)),
        (
            services.says(b"\xff\0\0\0\0\0\0\0\x01\x7f"),
            r"b'\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f'",
        ),
        (services.says(b"\n\n"), r"b'\n\n'"),
    ],
    ids=["ssh", "smtp", "tls", "mysql", "long", "binary", "half a greeting", "blank"],
)
def test_another_service(service: AbstractContextManager[Address], said: str) -> None:
    with service as address:
        error = told(address, seconds=2)
    assert str(error) == f"{address} is not a fancypipe manager, it said: {said}"
    assert isinstance(error, errors.ProtocolError)
    assert error.exit_code == 1


def test_a_web_server() -> None:
    """It waits for a line, so it is given one."""
    with services.web() as address:
        error = told(address, seconds=2)
    message = str(error)
    assert message.startswith(f"{address} is not a fancypipe manager, it said: '")
    assert "HTML" in message.upper() or "HTTP" in message


@pytest.mark.parametrize(
    "service", [services.silent(), services.hangs_up()], ids=["silent", "hangs up"]
)
def test_somebody_who_says_nothing(service: AbstractContextManager[Address]) -> None:
    with service as address:
        error = told(address, seconds=1)
    assert str(error) == (
        f"{address} accepts connections but says nothing: it is not a fancypipe manager, or one "
        "that is stopped or has too much to do"
    )
    assert isinstance(error, errors.ConnectionLost), "worth another try"


def test_silence_is_told_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with services.silent() as address:
        began = time.monotonic()
        told(address, seconds=60)
        assert time.monotonic() - began < 10, "0.9 s, on a machine that has nothing else to do"


@pytest.mark.parametrize(
    ("plain", "what"), [(False, "without security"), (True, "with PLAIN security")]
)
def test_another_zeromq_service(plain: bool, what: str) -> None:
    with services.zeromq(plain) as address:
        error = told(address)
    assert str(error) == f"{address} is not a fancypipe manager: it is a ZeroMQ service {what}"
    assert isinstance(error, errors.ProtocolError)


def test_a_manager_that_does_not_come_to_let_anybody_in() -> None:
    of = secret()
    listener = Listener(Address("127.0.0.1", 0), ManagerKeys(of))
    try:
        error = told(listener.address, keys(of), 0.5)
        assert str(error) == (
            f"the manager at {listener.address} did not accept the connection within 0.5 s: it "
            "is stopped, or has too much to do"
        )
        assert isinstance(error, errors.ConnectionLost)
    finally:
        listener.close()


def test_a_manager_that_goes_while_we_connect() -> None:
    """It greets the probe, and is gone when it comes to the handshake."""
    of = secret()
    with Echo(of) as echo:
        before = _probe.probe

        def then_gone(address: Address, seconds: float) -> tuple[Address, float]:
            found = before(address, seconds)
            echo.stop()
            echo._thread.join()
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_probe, "probe", then_gone)
            error = told(echo.address, keys(of), 0.5)
    assert str(error) == f"the manager at {echo.address} went away while we connected"


def test_a_machine_that_does_not_answer() -> None:
    """A full queue of newcomers: packets are dropped, as by a firewall."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = Address(*server.getsockname())
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            error = told(address, seconds=0.5)
        finally:
            for filler in fillers:
                filler.close()
    assert str(error) == (
        f"{address} does not answer within 0.5 s: the machine is off, or a firewall drops what is "
        f"sent to port {address.port}"
    )


def test_a_name_with_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` may be ::1 first, while the manager listens on 127.0.0.1."""
    of = secret()
    with Echo(of) as echo, services.nothing() as nobody:
        candidates = [nobody, echo.address]
        monkeypatch.setattr(_probe, "resolve", lambda *_: candidates)
        assert meet(Address("name", 5), keys(of), SOON) == echo.address


def test_a_slow_link_is_no_wrong_secret() -> None:
    of = secret()
    with Echo(of) as echo, Proxy(echo.address, delay=0.1) as proxy:
        assert meet(proxy.address, keys(of), SOON) == proxy.address


def test_a_far_machine_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much as its distance asks for, and no more than the caller says."""
    given: list[float] = []

    def far(address: Address, seconds: float) -> tuple[Address, float]:
        return address, 0.4

    def shake(address: Address, of: PeerKeys, seconds: float) -> Handshake:
        given.append(round(seconds, 1))
        return Handshake.DONE

    monkeypatch.setattr(_probe, "_SILENCE", 0.9)
    monkeypatch.setattr(_probe, "probe", far)
    monkeypatch.setattr(_probe, "shake_hands", shake)
    for limit in (10, 2):
        meet(Address("127.0.0.1", 5), keys(secret()), limit)
    assert given == [3.2, 2.0]


def test_one_broken_handshake_is_no_wrong_secret() -> None:
    of = secret()
    with Echo(of) as echo, Proxy(echo.address) as proxy:
        assert meet(proxy.address, keys(of), SOON)
        proxy.flip("up", skip=12 + 64 + 150)  # the probe, our greeting, then what is encrypted
        assert meet(proxy.address, keys(of), SOON) == proxy.address
        assert proxy.flipped


def test_nothing_is_left_of_a_meeting() -> None:
    of = secret()
    with Echo(of) as echo, services.nothing() as nobody:
        meet(echo.address, keys(of), SOON)
        before = holdings()
        for _ in range(5):
            meet(echo.address, keys(of), SOON)
            told(echo.address)
            told(nobody)
        left = [phrase for phrase in holdings().more_than(before) if "socket" not in phrase]
        assert left == [], "(the manager's sockets are in this process too)"
    names = [thread.name for thread in threading.enumerate()]
    assert "fancypipe-resolve" not in names

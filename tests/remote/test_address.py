"""`HOST[:PORT]`, and from names to numbers."""

from __future__ import annotations

import re
import socket
import threading
from typing import Any

import pytest

from fancypipe_core import errors
from fancypipe_remote._address import PORT, Address, is_loopback, parse, resolve


@pytest.mark.parametrize(
    ("text", "host", "port", "back"),
    [
        ("ipA", "ipA", PORT, "ipA:51423"),
        ("ipA:5432", "ipA", 5432, "ipA:5432"),
        ("10.0.0.7:1", "10.0.0.7", 1, "10.0.0.7:1"),
        ("::1", "::1", PORT, "[::1]:51423"),
        ("[::1]", "::1", PORT, "[::1]:51423"),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535, "[fe80::1%eth0]:65535"),
    ],
)
def test_what_can_be_typed(text: str, host: str, port: int, back: str) -> None:
    address = parse(text)
    assert address == Address(host, port)
    assert str(address) == back
    assert parse(back) == address


def test_a_listener_may_say_more() -> None:
    assert parse("*:0", listening=True) == Address("*", 0)


@pytest.mark.parametrize(
    "text", ["", ":5", "a:b:c", "[::1", "[::1]5", "[a]:5", "a b", "x@h:5", "tcp://h:5", "h\n:5"]
)
def test_what_is_no_address(text: str) -> None:
    message = f"-jobmanager={text}: must be HOST or HOST:PORT, such as ipA:5432"
    with pytest.raises(errors.UsageError, match=re.escape(message)) as caught:
        parse(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "port", ["", "0", "65536", "-1", "x", "5 ", "99999999999", "\N{ARABIC-INDIC DIGIT FIVE}"]
)
def test_what_is_no_port(port: str) -> None:
    message = f"-jobmanager=h:{port}: the port must be a number from 1 to 65535, not {port!r}"
    with pytest.raises(errors.UsageError, match=re.escape(message)):
        parse(f"h:{port}")


def test_a_star_is_for_listening() -> None:
    with pytest.raises(errors.UsageError, match="is a place to listen, not to connect to"):
        parse("*:5")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *[(host, True) for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1")],
        *[(host, False) for host in ("*", "0.0.0.0", "::", "10.0.0.1", "localhost.example")],
    ],
)
def test_whether_others_can_reach_it(host: str, local: bool) -> None:
    assert is_loopback(host) == local


def test_numbers_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert resolve(Address("::1", 5), 1) == [Address("::1", 5)]


def test_localhost_is_found() -> None:
    assert Address("127.0.0.1", 5) in resolve(Address("localhost", 5), 30)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70, "a..b"])
def test_a_name_that_nobody_has(host: str) -> None:
    with pytest.raises(errors.ConnectionLost) as caught:
        resolve(Address(host, 5), 30)
    message = str(caught.value)
    assert message.startswith(f"the host {host!r} is not known here (")
    assert message.endswith("): is -jobmanager spelled rightly?")
    assert caught.value.exit_code == 1


def test_a_name_service_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def forever(*_: Any, **__: Any) -> None:
        over.wait(60)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", forever)
    try:
        with pytest.raises(errors.ConnectionLost, match=r"was not resolved within 0\.05 s"):
            resolve(Address("slow.example", 5), 0.05)
    finally:
        over.set()

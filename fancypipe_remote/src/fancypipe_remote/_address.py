"""Where the manager is: reading `HOST[:PORT]`, and from names to numbers."""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from typing import NamedTuple

from fancypipe_core import errors

__all__ = ["PORT", "Address", "is_loopback", "parse", "resolve"]

PORT = 51423


class Address(NamedTuple):
    """A place on the network; as text `HOST:PORT`, with brackets around IPv6.

    Attributes:
        host: A name, a number, or `*` for all interfaces.
        port: 1 to 65535; 0 for any free one, where one listens.
    """

    host: str
    port: int = PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str, *, listening: bool = False) -> Address:
    """Read `HOST[:PORT]`.

    Args:
        text: What was typed: `ipA`, `ipA:5432`, `10.0.0.7`, `::1`, `[::1]:5432`; without a port
            it is 51423.
        listening: It is to be listened on, so that `*` and port 0 make sense.

    Raises:
        UsageError: It is none of these.
    """
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise _unreadable(text)
        port = rest[1:] if rest else str(PORT)
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        port = str(PORT)
        if ":" in text and not _is_number(text):
            raise _unreadable(text)
    if not host or not host.isprintable() or any(c in host for c in " /@,;"):
        raise _unreadable(text)
    if host == "*" and not listening:
        raise errors.UsageError(f"-jobmanager={text}: `*` is a place to listen, not to connect to")
    lowest = 0 if listening else 1
    if not (port.isascii() and port.isdigit() and lowest <= int(port[:6]) <= 65535):
        raise errors.UsageError(
            f"-jobmanager={text}: the port must be a number from 1 to 65535, not {port!r}"
        )
    return Address(host, int(port))


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach this host, for sure."""
    if host.lower() == "localhost":
        return True
    return _is_number(host) and ipaddress.ip_address(host.partition("%")[0]).is_loopback


def resolve(address: Address, seconds: float) -> list[Address]:
    """Return the numeric addresses of a host, the best first, each once.

    `localhost` and the like may have two, and a manager that listens on one of them.

    Args:
        address: Where somebody listens.
        seconds: How long to wait; the system's own limit can be half a minute.

    Raises:
        ConnectionLost: The name has no address, or nobody said so in time.
    """
    if _is_number(address.host):
        return [address]
    answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            answers.put([str(info[4][0]) for info in infos])
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else OSError(0, "not a host name"))

    # The call cannot be given up; the thread that makes it can.
    threading.Thread(target=ask, name="fancypipe-resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise errors.ConnectionLost(
            f"the name {address.host!r} was not resolved within {seconds:g} s: "
            "the name service does not answer; a numeric address needs none"
        ) from None
    if isinstance(answer, OSError):
        raise errors.ConnectionLost(
            f"the host {address.host!r} is not known here ({answer.strerror}): "
            "is -jobmanager spelled rightly?"
        )
    return [Address(host, address.port) for host in dict.fromkeys(answer)]


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _unreadable(text: str) -> errors.UsageError:
    return errors.UsageError(f"-jobmanager={text}: must be HOST or HOST:PORT, such as ipA:5432")

"""Finding out, within a second, what is at an address, and saying it.

libzmq alone would try for ever and say nothing.  So before it connects somebody else
does: a plain connection, the first bytes of the protocol, and a look at the answer.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import NamedTuple

from fancypipe_core import errors
from fancypipe_remote._address import Address, resolve
from fancypipe_remote._keys import PeerKeys
from fancypipe_remote._transport import Handshake, shake_hands

__all__ = ["meet", "probe"]

# ZMTP 3: a signature, and the version.  A peer answers with its own and with its mechanism.
_GREETING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01"
_LENGTH = 64
_NUDGE = b"\r\n\r\n"


class _Answer(NamedTuple):
    address: Address
    data: bytes


def meet(address: Address, keys: PeerKeys, seconds: float = 2.0) -> Address:
    """Return where the manager is, in numbers, having seen that it will let us in.

    It waits, and may be called in any thread.  Everything it makes is gone afterwards.

    Args:
        address: Where the user says the manager is.
        keys: Who we are.
        seconds: How long it may take at most; what is wrong is usually known much earlier.

    Raises:
        ConnectionLost: Nobody is there, or does not answer; that may change.
        ProtocolError: Somebody else is there.
        AuthenticationFailed: The manager is there and has another secret or cluster name.
    """
    deadline = time.monotonic() + seconds
    found = probe(address, seconds)
    outcome = shake_hands(found, keys, max(0.2, deadline - time.monotonic()))
    if outcome is Handshake.DONE:
        return found
    if outcome is Handshake.REFUSED:
        raise errors.AuthenticationFailed(
            f"the manager at {address} answers, but has another -jobauth secret (or cluster "
            "name): use the secret of the manager's machine, where `fancypipe secret show-path` "
            "says which file it is in"
        )
    if outcome is Handshake.GONE:
        raise errors.ConnectionLost(f"the manager at {address} went away while we connected")
    raise errors.ConnectionLost(
        f"the manager at {address} did not let us in within {seconds:g} s: it is stopped, "
        "or has too much to do"
    )


def probe(address: Address, seconds: float = 2.0) -> Address:
    """Return the numeric address at which a service with CURVE, likely a manager, listens.

    Args:
        address: Where to look.
        seconds: How long it may take at most.

    Raises:
        ConnectionLost: Nobody is there, or does not answer; that may change.
        ProtocolError: Somebody else is there.
    """
    deadline = time.monotonic() + seconds
    candidates = resolve(address, seconds)
    failures: list[OSError] = []
    for number, candidate in enumerate(candidates):
        # What is left is shared out, so that a dead address leaves time for the next.
        left = max(0.05, deadline - time.monotonic()) / (len(candidates) - number)
        try:
            answer = _greet(candidate, left)
        except OSError as error:
            failures.append(error)
            continue
        _judge(address, answer)
        return candidate
    raise _unreachable(address, failures, seconds)


def _greet(address: Address, seconds: float) -> bytes:
    """Return the first bytes that somebody says when greeted; raise OSError if nobody is there."""
    deadline = time.monotonic() + seconds
    data = b""
    with socket.create_connection(address, timeout=seconds) as connection:
        try:
            connection.sendall(_GREETING)
            nudge_at = time.monotonic() + min(0.5, max(0.0, deadline - time.monotonic()) / 2)
            nudged = False
            while len(data) < _LENGTH and (left := deadline - time.monotonic()) > 0:
                if not nudged and not data:
                    left = min(left, nudge_at - time.monotonic())
                try:
                    connection.settimeout(max(0.001, left))
                    more = connection.recv(_LENGTH - len(data))
                except TimeoutError:
                    if not nudged and not data:
                        connection.sendall(_NUDGE)  # to services that wait for a line
                        nudged = True
                    continue
                if not more:
                    break
                data += more
                if not _like_zmtp(data):
                    break
        except OSError:
            pass  # it hung up; what it said before is the answer
    return data


def _like_zmtp(data: bytes) -> bool:
    return data[:1] == b"\xff" and (len(data) < 10 or data[9] & 1 == 1)


def _judge(address: Address, data: bytes) -> None:
    """Raise what is wrong with an answer."""
    if not data:
        raise errors.ConnectionLost(
            f"{address} accepts connections but says nothing: it is not a fancypipe manager, "
            "or one that is stopped or has too much to do"
        )
    if _like_zmtp(data) and len(data) == _LENGTH:
        mechanism = data[12:32].rstrip(b"\0").decode("ascii", "replace")
        if mechanism == "CURVE":
            return
        what = "without security" if mechanism == "NULL" else f"with {mechanism!r} security"
        raise errors.ProtocolError(
            f"{address} is not a fancypipe manager: it is a ZeroMQ service {what}"
        )
    raise errors.ProtocolError(f"{address} is not a fancypipe manager, it said: {_said(data)}")


def _said(data: bytes) -> str:
    if data[:1] == b"\x15" and data[1:2] == b"\x03":
        return "a TLS alert (it is a TLS service)"
    line = data.splitlines()[0] if data.strip() else data
    text = line.decode("ascii", "replace")
    return repr(text) if text.isprintable() and text.isascii() else repr(line)


def _unreachable(
    address: Address, failures: list[OSError], seconds: float
) -> errors.ConnectionLost:
    numbers = {error.errno for error in failures}
    if errno.ECONNREFUSED in numbers:
        return errors.ConnectionLost(
            f"nothing listens at {address}: is the manager running there (`fancypipe manager "
            f"-jobmanager={address}`), and is the port right?"
        )
    if any(isinstance(error, TimeoutError) for error in failures):
        return errors.ConnectionLost(
            f"{address} does not answer within {seconds:g} s: the machine is off, or a firewall "
            f"drops what is sent to port {address.port}"
        )
    code = next((error.errno for error in failures if error.errno), 0)
    return errors.ConnectionLost(
        f"{address} cannot be reached from here: {os.strerror(code) if code else failures[0]}"
    )

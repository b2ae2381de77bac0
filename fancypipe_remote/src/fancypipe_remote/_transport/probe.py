"""Finding out, within a second, what is at an address, and saying it.

libzmq alone would try for ever and say nothing.  So before it connects somebody else
does: a plain connection, the first bytes of the protocol, and a look at the answer.
"""

from __future__ import annotations

import errno
import os
import socket
import time

from fancypipe_core import errors
from fancypipe_remote._address import Address, resolve
from fancypipe_remote._auth.keys import PeerKeys
from fancypipe_remote._transport import Handshake, shake_hands

__all__ = ["meet", "probe"]

# ZMTP 3: a signature, and the version.  A peer answers with its own and with its mechanism.
_GREETING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01"
_LENGTH = 64
_NUDGE = b"\r\n\r\n"
# Seconds of silence, on a near network; on a far one it is so many round trips.
_SILENCE = 0.9
_TRIPS = 8


def meet(address: Address, keys: PeerKeys, seconds: float = 5.0) -> Address:
    """Return where the manager is, in numbers, having seen that it will let us in.

    It waits, and may be called in any thread.  Everything it makes is gone afterwards.

    Args:
        address: Where the user says the manager is.
        keys: Who we are.
        seconds: How long it may take at most.  What is wrong is known within a second on a near
            network, except that packets are dropped on the way.

    Raises:
        ConnectionLost: Nobody is there, or does not answer; that may change.
        ProtocolError: Somebody else is there.
        AuthenticationFailed: The manager is there and has another secret or cluster name.
    """
    deadline = time.monotonic() + seconds
    found, trip = probe(address, seconds)
    left = min(max(0.1, deadline - time.monotonic()), max(_SILENCE, _TRIPS * trip))
    outcome = shake_hands(found, keys, left)
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
        f"the manager at {address} did not accept the connection within {left:.1f} s: it is "
        "stopped, or has too much to do"
    )


def probe(address: Address, seconds: float = 5.0) -> tuple[Address, float]:
    """Return the numeric address of a service with CURVE, likely a manager, and how far it is.

    The second is the time of a round trip, in seconds.

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
            answer, trip = _greet(candidate, left)
        except OSError as error:
            failures.append(error)
            continue
        _judge(address, answer)
        return candidate, trip
    raise _unreachable(address, failures, seconds)


def _greet(address: Address, seconds: float) -> tuple[bytes, float]:
    """Return what somebody says when greeted, and the time to get there.

    Raises:
        OSError: Nobody is there.
    """
    began = time.monotonic()
    data = b""
    with socket.create_connection(address, timeout=seconds) as connection:
        trip = time.monotonic() - began
        patience = min(seconds - trip, max(_SILENCE, _TRIPS * trip))
        deadline = began + trip + patience
        nudge_at = deadline - patience / 2
        try:
            connection.sendall(_GREETING)
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
    return data, trip


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
        mechanism = data[12:32].rstrip(b"\0")
        if mechanism == b"CURVE":
            return
        if mechanism.isalnum():
            what = "out" if mechanism == b"NULL" else f" {mechanism.decode()}"
            raise errors.ProtocolError(
                f"{address} is not a fancypipe manager: it is a ZeroMQ service with{what} security"
            )
    raise errors.ProtocolError(f"{address} is not a fancypipe manager, it said: {_said(data)}")


def _said(data: bytes) -> str:
    if data[:1] == b"\x15" and data[1:2] == b"\x03":
        return "a TLS alert (it is a TLS service)"
    lines = data.decode("ascii", "replace").splitlines()
    if data.isascii() and data.strip() and all(line.isprintable() for line in lines):
        return repr(lines[0])
    return repr(data)


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

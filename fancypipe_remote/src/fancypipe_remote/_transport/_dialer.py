"""The end of a link that a client or worker has."""

from __future__ import annotations

import enum
import math
import struct
import time
from collections.abc import Sequence

import zmq

from fancypipe_remote._address import Address
from fancypipe_remote._auth.keys import PeerKeys
from fancypipe_remote._transport._link import (
    READ,
    WRITE,
    Context,
    Socket,
    check,
    happened,
    receive_rest,
    set_options,
)

__all__ = ["Dialer", "Handshake", "shake_hands"]

# What begins an event of a monitor: its number and a value.  The parser of pyzmq does the
# same, but its module imports asyncio, which takes longer than zmq itself.
_EVENT = struct.Struct("=Hi")


class Handshake(enum.Enum):
    """How a manager received somebody."""

    DONE = "it accepted the connection"
    REFUSED = "its keys do not fit ours"
    SILENT = "it did not answer in time"
    GONE = "it is gone"


class Dialer:
    """The end of a client or worker: one link to the manager.

    It connects by itself, and again when the link breaks.  Not always: after a refusal, or a
    bit that was flipped at the wrong time, libzmq tries no more and says nothing.  So who
    has heard nothing for too long must `redial`.  Whether somebody is there is known when a
    message comes; `meet` tells beforehand.

    Args:
        address: Where the manager is, in numbers (`meet` finds them).
        keys: Who we are.
    """

    def __init__(self, address: Address, keys: PeerKeys) -> None:
        self.address = address
        self._keys = keys
        self._context = zmq.Context(io_threads=1)
        self._full = False
        self._is_read = False  # whether a message is known to be there
        self._is_quiet = False  # whether its descriptor tells when there is something new
        self._socket = self._connect()

    def receive(self) -> list[bytes] | None:
        """Return the next message, or None if none is there."""
        while self._is_read or happened(self._socket) & READ:
            self._is_read = self._is_quiet = False
            try:
                first = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:  # it went with its link
                continue
            rest = receive_rest(self._socket)
            if rest is not None:
                return [first, *rest]
        return None

    def send(self, parts: Sequence[bytes]) -> bool:
        """Send a message, if that can be done at once; False if not: no link, or it is full.

        A `Waiter` then also wakes when it can be tried again.

        Raises:
            ValueError: It is no message: too large, or nothing.
        """
        check(parts)
        self._is_quiet = False
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
            self._full = False
        except zmq.Again:
            self._full = True
        return not self._full

    def redial(self, address: Address | None = None) -> None:
        """Drop the link and what is on its way, and make a new one.

        For a link that has been silent for too long.

        Args:
            address: Another place where the manager is now.
        """
        self.address = address or self.address
        self._socket.close(0)
        self._full = self._is_read = self._is_quiet = False
        self._socket = self._connect()

    def close(self, linger: float = 0) -> None:
        """End the link.

        Args:
            linger: Wait up to so many seconds until what is on its way has left.
        """
        self._socket.close(round(linger * 1000))
        self._context.term()

    def _filenos(self) -> tuple[int, ...]:
        return (self._descriptor,)

    def _happened(self, descriptor: int = -1) -> bool:
        if self._is_quiet and descriptor < 0:
            return False  # nobody has used the socket since: what is new makes it readable
        events = happened(self._socket)
        self._is_read = bool(events & READ)
        self._is_quiet = not events & (READ | WRITE if self._full else READ)
        return not self._is_quiet

    def _connect(self) -> Socket:
        socket = _dealer(self._context, self._keys)
        socket.connect(f"tcp://{self.address}")
        self._descriptor = int(socket.getsockopt(zmq.FD))
        return socket


def _dealer(context: Context, keys: PeerKeys) -> Socket:
    socket: Socket = context.socket(zmq.DEALER)
    set_options(socket)
    for option, value in (
        (zmq.IMMEDIATE, 1),  # else what is sent before the link is there is queued for nobody
        (zmq.RECONNECT_IVL, 50),  # and a random part, so that not all come back at once
        (zmq.RECONNECT_IVL_MAX, 2000),
        (zmq.CONNECT_TIMEOUT, 3000),
    ):
        socket.setsockopt(option, value)
    keys.arm(socket)
    return socket


def shake_hands(address: Address, keys: PeerKeys, seconds: float) -> Handshake:
    """Connect once, see how it is received, and disconnect.  May be called in any thread.

    Links in use are not watched like this: with a monitor a broken message can freeze
    a manager's link for good.

    Args:
        address: Where somebody with CURVE listens, in numbers.
        keys: Who we are.
        seconds: How long to wait at most.
    """
    with (
        zmq.Context(io_threads=1) as context,
        _dealer(context, keys) as socket,
        socket.get_monitor_socket() as monitor,
    ):
        try:
            socket.connect(f"tcp://{address}")
            return _watch(monitor, time.monotonic() + seconds)
        finally:
            socket.disable_monitor()


def _watch(monitor: Socket, deadline: float) -> Handshake:
    failures = 0
    seen = Handshake.SILENT
    while monitor.poll(math.ceil(max(0.0, deadline - time.monotonic()) * 1000)):
        event, _ = _EVENT.unpack(monitor.recv_multipart()[0])
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            return Handshake.DONE
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return Handshake.REFUSED
        if event in (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL):
            # One may be a broken link.  A manager with other keys does it each time.
            failures += 1
            if failures == 2:
                return Handshake.REFUSED
        if event == zmq.EVENT_CLOSED:  # a connection that was not made
            seen = Handshake.GONE
    return seen

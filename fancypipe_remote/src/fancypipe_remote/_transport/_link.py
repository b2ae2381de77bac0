"""What all links have in common: the options of their sockets, and what a message may be."""

from __future__ import annotations

from collections.abc import Sequence

import zmq

from fancypipe_remote._protocol.messages import MOST_PARTS, PART

__all__ = [
    "MAX_PART",
    "MAX_PARTS",
    "READ",
    "WRITE",
    "Context",
    "Socket",
    "check",
    "happened",
    "receive_rest",
    "set_options",
]

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]

# What a message may be: parts, and bytes of each.
MAX_PART = PART
MAX_PARTS = MOST_PARTS

# As plain numbers: to join two of libzmq's own names costs as much as to send a message.
READ, WRITE = int(zmq.POLLIN), int(zmq.POLLOUT)

# What a stranger, too, may make us allocate: a part with what encryption adds.
_MAX_FRAME = MAX_PART + 128
_QUEUED = 64  # messages, in each direction of each link; credit bounds the bytes


def set_options(socket: Socket) -> None:
    """Set what holds for all sockets that reach the network; before bind and connect."""
    for option, value in (
        (zmq.IPV6, 1),
        (zmq.LINGER, 0),
        (zmq.SNDHWM, _QUEUED),
        (zmq.RCVHWM, _QUEUED),
        # Also for what comes before the handshake.  It is for each frame, not for a message.
        (zmq.MAXMSGSIZE, _MAX_FRAME),
        (zmq.HANDSHAKE_IVL, 3000),
        # They find dead links.  Frozen peers answer them, so they do not find these.
        (zmq.HEARTBEAT_IVL, 500),
        (zmq.HEARTBEAT_TIMEOUT, 1500),
        (zmq.HEARTBEAT_TTL, 1500),
        (zmq.TCP_KEEPALIVE, 1),
    ):
        socket.setsockopt(option, value)


def happened(socket: Socket) -> int:
    """Tell what can be done now, `READ` and `WRITE`: for a fifth of what an exception costs."""
    return int(socket.getsockopt(zmq.EVENTS))


def receive_rest(socket: Socket) -> list[bytes] | None:
    """Return the other parts of the message whose first part was taken; None if too many."""
    parts: list[bytes] = []
    count = 0
    while socket.getsockopt(zmq.RCVMORE):
        part = socket.recv(zmq.NOBLOCK)
        count += 1
        if count <= MAX_PARTS:
            parts.append(part)
        else:
            parts.clear()  # read to its end all the same, but not kept
    return parts if count <= MAX_PARTS else None


def check(parts: Sequence[bytes]) -> None:
    # The other side would cut the link, and never say why.
    largest = max(map(len, parts), default=0)
    if not parts or len(parts) > MAX_PARTS or largest > MAX_PART:
        raise ValueError(f"a message cannot have {len(parts)} parts of up to {largest} bytes")

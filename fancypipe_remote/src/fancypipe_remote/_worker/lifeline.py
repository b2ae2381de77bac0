"""Between a worker and a host process that it has started: an inherited socket, its lifeline.

The worker says once what the host process is to do.  The host process says that it is
up, once.  After that nothing is said: when one end hangs up, the other knows that it
is to end, or that it has ended.

What is handed over has the worker's key in it, so it stands neither in the arguments
nor in the environment of a process, where others could read it.
"""

from __future__ import annotations

import socket

import msgspec

from fancypipe_core.toolkit import SocketChannel, pack, unpacker
from fancypipe_remote._protocol.messages import Hello

__all__ = ["READY", "Assignment", "receive", "send"]

READY = b"\1"
"""What a host process says when the manager has taken it in."""


class Assignment(msgspec.Struct, array_like=True, frozen=True):
    """What a host process is to do.

    Attributes:
        host: Where the manager is, in numbers.
        port: Its port.
        key: A worker key.
        hello: What it says of itself, with the ticket that makes its address.
        client: The address of the client that it serves.
        connection: The client's number of the connection.
        backend: The local backend's name; empty for the default.
        slots: How many jobs run at the same time.
        base: The folder for temporary files.
    """

    host: str
    port: int
    key: str
    hello: Hello
    client: bytes
    connection: int
    backend: str
    slots: int
    base: str


def send(lifeline: socket.socket, assignment: Assignment) -> None:
    """Tell a host process what to do; there is always room for that."""
    SocketChannel(lifeline, blocking=True).send(pack(assignment))


def receive(lifeline: socket.socket) -> Assignment:
    """Return what the worker wants.

    Raises:
        ConnectionLost: The worker is gone.
    """
    head, _ = SocketChannel(lifeline, blocking=True).receive()
    assignment: Assignment = unpacker(Assignment)(head)
    return assignment

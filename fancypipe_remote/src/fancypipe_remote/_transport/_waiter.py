"""Waiting for several links at once."""

from __future__ import annotations

import math
import socket as _socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import zmq

from fancypipe_remote._transport._dialer import Dialer
from fancypipe_remote._transport._link import READ, WRITE
from fancypipe_remote._transport._listener import Listener

__all__ = ["Source", "Waiter", "Waker"]


class Waker:
    """Wakes a `Waiter` from any thread, or from a signal handler."""

    def __init__(self) -> None:
        self._out, self._in = _socket.socketpair()
        self._out.setblocking(False)
        self._in.setblocking(False)

    def wake(self) -> None:
        """End the wait, or the next one.  After `close` it does nothing."""
        with suppress(OSError):  # full: it is awake already
            self._in.send(b"\0")

    def close(self) -> None:
        """Let go of what it holds."""
        self._in.close()
        self._out.close()

    def _sockets(self) -> Iterable[tuple[Any, int]]:
        return ((self._out.fileno(), READ),)

    def _calm(self) -> None:
        with suppress(BlockingIOError):
            self._out.recv(4096)  # if there is more, the next wait is calmed as well


Source = Listener | Dialer | Waker | int


class Waiter:
    """Waits for messages, wakers and descriptors, whichever comes first."""

    def __init__(self, *sources: Listener | Dialer | Waker) -> None:
        self._sources = sources
        # To register is as dear as to wait, and it is seldom that anything has changed.
        self._registered: dict[Any, int] = {}
        self._poller = zmq.Poller()

    def wait(
        self,
        seconds: float | None = None,
        reads: Iterable[int] = (),
        writes: Iterable[int] = (),
    ) -> list[Source]:
        """Return the sources that are ready; none when the time is over.

        What is ready stays so until all is read: calls may come in any order, and nothing
        is missed.  Wakers are calmed.

        Args:
            seconds: How long to wait at most; None for ever, for who has a waker.
            reads: Further descriptors to be read, this time.
            writes: Further descriptors to be written to, this time.
        """
        wanted: dict[Any, int] = dict.fromkeys(reads, READ)
        for descriptor in writes:
            wanted[descriptor] = wanted.get(descriptor, 0) | WRITE
        owners: dict[Any, Source] = {}
        for source in self._sources:
            for socket, events in source._sockets():
                wanted[socket] = events
                owners[socket] = source
        if wanted != self._registered:
            self._registered = wanted
            self._poller = zmq.Poller()
            for socket, events in wanted.items():
                self._poller.register(socket, events)
        timeout = None if seconds is None else math.ceil(max(0.0, seconds) * 1000)
        found = self._poller.poll(timeout)
        ready = list(dict.fromkeys(owners.get(socket, socket) for socket, _ in found))
        for source in ready:
            if isinstance(source, Waker):
                source._calm()
        return ready

"""Waiting for several links at once."""

from __future__ import annotations

import math
import socket as _socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import zmq

from fancypipe_remote._transport._dialer import Dialer
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
        return ((self._out.fileno(), zmq.POLLIN),)

    def _calm(self) -> None:
        with suppress(BlockingIOError):
            while self._out.recv(4096):
                pass


Source = Listener | Dialer | Waker | int


class Waiter:
    """Waits for messages, wakers and descriptors, whichever comes first."""

    def __init__(self, *sources: Source) -> None:
        self._sources = list(sources)

    def add(self, source: Source) -> None:
        """Wait for this one too: an object of this module, or a descriptor to be read."""
        self._sources.append(source)

    def remove(self, source: Source) -> None:
        """Wait for this one no more."""
        self._sources.remove(source)

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
        poller = zmq.Poller()
        owners: dict[Any, Source] = {}
        wanted: dict[int, int] = dict.fromkeys(reads, zmq.POLLIN)
        for descriptor in writes:
            wanted[descriptor] = wanted.get(descriptor, 0) | zmq.POLLOUT
        for descriptor, events in wanted.items():
            poller.register(descriptor, events)
            owners[descriptor] = descriptor
        for source in self._sources:
            if isinstance(source, int):
                poller.register(source, zmq.POLLIN)
                owners[source] = source
                continue
            for socket, events in source._sockets():
                poller.register(socket, events)
                owners[socket] = source
        timeout = None if seconds is None else math.ceil(max(0.0, seconds) * 1000)
        ready = list(dict.fromkeys(owners[socket] for socket, _ in poller.poll(timeout)))
        for source in ready:
            if isinstance(source, Waker):
                source._calm()
        return ready

"""Waiting for several links at once."""

from __future__ import annotations

import selectors
import socket as _socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from time import monotonic

from fancypipe_remote._transport._dialer import Dialer
from fancypipe_remote._transport._listener import Listener

__all__ = ["Source", "Waiter", "Waker"]

# One without a descriptor of its own.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
_READ = selectors.EVENT_READ
_BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE


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

    def _filenos(self) -> tuple[int, ...]:
        return (self._out.fileno(),)

    def _calm(self) -> None:
        with suppress(BlockingIOError):
            self._out.recv(4096)  # if there is more, the next wait is calmed as well


Source = Listener | Dialer | Waker | int


class Waiter:
    """Waits for messages, wakers and descriptors, whichever comes first."""

    def __init__(self, *sources: Listener | Dialer | Waker) -> None:
        self._sources = sources
        self._links = [source for source in sources if not isinstance(source, Waker)]
        # To register is as dear as to wait, and it is seldom that anything has changed.
        self._asked: tuple[object, ...] = ()  # what is registered
        self._selector = _Selector()

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
            writes: Which of them are to be written as well.
        """
        self._register(list(reads), list(writes))
        began = monotonic()
        left = seconds
        while True:
            # libzmq's descriptors only tell that something has changed since somebody looked.
            ready: list[Source] = [link for link in self._links if link._happened()]
            found = self._selector.select(0.0 if ready else left)
            for key, _ in found:
                source: Source = key.data
                if isinstance(source, Waker):
                    source._calm()
                if source not in ready and (source not in self._links or source._happened(key.fd)):
                    ready.append(source)
            if ready or not found:
                return ready
            if seconds is not None:
                left = max(0.0, began + seconds - monotonic())

    def _register(self, reads: Sequence[int], writes: Sequence[int]) -> None:
        asked = (reads, writes, [link._filenos() for link in self._links])
        if asked == self._asked:
            return
        self._asked = asked
        for descriptor in list(self._selector.get_map()):
            self._selector.unregister(descriptor)
        for descriptor in reads:
            events = _BOTH if descriptor in writes else _READ
            self._selector.register(descriptor, events, descriptor)
        for one in self._sources:
            for descriptor in one._filenos():
                self._selector.register(descriptor, _READ, one)

"""The loop around a machine: one thread and one link."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import monotonic

from fancypipe_core.toolkit.clock import SteadyClock
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.messages import Parts
from fancypipe_remote._protocol.side import Side
from fancypipe_remote._transport import Dialer, Source, Waiter, Waker

__all__ = ["Loop"]

_MOST_WAITING = 4096  # messages for the manager; more are dropped, and sent again later


class Loop:
    """Drives a machine in the thread that calls `turn`.

    Args:
        dialer: The link.
        side: The machine.

    Attributes:
        clock: Whose time the machine is told: it stands still while this process does.
        waker: Ends the wait of a turn, from any thread.
    """

    def __init__(self, dialer: Dialer, side: Side) -> None:
        self.clock = SteadyClock(monotonic())
        self.waker = Waker()
        self._side = side
        self._dialer = dialer
        self._waiter = Waiter(dialer, self.waker)
        self._out: deque[Parts] = deque()
        self._redials = 0

    def turn(
        self, most: float, reads: Iterable[int] = (), writes: Iterable[int] = ()
    ) -> set[Source]:
        """Send what is to be sent, wait until something happens, and take what has come.

        Args:
            most: Seconds to wait at most.
            reads: Descriptors to be read.
            writes: Descriptors to be written to.

        Returns:
            Which of them are ready.
        """
        self._send()
        clock = self.clock
        clock.patience = max(0.0, min(most, self._side.next_tick - clock.now))
        ready = set(self._waiter.wait(clock.patience, reads, writes))
        clock.move(monotonic())
        while (parts := self._dialer.receive()) is not None:
            self._side.take(parts, clock.now)
        return ready

    def _send(self) -> None:
        out = self._out
        out.extend(self._side.tick(self.clock.now))
        if self._redials != self._side.link.redials:
            self._redials = self._side.link.redials
            out.clear()  # it is said again when somebody is there
            self._dialer.redial()
        while out and self._dialer.send(out[0]):
            out.popleft()
        while len(out) > _MOST_WAITING:
            out.popleft()

    @property
    def idle(self) -> bool:
        """Whether nothing waits for the link."""
        return not self._out

    def close(self) -> None:
        """Say goodbye, and close the link."""
        self._send()
        self._dialer.send(messages.encode(messages.Bye()))
        self._dialer.close(0.2)
        self.waker.close()

"""The loop around a machine: a link, direct ones beside it, and one thread at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import monotonic

from fancypipe_core.errors import ConnectionLost, ProtocolError
from fancypipe_core.toolkit.clock import SteadyClock
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._protocol.messages import Parts
from fancypipe_remote._protocol.side import Side
from fancypipe_remote._transport import Dialer, Source, Waiter, Waker
from fancypipe_remote._transport.direct import DirectLink

__all__ = ["Loop"]

_LINGER = 2.0  # seconds in which the last words must have left
_LINGER_ALONE = 0.2  # the same, while there is no manager to hear them
_MOST_WAITING = 4096  # messages for the manager; more are dropped, and sent again later


class Loop:
    """Drives a machine in the thread that calls `turn`.

    Args:
        dialer: The link.
        side: The machine.
        waker: Ends the wait of a turn, from any thread; by default one of its own.

    Attributes:
        clock: Whose time the machine is told: it stands still while this process does.
    """

    def __init__(self, dialer: Dialer, side: Side, waker: Waker | None = None) -> None:
        self.clock = SteadyClock(monotonic())
        self.waker = waker or Waker()
        self._side = side
        self._dialer = dialer
        self._waiter = Waiter(dialer, self.waker)
        self._out: deque[Parts] = deque()
        self._direct: dict[bytes, DirectLink] = {}  # by the party at the other end
        self._links: dict[int, DirectLink] = {}  # the same, by the descriptor
        self._redials = 0

    def turn(self, most: float, reads: Iterable[int] = ()) -> list[Source]:
        """Send what is to be sent, wait until something happens, and take what has come.

        Args:
            most: Seconds to wait at most.
            reads: Descriptors to be read.

        Returns:
            Which of them are ready.
        """
        self.send()
        clock = self.clock
        clock.patience = max(0.0, min(most, self._side.next_tick - clock.now))
        links = self._links
        full = [descriptor for descriptor, link in links.items() if link.pending]
        ready = self._waiter.wait(clock.patience, [*links, *reads], full)
        clock.move(monotonic())
        for source in ready:
            if source is self._dialer:
                while (parts := self._dialer.receive()) is not None:
                    self._side.take(parts, clock.now)
            elif type(source) is int and (link := links.get(source)) is not None:
                self._take_directly(link)
        return ready

    def send(self) -> None:
        """Send what is to be sent, as far as the link takes it."""
        out = self._out
        self.clock.peek(monotonic())
        for parts in self._side.tick(self.clock.now):
            link = self._direct.get(parts[0])
            if link is None or not self._send_directly(link, parts):
                out.append(parts)
        if self._redials != self._side.link.redials:
            self._redials = self._side.link.redials
            out.clear()  # it is said again when somebody is there
            self._dialer.redial()
        while out and self._dialer.send(out[0]):
            out.popleft()
        while len(out) > _MOST_WAITING:
            out.popleft()

    def join(self, link: DirectLink) -> None:
        """Say what is for the party at its other end over this link, as long as it is there."""
        self._direct[link.peer] = self._links[link.fileno()] = link

    def part(self, peer: bytes) -> None:
        """Say it through the manager again; what was under way is lost."""
        link = self._direct.pop(peer, None)
        if link is not None:
            del self._links[link.fileno()]
            link.close()
            self._side.hurry(self.clock.now)

    def _send_directly(self, link: DirectLink, parts: Parts) -> bool:
        if link.is_taken:
            try:
                link.say(parts)
            except ConnectionLost:
                self.part(link.peer)
                return False
        return link.is_taken

    def _take_directly(self, link: DirectLink) -> None:
        try:
            if link.pending:
                link.flush()
            for parts in link.heard():
                self._side.take(parts, self.clock.now, direct=True)
        except (ConnectionLost, ProtocolError):
            self.part(link.peer)

    @property
    def idle(self) -> bool:
        """Whether nothing waits for the link."""
        return not self._out

    def close(self) -> None:
        """Say goodbye, and close the link."""
        self.send()
        self._dialer.send(messages.encode(messages.Bye()))
        # Where somebody is there, it takes only as long as this process has to wait for a core.
        is_met = self._side.link.state is LinkState.MET
        self._dialer.close(_LINGER if is_met else _LINGER_ALONE)
        self.forget()

    def forget(self) -> None:
        """Close what a fork must not hold."""
        for link in self._direct.values():
            link.close()
        self._direct.clear()
        self._links.clear()
        self.waker.close()

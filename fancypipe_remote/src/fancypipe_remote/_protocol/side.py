"""What the machines of a client, a host process and a worker have in common: a link.

What they need of the world comes as calls with the time, in seconds of a monotonic
clock; what they want of it is returned as messages to send, or stands in `events`.

When somebody is gone
    The manager's list says who is there.  Who is missing in the list of a manager
    that knew it, and was not met anew since, is gone.  A manager that has just been
    met may not know everybody yet: it gets `settle` seconds.  Without a manager
    nobody is gone.  A worker waits longer for a client, `client_grace`: a laptop's
    network may be away for a moment, and results are kept as long.  Host processes
    are in no list: the worker that has started one says when it is gone, and it ends
    with its worker.

These are pure machines: they have no clock, thread or socket.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from fancypipe_core.errors import ProtocolError
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.link import Link
from fancypipe_remote._protocol.messages import Parts
from fancypipe_remote._protocol.parties import Times

__all__ = ["Patience", "Side"]

_MOST_LIARS = 1000


class Patience(NamedTuple):
    """For how long somebody may be missing, in seconds.

    Attributes:
        settle: After a manager was met, until all others have met it too.
        client_grace: Until a worker ends what runs for a client.
        alone: Until a worker without a manager ends what runs.
    """

    settle: float = 5.0
    client_grace: float = 10.0
    alone: float = 600.0


class Side:
    """What all have.

    Attributes:
        log: What peers did that they should not do, in sentences.
        liars: The last peers that broke the protocol.
    """

    _hears: tuple[type[messages.BetweenEnds], ...]
    """What other parties may say to this one."""

    def __init__(
        self, hello: messages.Hello, wait: float | None, now: float, times: Times | None
    ) -> None:
        self.times = times or Times()
        self.link = Link(hello, wait, now, self.times)
        self.log: list[str] = []
        self.liars: OrderedDict[bytes, None] = OrderedDict()
        self._out: list[Parts] = []
        self._next_beat = now
        self._number = -1  # of the manager's last news
        self._has_news = False  # of who is there, or of the manager itself

    def take(self, parts: Parts, now: float, *, direct: bool = False) -> None:
        """Take a message.  What cannot be read ends what is between us and its sender.

        If that is the manager, it counts as not heard: after a while there is a new link.

        Args:
            parts: The message.
            now: The time.
            direct: Whether it has come past the manager, and so says nothing of its life.
        """
        sender = b""
        try:
            sender = messages.address(parts)
            message = messages.decode(parts, by_manager=False)
            if isinstance(message, self._hears):
                if not direct:
                    self.link.heard(now)
                self._take_from(sender, message, messages.data(parts), now)
            elif isinstance(message, messages.Workers | messages.Clients):
                self.link.heard(now)
                if self._is_next(message, now):
                    self._has_news = True
                    self._take_news(message)
            elif isinstance(message, messages.FromManager):
                self._has_news = True
                self.link.take(message, now)
                if isinstance(message, messages.Welcome):
                    self._number = -1  # it tells all anew
            else:
                self._refuse(sender, f"it does not say {type(message).__name__}")
        except ProtocolError as error:
            self._refuse(sender, str(error))

    def _is_next(self, message: messages.Workers | messages.Clients, now: float) -> bool:
        """Tell whether nothing before it was missed; else all is asked for."""
        is_next = message.number in (0, self._number + 1)
        if is_next:
            self._number = message.number
        else:
            self.link.greet(now, now)
        return is_next

    def _refuse(self, sender: bytes, why: str) -> None:
        """A peer broke the protocol: that ends what is between us, and nothing else."""
        liar = self._party(sender)
        if self._end_all(sender, f"the other end broke the protocol: {why}") or (
            liar not in self.liars
        ):
            self.log.append(f"{self._who(liar)} broke the protocol: {why}")
        self.liars[liar] = None
        if len(self.liars) > _MOST_LIARS:
            self.liars.popitem(last=False)

    def tick(self, now: float) -> list[Parts]:
        """Return what is to be sent now."""
        beat = now >= self._next_beat
        if beat:
            self._next_beat = now + self.times.beat
        out, self._out = self._out, []
        if now >= self.link.next_tick:
            out += self.link.tick(now, self._beat())
            looks = True
        else:
            looks = beat or self._has_news
        if looks:
            self._has_news = False
            self._look_for_the_missing(now)
        out += self._outgoing(now, beat)
        if self._out:
            out += self._out
            self._out = []
        return out

    def hurry(self, now: float) -> None:
        """Ask the other ends soon what they have: something on the way to them may be lost."""
        self._next_beat = now

    @property
    def next_tick(self) -> float:
        """When `tick` must be called next, if nothing comes before."""
        return min(self.link.next_tick, self._next_beat)

    def _say(self, message: messages.BetweenEnds, to: bytes) -> None:
        self._out.append(messages.encode(message, to))

    def _unknown(self, sender: bytes, message: messages.BetweenEnds) -> None:
        """Answer what is said about a connection that is not here."""
        if isinstance(message, messages.Open | messages.Opened | messages.Segment):
            why = "the other end knows nothing of it any more"
            self._say(messages.Close(message.connection, why), sender)

    def _who(self, party: bytes) -> str:
        """Name a party; the manager, if it is nobody."""
        peer = self._peers().get(party)
        if peer is None:
            return "somebody" if party else "the manager"
        return f"the {type(peer).__name__.lower()} on {peer.host} (pid {peer.pid})"

    def _party(self, sender: bytes) -> bytes:
        """Return who answers for what a sender says."""
        return sender

    def _peers(self) -> Mapping[bytes, messages.Client | messages.Worker]:
        return {}

    def _take_news(self, message: messages.Workers | messages.Clients) -> None:
        """Take what the manager says of who is there."""

    def _look_for_the_missing(self, now: float) -> None:
        """See who is gone."""

    def _outgoing(self, now: float, beat: bool) -> list[Parts]:
        return []

    def _beat(self) -> messages.ToManager:
        raise NotImplementedError

    def _take_from(
        self, sender: bytes, message: messages.BetweenEnds, data: bytes, now: float
    ) -> None:
        raise NotImplementedError

    def _end_all(self, sender: bytes, why: str) -> bool:
        """End what is between us and a sender; tell whether there was anything."""
        raise NotImplementedError

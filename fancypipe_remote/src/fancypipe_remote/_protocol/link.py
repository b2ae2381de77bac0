"""A party's link to the manager: say hello, beat, notice silence, try again.

States:

========  =====================================================================
seeking   hello is said again, ever more rarely, until a `Welcome` comes -> met;
          `Refused` comes, or `wait` is over -> over
met       silent for `Times.silent` -> seeking, on a new socket; `Who` or `Bye`
          comes, or news were missed -> seeking
over      nothing more is said
========  =====================================================================

This is a pure machine: it has no clock, thread or socket.  The time is given in
seconds of a monotonic clock that stands still while its process does.
"""

from __future__ import annotations

from enum import Enum, auto

from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.messages import Parts
from fancypipe_remote._protocol.parties import Times

__all__ = ["Link", "LinkState"]

_HELLO_EVERY = 0.25  # seconds between hellos that nobody has answered; twice as many each time
_MOST_HELLO = 2.0  # seconds between them at most
_PACE = 0.005  # seconds between two beats with news, for each of the parties that have news


class LinkState(Enum):
    """See the table in this module's text."""

    SEEKING = auto()
    MET = auto()
    OVER = auto()


class Link:
    """The machine.

    Args:
        hello: What is said first.
        wait: Seconds to seek a manager before it gives up; None for no limit.
        now: The time.
        times: Its limits.

    Attributes:
        state: Where it is.
        manager: Whom it met last.
        met_at: When it met it.
        redials: How many new sockets it has asked for.
        why: Why it is over, in a sentence.
    """

    def __init__(
        self, hello: messages.Hello, wait: float | None, now: float, times: Times | None = None
    ) -> None:
        self.state = LinkState.SEEKING
        self.manager: messages.Welcome | None = None
        self.met_at = now
        self.redials = 0
        self.why = ""
        self.was_refused = False
        self._hello = hello
        self._wait = wait
        self._times = times or Times()
        self._since = now  # when it began to seek
        self._dialled = now
        self._heard = now
        self._next = now  # when something is to be said
        self._said = now  # when a beat was said
        self._pause = _HELLO_EVERY

    def take(self, message: messages.FromManager, now: float) -> None:
        """Take what the manager says."""
        if self.state is LinkState.OVER:
            return
        self._heard = now
        if isinstance(message, messages.Welcome):
            if self.state is LinkState.SEEKING:
                self.met_at = now
            self.manager = message
            self.state = LinkState.MET
            self._next = now
        elif isinstance(message, messages.Refused):
            self.state = LinkState.OVER
            self.was_refused = True
            self.why = message.why
        elif isinstance(message, messages.Who | messages.Bye):
            # After a bye it takes a while until another manager is there.
            self.greet(now, now if isinstance(message, messages.Who) else now + _HELLO_EVERY)

    def greet(self, now: float, first: float) -> None:
        """Say hello again: the manager does not know us, or we do not know what it has told."""
        if self.state is LinkState.MET:
            self._seek(now, first)

    def heard(self, now: float) -> None:
        """Something came through the manager: it lives."""
        self._heard = now

    def tick(self, now: float, beat: messages.ToManager) -> list[Parts]:
        """Return what to say to the manager now.

        Args:
            now: The time.
            beat: What a beat says.
        """
        if self.state is LinkState.MET and now >= self._heard + self._times.silent:
            self._seek(now, now)
            self._since = self._heard
            self._redial(now)
        elif self.state is LinkState.SEEKING:
            if self._wait is not None and now >= self._since + self._wait:
                self.state = LinkState.OVER
                self.why = self._unreachable(now)
            elif now >= self._dialled + self._times.silent:
                self._redial(now)
        if self.state is LinkState.OVER or now < self._next:
            return []
        if self.state is LinkState.SEEKING:
            self._next = now + self._pause
            self._pause = min(2 * self._pause, _MOST_HELLO)
            return [messages.encode(self._hello)]
        self._said = now
        self._next = now + self._times.beat
        return [messages.encode(beat)]

    def hurry(self, parties: int = 0) -> None:
        """Beat soon: what a beat says has changed.

        Args:
            parties: How many may be in such a hurry at the same time.
        """
        if self.state is LinkState.MET:
            self._next = min(self._next, self._said + _PACE * parties)

    @property
    def next_tick(self) -> float:
        """When `tick` must be called next."""
        if self.state is LinkState.OVER:
            return float("inf")
        if self.state is LinkState.MET:
            return min(self._next, self._heard + self._times.silent)
        times = [self._next, self._dialled + self._times.silent]
        if self._wait is not None:
            times.append(self._since + self._wait)
        return min(times)

    def _seek(self, now: float, first: float) -> None:
        self.state = LinkState.SEEKING
        self._since = now
        self._dialled = now
        self._next = first
        self._pause = _HELLO_EVERY

    def _redial(self, now: float) -> None:
        self.redials += 1
        self._dialled = self._next = now
        self._pause = _HELLO_EVERY

    def _unreachable(self, now: float) -> str:
        if self.manager is None:
            return f"no manager answered within {now - self._since:.0f} s"
        return (
            f"the manager on {self.manager.host} (pid {self.manager.pid}) has sent "
            f"nothing for {now - self._heard:.0f} s"
        )
